"""Ctrl-C after an engine was freed, in a process of its own: a crash would be the test's too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("openvino_genai")
pytest.importorskip("torch")

SCRIPT = """
import os, signal, sys
from pathlib import Path
from stepladder.core import Message, Request
from stepladder.models.local import LocalProvider

provider = LocalProvider(Path(sys.argv[2]), exact=sys.argv[3] == "exact")
model = provider.model(f"local:{sys.argv[1]}")
request = Request((Message("user", "ann 1: red"),), max_output_tokens=4)
assert [response.error for _, response in model.generate([request])] == [None]
provider.close()
try:
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("precision", [pytest.param("exact", marks=pytest.mark.slow), "bf16"])
def test_ctrl_c_after_an_engine_was_freed_is_only_ctrl_c(
    precision: str, llama: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", SCRIPT, str(llama), str(tmp_path), precision]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "interrupted"), done.stderr
