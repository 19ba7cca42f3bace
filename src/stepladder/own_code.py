"""The user's own Python file, run: `metrics.py` and `functions.py` of a task folder.

Nothing else is ever loaded by path. What is read out of the file is for those who ask for it.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from hashlib import sha256
from pathlib import Path
from types import ModuleType

from .errors import TaskError

__all__ = ["place_in", "run_file"]


def run_file(path: Path) -> ModuleType:
    """The module that the file makes, run anew, with a name of its own.

    Raises:
        TaskError: there is no such file, or it raises; the file and its line are named.
    """
    if not path.is_file():
        raise TaskError(f"there is no file {path.name!r}", hint=f"put it at {str(path)!r}")
    path = path.resolve()
    name = f"stepladder_own_{path.stem}_{sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # a path that ends in .py has a loader
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses, pydantic and pickle look modules up by name
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's code may raise anything; it is told as theirs
        del sys.modules[name]
        raise TaskError(
            f"{place_in(path, error)} cannot be loaded: {error!r}",
            hint="run it by itself to see where",
        ) from error
    return module


def place_in(path: Path, error: Exception) -> str:
    """The file, with the line in it where the error came from."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path.resolve()]
    return f"{path.name}:{lines[-1]}" if lines else path.name
