"""The user's own metric: a function in `metrics.py` of the task folder.

    def mentions_dose(example, output) -> bool:
        return "mg" in output.value

This runs the user's own code from the user's own folder, and nothing else is ever loaded by path.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from ..core import Counts, Example, Json, Output
from ..errors import TaskError
from ..own_code import place_in, run_file
from .text import failed, whole

__all__ = ["FILE", "UserMetric", "own_names"]

FILE = "metrics.py"


@dataclass(frozen=True)
class UserMetric:
    """A function `(example, output, **options) -> float | bool` with a value in [0, 1].

    A function annotated `-> bool` is a right/wrong metric and gets the exact interval; any other is
    a bounded mean. It is not called for a failed answer, which scores 0.
    """

    name: str
    path: Path
    options: Mapping[str, Json] = field(default_factory=dict)

    @property
    def scale(self) -> Literal["binary", "bounded"]:
        return "binary" if _returns_bool(_function(self.path, self.name)) else "bounded"

    def score(self, example: Example, output: Output) -> Counts:
        """The function's value; raises TaskError naming it when it raises or leaves [0, 1]."""
        if failed(output):
            return whole(0.0)
        function = _function(self.path, self.name)
        try:
            value = function(example, output, **self.options)
        except Exception as error:  # the user's code may raise anything; it is told as theirs
            place = place_in(self.path, error)
            raise TaskError(
                f"{place}: {self.name!r} raised {error!r} on example {example.id!r}",
                hint="handle this case in the function, or correct the example",
            ) from error
        return whole(self._checked(value, example))

    def _checked(self, value: object, example: Example) -> float:
        allowed = (0, 1) if self.scale == "binary" else None
        number = _as_number(value)
        if number is None or not 0 <= number <= 1 or (allowed and number not in allowed):
            wanted = "True or False" if allowed else "a number from 0 to 1"
            raise TaskError(
                f"{self.path.name}: {self.name!r} gave {value!r} for example {example.id!r}",
                hint=f"return {wanted}",
            )
        return number


def own_names(folder: Path) -> list[str]:
    """The public functions that `metrics.py` of a task folder defines, read without running it."""
    path = folder / FILE
    if not path.is_file():
        return []
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    except SyntaxError as error:
        raise TaskError(
            f"{path.name}:{error.lineno}:{error.offset}: {error.msg}", hint="correct this line"
        ) from error
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [name for name in names if not name.startswith("_")]


def _as_number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]  # numpy scalars too; the rest raises
    except (TypeError, ValueError):
        return None
    return None if isinstance(value, str) or math.isnan(number) else number


def _function(path: Path, name: str) -> Callable[..., Any]:
    path = path.resolve()
    return _functions(path, path.stat().st_mtime_ns)[name]


@lru_cache(maxsize=8)
def _functions(path: Path, changed: int) -> Mapping[str, Callable[..., Any]]:
    """Everything the file defines; `changed` makes an edited file load again."""
    return vars(run_file(path))


def _returns_bool(function: Callable[..., Any]) -> bool:
    return getattr(function, "__annotations__", {}).get("return") in (bool, "bool")
