"""Programs that tests need, from Debian's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

__all__ = ["installed"]

T = TypeVar("T")
MOST_SECONDS = 900


def installed(look: Callable[[], T | None], *packages: str) -> T | None:
    """What `look` finds, once the packages are installed if need be and root runs the tests."""
    found = look()
    if found is not None or os.geteuid() != 0 or not shutil.which("apt-get"):
        return found
    with FileLock(Path(tempfile.gettempdir()) / "stepladder-tests-apt.lock"):  # several workers
        if (found := look()) is None:
            for command in (("update",), ("install", "-y", "--no-install-recommends", *packages)):
                subprocess.run(
                    ["apt-get", "-qq", *command],
                    env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                    capture_output=True,
                    check=False,
                    timeout=MOST_SECONDS,
                )
            found = look()
    return found
