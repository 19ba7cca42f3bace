"""Work that is claimed: by one worker at a time, for as long as it keeps saying that it is alive.

What the tables of tuning jobs and of batches share. A claim is one statement: PostgreSQL passes by
the rows that others are just claiming, SQLite has one writer anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Table, case, func, literal, or_, select, update

from ..errors import StoreError
from .records import HELD, OVER, JobState
from .rows import Kept, change, same
from .tables import Moment
from .values import record_of

__all__ = ["Leased", "checked_changes", "only"]

Kind = TypeVar("Kind")
FIXED = frozenset({"id", "owner", "created_at"})


class Leased(Kept):
    """Claiming and changing what has a state and a lease."""

    def _change(
        self,
        table: Table,
        kind: type[Kind],
        id: str,
        allowed: Sequence[ColumnElement[bool]],
        changes: Mapping[str, Any],
    ) -> Kind | None:
        """Where it ends, is paused or goes back into the queue, nobody holds it any longer."""
        checked_changes(kind, changes)
        if changes.get("state") in (*OVER, "queued", "paused"):
            changes = {**changes, "worker": None, "lease_until": None}
        where = [*same(table, id=id), *allowed]
        changes = {"updated_at": self._clock(), **changes}
        with self._connections.write() as connection:
            return change(connection, table, kind, changes, where)

    def _claim(
        self, table: Table, kind: type[Kind], worker: str, lease_seconds: float
    ) -> Kind | None:
        now = self._clock()
        lapsed = table.c.state.in_(HELD) & (
            table.c.lease_until.is_(None) | (table.c.lease_until <= now)
        )
        oldest = (
            select(table.c.id)
            .where(or_(table.c.state == "queued", lapsed))
            .order_by(table.c.created_at, table.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        claim = (
            update(table)
            .where(table.c.id == oldest.scalar_subquery())
            .values(
                state=case((table.c.state == "queued", "running"), else_=table.c.state),
                started_at=func.coalesce(table.c.started_at, literal(now, Moment)),
                updated_at=now,
                worker=worker,
                lease_until=_until(now, lease_seconds),
            )
            .returning(table)
        )
        with self._connections.write() as connection:
            found = connection.execute(claim).mappings().first()
        return None if found is None else record_of(kind, table, dict(found))

    def _keep(self, table: Table, id: str, worker: str, lease_seconds: float) -> bool:
        going = table.c.state.in_(HELD)
        longer = update(table).where(*same(table, id=id, worker=worker), going)
        until = _until(self._clock(), lease_seconds)
        with self._connections.write() as connection:
            return bool(connection.execute(longer.values(lease_until=until)).rowcount)


def only(
    table: Table, only_in: Sequence[JobState], held_by: str | None
) -> list[ColumnElement[bool]]:
    """Conditions on the state and on who holds it, where those are given."""
    return [*same(table, worker=held_by), *([table.c.state.in_(only_in)] if only_in else [])]


def checked_changes(kind: type[Any], changes: Mapping[str, Any]) -> None:
    """Raises StoreError for a change to what is not a field, or never changes."""
    known = set(kind.__dataclass_fields__) - FIXED
    wrong = sorted(set(changes) - known)
    if wrong:
        raise StoreError(
            f"{wrong[0]!r} of a {kind.__name__} cannot be changed",
            hint=f"these can: {', '.join(sorted(known))}",
        )


def _until(now: datetime, lease_seconds: float) -> datetime:
    return now + timedelta(seconds=lease_seconds)
