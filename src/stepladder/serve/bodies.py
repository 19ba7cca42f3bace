"""The JSON of a request's body, for whichever protocol, or a refusal that says what is wrong."""

from __future__ import annotations

import json
import math
from typing import NoReturn

from ..core import Json
from . import Refusal

__all__ = ["DEEPEST", "read_json"]

DEEPEST = 100  # levels of nesting; the services stop there as well


def read_json(raw: bytes) -> Json:
    """The value of JSON text that every later step can handle, so all of it finite and whole.

    Raises Refusal for what is no JSON, for numbers that are none, for halves of characters, which
    cannot be written down again, and for what is nested too deep.
    """
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_no_number, parse_float=_finite)
        if b"\\u" in raw and (b"\\ud" in raw or b"\\uD" in raw):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeError as error:
        raise Refusal("invalid", f"the body is not UTF-8 text: {error}") from error
    except (ValueError, RecursionError) as error:
        raise Refusal("invalid", f"the body is not JSON: {error}") from error
    if raw.count(b"{") + raw.count(b"[") > DEEPEST and _depth(value) > DEEPEST:
        raise Refusal("invalid", f"the body is nested deeper than {DEEPEST} levels")
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _finite(digits: str) -> float:
    found = float(digits)
    return found if math.isfinite(found) else _no_number(digits)


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
