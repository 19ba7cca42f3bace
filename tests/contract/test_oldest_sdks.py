"""The other end of what is promised of SDKs sends what the installed one does: slow, and needs pip.

Of Gemini's and OpenAI's the newest are installed and the oldest are tried here; of Together's it is
the other way round, and of Fireworks' one version is promised. They are laid over the environment,
not installed into it: a folder before all others on the path.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SDKS = {"gemini": "google-genai", "openai": "openai"}  # the extra, and its package
WHAT_THEY_SPEAK_HTTP_WITH = ("httpx>=0.28,<1", "httpcore>=1,<2", "httptools~=0.6.4")


def oldest(extra: str) -> str:
    """The lower bound in pyproject.toml as the requirement of that very release series."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    requirements = project["optional-dependencies"][extra]
    (requirement,) = [one for one in requirements if one.startswith(f"{SDKS[extra]}>=")]
    package, bound = requirement.split(",")[0].split(">=")
    parts = [*bound.split("."), "0", "0"][:3]
    return f"{package}~={'.'.join(parts)}"


INSTALL = ("pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target")


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.network
def test_the_oldest_sdks_conform_as_the_newest_do(tmp_path: Path) -> None:
    wanted = [oldest(extra) for extra in SDKS]
    folder = str(tmp_path / "oldest")
    run(*INSTALL, folder, *wanted, *WHAT_THEY_SPEAK_HTTP_WITH)
    for package, requirement in zip(SDKS.values(), wanted, strict=True):
        name = re.sub("-", "_", package)
        series = requirement.partition("~=")[2].rpartition(".")[0]
        assert [*Path(folder).glob(f"{name}-{series}.*.dist-info")], requirement
    tests = ("pytest", "-q", "-p", "no:cacheprovider", "tests/contract", "tests/models/gemini")
    assert " passed" in run(*tests, PYTHONPATH=folder)


@pytest.mark.slow
@pytest.mark.network
def test_the_newest_sdk_of_together_does_as_the_oldest(tmp_path: Path) -> None:
    folder = str(tmp_path / "newest")
    run(*INSTALL, folder, "together>=3,<4")
    tests = ("tests/trainers/test_own_sdk_answers.py", "tests/trainers/test_tuning_services.py")
    found = run(
        "pytest", "-q", "-p", "no:cacheprovider", "-k", "together or own_sdk", *tests,
        PYTHONPATH=folder,
    )  # fmt: skip
    assert " passed" in found
