"""The oldest of Google's SDKs that is promised drives the server as the newest does: slow."""

from __future__ import annotations

from pathlib import Path

import pytest
from contract.test_oldest_sdks import WHAT_THEY_SPEAK_HTTP_WITH, oldest, run


@pytest.mark.slow
@pytest.mark.network
def test_the_oldest_sdk_drives_the_server(tmp_path: Path) -> None:
    wanted = oldest("gemini")
    folder = str(tmp_path / "oldest")
    install = ("pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
    run(*install, "--target", folder, wanted, *WHAT_THEY_SPEAK_HTTP_WITH)
    series = wanted.partition("~=")[2].rpartition(".")[0]
    assert [*Path(folder).glob(f"google_genai-{series}.*.dist-info")], wanted
    tests = ("pytest", "-q", "-p", "no:cacheprovider", "tests/serve/gemini/test_gemini_sdk.py")
    assert " passed" in run(*tests, PYTHONPATH=folder)
