"""The forms of proto3 JSON: what a body may hold, read strictly and told by field.

A form reads a value at a place and gives it back with canonical names and types, or raises Refusal
with the field at fault as the caller spelled it. Like the services' own parser it takes both
spellings of a name, numbers written as strings, and null for a field that is not there; unlike a
schema validator it knows nothing of JSON Schema. What the values mean is not decided here.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping

from ...core import Json
from .. import Refusal
from .spelling import snake_case

__all__ = [
    "Form", "anything", "at", "data", "decimal", "duration", "each", "fault", "flag", "later",
    "long", "mapped", "message", "moment", "one_of", "struct", "text", "whole",
]  # fmt: skip

Form = Callable[[Json, str], Json]


def message(fields: Mapping[str, Form], *, required: Iterable[str] = ()) -> Form:
    """An object that has these fields, named in camel case, and no others."""
    spelled = {snake_case(name): (name, form) for name, form in fields.items()}
    spelled |= {name: (name, form) for name, form in fields.items()}
    needed = tuple(required)

    def read(value: Json, place: str) -> Json:
        if not isinstance(value, dict):
            raise fault(place, "an object", value)
        found: dict[str, Json] = {}
        for key, inner in value.items():
            known = spelled.get(key)
            if known is None:
                raise _unknown(key, place, fields)
            if inner is None:
                continue
            name, form = known
            if name in found:
                raise Refusal(
                    "invalid", f"{name!r} is there in both spellings", param=at(place, key)
                )
            found[name] = form(inner, at(place, key))
        for name in needed:
            if name not in found:
                raise Refusal("invalid", f"{at(place, name)!r} is missing", param=at(place, name))
        return found

    return read


def each(form: Form) -> Form:
    """A list of these. A single object is taken for a list of one, as in Google's own samples."""

    def read(value: Json, place: str) -> Json:
        if isinstance(value, dict):
            return [form(value, place)]
        if not isinstance(value, list):
            raise fault(place, "a list", value)
        return [form(inner, f"{place}[{index}]") for index, inner in enumerate(value)]

    return read


def mapped(form: Form) -> Form:
    """A map from any names to these; the names are data and stay as they are."""

    def read(value: Json, place: str) -> Json:
        if not isinstance(value, dict):
            raise fault(place, "an object", value)
        return {key: form(inner, f"{place}[{key!r}]") for key, inner in value.items()}

    return read


def later(form: Callable[[], Form]) -> Form:
    """A form that holds itself."""
    return lambda value, place: form()(value, place)


def one_of(*names: str) -> Form:
    """One of these names, in upper or lower case."""
    known = {name.upper(): name for name in names}

    def read(value: Json, place: str) -> Json:
        found = known.get(value.upper()) if isinstance(value, str) else None
        if found is None:
            raise fault(place, f"one of {', '.join(names)}", value)
        return found

    return read


def text(value: Json, place: str) -> str:
    if not isinstance(value, str):
        raise fault(place, "a string", value)
    return value


def flag(value: Json, place: str) -> bool:
    if not isinstance(value, bool):
        raise fault(place, "true or false", value)
    return value


def whole(value: Json, place: str) -> int:
    """A whole number of 32 bits."""
    return _integer(value, place, 31)


def long(value: Json, place: str) -> int:
    """A whole number of 64 bits, which clients write as a string."""
    return _integer(value, place, 63)


def decimal(value: Json, place: str) -> float:
    """A finite number."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise fault(place, "a number", value)
    return found


def data(value: Json, place: str) -> bytes:
    """Bytes in base64, of either alphabet, padded or not."""
    try:
        plain = text(value, place).translate(_ALPHABET).rstrip("=").encode("ascii")
        return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise fault(place, "bytes in base64", value) from error


def duration(value: Json, place: str) -> float:
    """Seconds, written as in `3600s`."""
    if not isinstance(value, str) or not re.fullmatch(r"-?\d{1,12}(\.\d{1,9})?s", value, re.ASCII):
        raise fault(place, "a duration such as '3600s'", value)
    return float(value[:-1])


def moment(value: Json, place: str) -> str:
    """A time of RFC 3339, as text."""
    pattern = r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)"
    if not isinstance(value, str) or not re.fullmatch(pattern, value, re.ASCII):
        raise fault(place, "a time such as '2026-01-31T12:00:00Z'", value)
    return value


def struct(value: Json, place: str) -> Mapping[str, Json]:
    """An object of the caller's own."""
    if not isinstance(value, dict):
        raise fault(place, "an object", value)
    return value


def anything(value: Json, place: str) -> Json:
    return value


def at(place: str, key: str) -> str:
    """The place of a field within a place."""
    return f"{place}.{key}" if place else key


def fault(place: str, wanted: str, value: Json) -> Refusal:
    """The refusal of a value that is of another form."""
    shown = repr(value)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    return Refusal(
        "invalid", f"{place or 'the body'!r} has to be {wanted}, not {shown}", param=place
    )


def _integer(value: Json, place: str, bits: int) -> int:
    found = _as_integer(value)
    if found is None or not -(2**bits) <= found < 2**bits:
        raise fault(place, f"a whole number of {bits + 1} bits", value)
    return found


def _as_integer(value: Json) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    is_written = isinstance(value, str) and re.fullmatch(r"-?\d{1,20}", value, re.ASCII)
    if is_written or (isinstance(value, float) and value.is_integer()):
        return int(value)
    return None


def _unknown(key: str, place: str, fields: Mapping[str, Form]) -> Refusal:
    close = difflib.get_close_matches(key, fields, n=1)
    where = f"in {place!r}" if place else "in the request"
    return Refusal(
        "invalid",
        f"no field is called {key!r} {where}",
        hint=f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(fields))}",
        param=at(place, key),
    )


_ALPHABET = str.maketrans("-_", "+/")
