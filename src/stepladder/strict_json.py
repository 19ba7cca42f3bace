"""JSON text as a value that every later step can handle and that can be written down again.

For what comes from outside: the bodies of requests, what models say, what functions return.
Python's own reader takes numbers that are none, halves of characters, and any depth that its stack
allows.
"""

from __future__ import annotations

import json
import math
from typing import NoReturn

from .messages import Json

__all__ = ["DEEPEST", "check_strictly", "read_strictly"]

DEEPEST = 100  # levels of nesting


def read_strictly(text: str) -> Json:
    """The value of JSON text: finite numbers, whole characters, `DEEPEST` levels at most.

    Raises ValueError that says what it is instead.
    """
    try:
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except RecursionError as error:
        raise _too_deep() from error
    if text.count("{") + text.count("[") > DEEPEST and _depth(value) > DEEPEST:
        raise _too_deep()
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError("it has half a character") from error
    return value


def check_strictly(value: Json) -> None:
    """Raise ValueError that says why, if `read_strictly` would not take this value's JSON."""
    if _depth(value) > DEEPEST:
        raise _too_deep()
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("it has half a character") from error
    except TypeError as error:
        raise ValueError(f"it is no JSON: {error}") from error


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _finite(digits: str) -> float:
    found = float(digits)
    return found if math.isfinite(found) else _no_number(digits)


def _too_deep() -> ValueError:
    return ValueError(f"it is nested deeper than {DEEPEST} levels")


def _depth(value: Json) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
    return depth
