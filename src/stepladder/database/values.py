"""Between records and what a database takes: JSON, text, times and numbers, checked on the way in.

What one of the two databases would refuse or change is refused here, by the name of its field:
PostgreSQL takes no NUL in text and no lone surrogates, SQLite turns NaN into NULL and takes no
integer beyond 64 bits. Knows tables and records, no connection.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import JSON, BigInteger, Boolean, Float, LargeBinary, Table, Text
from sqlalchemy.types import TypeEngine

from ..core import Json
from ..errors import StoreError
from .tables import Moment

__all__ = ["decode", "encode", "is_storable", "json_text", "record_of", "values_of"]

MOST_OPEN = 400  # nested lists and objects; deeper ones cannot be read back by every JSON parser
Kind = TypeVar("Kind")


def values_of(record: Any) -> dict[str, Any]:
    """The fields of a record by name, not copied."""
    return {each.name: getattr(record, each.name) for each in fields(record)}


def encode(table: Table, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values for the columns of `table`; raises StoreError naming the one that cannot be kept."""
    columns = table.c
    return {
        name: None if value is None else _column(columns[name].type, name, value)
        for name, value in values.items()
    }


def decode(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """What `encode` was given, as JSON and UTC times."""
    return {
        name: json.loads(value)
        if value is not None and isinstance(table.c[name].type, JSON)
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

    Raises StoreError naming the field for numbers that JSON does not have, for what is not JSON,
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


def _column(kind: TypeEngine[Any], name: str, value: Any) -> Any:
    if isinstance(kind, JSON):
        return json_text(value, name)
    if isinstance(kind, Moment):
        return _moment(name, value)
    if isinstance(kind, Text):
        return _text(name, value)
    if isinstance(kind, Boolean):
        return bool(value)
    if isinstance(kind, BigInteger | Float):
        return _number(kind, name, value)
    if isinstance(kind, LargeBinary):
        return value
    raise TypeError(f"no way to keep {kind!r}")


def _moment(name: str, value: Any) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise _refused(name, f"must be a time with a zone, not {value!r}")
    return value.astimezone(UTC)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _refused(name, f"must be text, not {type(value).__name__}")
    if not is_storable(value):
        raise _refused(name, "holds a NUL character or half a character")
    return value


def _number(kind: TypeEngine[Any], name: str, value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refused(name, f"must be a number, not {type(value).__name__}")
    if isinstance(kind, BigInteger):
        if not isinstance(value, int) or not -(2**63) <= value < 2**63:
            raise _refused(name, "must be a whole number of at most 64 bits")
        return value
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _refused(name, "must be a finite number")
    return number


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


def _refused(name: str, why: str) -> StoreError:
    return StoreError(f"{name!r} {why}", hint="the database keeps text, JSON and 64-bit numbers")
