"""What all parts of the database have in common: adding a record, finding it, listing, changing.

Lists are ordered by time and id, and go on after the id of the last thing seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Table, false, insert, select, tuple_, update

from ..errors import StoreError
from .connections import Connections
from .values import encode, is_storable, record_of, values_of

__all__ = [
    "Ground",
    "Kept",
    "NotKept",
    "Page",
    "add",
    "change",
    "counted",
    "find",
    "limited",
    "page",
    "same",
]

Kind = TypeVar("Kind")


class NotKept(StoreError):
    """What was named is not in the database (any more)."""


@dataclass(frozen=True)
class Ground:
    """What the parts of the database stand on."""

    connections: Connections
    clock: Callable[[], datetime]
    keep_content: bool


class Kept:
    """A part of the database: methods for one sort of record."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._connections = ground.connections
        self._clock = ground.clock


@dataclass(frozen=True)
class Page:
    """Which part of a list: `limit` records after the one with the id `after`."""

    after: str | None
    limit: int
    newest_first: bool = True


def add(connection: Connection, table: Table, record: Any, **more: Any) -> None:
    """Insert a record; `more` are columns that are not the record's."""
    connection.execute(insert(table), encode(table, {**values_of(record), **more}))


def find(
    connection: Connection, table: Table, kind: type[Kind], id: str, *where: ColumnElement[bool]
) -> Kind | None:
    """The record with this id."""
    if not is_storable(id):
        return None
    found = connection.execute(select(table).where(table.c.id == id, *where)).mappings().first()
    return None if found is None else record_of(kind, table, _named(found))


def page(
    connection: Connection,
    table: Table,
    kind: type[Kind],
    shown: Page,
    *where: ColumnElement[bool],
) -> list[Kind]:
    """A part of the list; raises NotKept where `after` names nothing (any more)."""
    order = (table.c.created_at, table.c.id)
    query = select(table).where(*where).limit(limited(shown.limit))
    if shown.after is not None:
        last = (
            is_storable(shown.after)
            and connection.execute(select(*order).where(table.c.id == shown.after)).first()
        )
        if not last:
            raise NotKept(f"there is no {shown.after!r} to go on after", hint="begin anew")
        place = tuple_(last[0], last[1], types=[each.type for each in order])
        here = tuple_(*order)
        query = query.where(here < place if shown.newest_first else here > place)
    query = query.order_by(*(each.desc() if shown.newest_first else each for each in order))
    return [record_of(kind, table, _named(row)) for row in connection.execute(query).mappings()]


def limited(limit: int) -> int:
    """A limit that every database takes; raises StoreError for a negative one."""
    if limit < 0:
        raise StoreError(f"'limit' is {limit}", hint="it must not be negative")
    return min(limit, 2**31 - 1)


def counted(number: int) -> int:
    """A place in a list of numbers from 0 on, which every database takes."""
    return max(-1, min(number, 2**62))


def same(table: Table, **values: str | None) -> list[ColumnElement[bool]]:
    """Conditions on those columns that a value is given for."""
    return [
        table.c[name] == value if is_storable(value) else false()
        for name, value in values.items()
        if value is not None
    ]


def change(
    connection: Connection,
    table: Table,
    kind: type[Kind],
    changes: Mapping[str, Any],
    where: Sequence[ColumnElement[bool]],
) -> Kind | None:
    """The record after the changes; None where there is none to change."""
    statement = update(table).where(*where).values(encode(table, changes)).returning(table)
    found = connection.execute(statement).mappings().first()
    return None if found is None else record_of(kind, table, _named(found))


def _named(row: Mapping[Any, Any]) -> Mapping[str, Any]:
    return {str(name): value for name, value in row.items()}
