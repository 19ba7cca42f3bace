"""Between records and what a database takes: JSON, text, times and numbers, checked on the way in.

What one of the two databases would refuse or change is refused here, by the name of its field:
PostgreSQL takes no NUL in text and no lone surrogates, SQLite turns NaN into NULL and takes no
integer beyond 64 bits. Knows tables and records, no connection.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import BigInteger, Boolean, Float, LargeBinary, Table, Text
from sqlalchemy.types import TypeEngine

from ..core import Json
from ..errors import StoreError
from .tables import Document, Moment

__all__ = [
    "MOST_OPEN", "NotStorable", "decode", "encode", "is_storable", "json_text", "record_of",
    "values_of",
]  # fmt: skip

MOST_OPEN = 400  # nested lists and objects; deeper ones cannot be read back by every JSON parser
Check = Callable[[str, Any], Any]
Kind = TypeVar("Kind")


class NotStorable(StoreError):
    """A value that one of the two databases would refuse or change; `field` is where it was."""

    def __init__(self, message: str, *, hint: str = "", field: str = "") -> None:
        super().__init__(message, hint=hint)
        self.field = field


def values_of(record: Any) -> dict[str, Any]:
    """The fields of a record by name, not copied."""
    return {each.name: getattr(record, each.name) for each in fields(record)}


def encode(table: Table, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values for the columns of `table`; raises NotStorable naming the one that cannot be kept."""
    checks = _checks(table)
    return {
        name: None if value is None else checks[name](name, value) for name, value in values.items()
    }


def decode(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """What `encode` was given, as JSON and UTC times."""
    return {
        name: json.loads(value)
        if value is not None and isinstance(table.c[name].type, Document)
        else value
        for name, value in row.items()
    }


def record_of(kind: type[Kind], table: Table, row: Mapping[str, Any]) -> Kind:
    """A record of `kind` from a row, which may have columns that are not the record's."""
    names = [each.name for each in fields(kind)]  # type: ignore[arg-type]  # only dataclasses come
    return kind(**decode(table, {name: row[name] for name in names}))


def is_storable(text: str) -> bool:
    """Whether both databases keep this text as it is."""
    return "\0" not in text and (text.isascii() or _has_no_surrogates(text))


def json_text(value: Json, name: str) -> str:
    """`value` as JSON that both databases keep and every reader takes.

    Raises NotStorable naming the field for numbers that JSON does not have, for what is not JSON,
    and for what is nested too deeply to be read back.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise _refused(name, f"is not JSON: {error}") from error
    if text.count("[") + text.count("{") > MOST_OPEN and _depth(value) > MOST_OPEN:
        raise _refused(name, f"is nested more than {MOST_OPEN} deep")
    if text.isascii() or _has_no_surrogates(text):
        return text
    return json.dumps(value, allow_nan=False, default=_plain)


@cache
def _checks(table: Table) -> Mapping[str, Check]:
    """By column: what checks a value, and makes of it what the database takes."""
    return {column.name: _check(column.type) for column in table.c}


def _check(kind: TypeEngine[Any]) -> Check:
    for known, check in CHECKS:
        if isinstance(kind, known):
            return check
    raise TypeError(f"no way to keep {kind!r}")


def _moment(name: str, value: Any) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise _refused(name, f"must be a time with a zone, not {_short(value)}")
    return value.astimezone(UTC)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _refused(name, f"must be text, not {type(value).__name__}")
    if not is_storable(value):
        raise _refused(name, "holds a NUL character or half a character")
    return value


def _integer(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise _refused(name, f"must be a whole number of at most 64 bits, not {_short(value)}")
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise _refused(name, f"must be a finite number, not {_short(value)}")


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _refused(name, f"must be true or false, not {_short(value)}")
    return value


def _bytes(name: str, value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise _refused(name, f"must be bytes, not {type(value).__name__}")
    return value


def _json(name: str, value: Any) -> str:
    return json_text(value, name)


def _short(value: Any) -> str:
    """Enough of a value to know it again; a huge number has no text at all."""
    if isinstance(value, int) and value.bit_length() > 64:
        return "a larger one"
    return f"{value!r:.40}" if isinstance(value, int | float) else type(value).__name__


def _has_no_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(value: Any) -> Any:
    """Mappings and records as objects."""
    if isinstance(value, Mapping):
        return dict(value)
    if is_dataclass(value) and not isinstance(value, type):
        return values_of(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _depth(value: Json) -> int:
    """How deep lists and objects are nested, without recursion."""
    deepest, open_ones = 0, [(value, 1)]
    while open_ones:
        one, depth = open_ones.pop()
        inner = one.values() if isinstance(one, Mapping) else one
        if isinstance(one, Mapping | list | tuple):
            deepest = max(deepest, depth)
            open_ones += [(each, depth + 1) for each in inner]
    return deepest


def _refused(name: str, why: str) -> NotStorable:
    return NotStorable(
        f"{name!r} {why}", hint="the database keeps text, JSON and 64-bit numbers", field=name
    )


CHECKS: tuple[tuple[type[TypeEngine[Any]], Check], ...] = (
    (Document, _json),
    (Moment, _moment),
    (Text, _text),
    (Boolean, _flag),
    (BigInteger, _integer),
    (Float, _number),
    (LargeBinary, _bytes),
)
