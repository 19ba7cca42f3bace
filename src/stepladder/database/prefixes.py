"""Kept prefixes: turns that requests begin with by name, until they expire."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, delete

from .leases import checked_changes
from .records import KeptPrefix
from .rows import Kept, Page, add, change, find, page, same
from .tables import prefixes

__all__ = ["Prefixes"]


class Prefixes(Kept):
    """The prefixes that have not expired."""

    def add_prefix(self, prefix: KeptPrefix) -> None:
        """Keep a prefix."""
        with self._connections.write() as connection:
            add(connection, prefixes, prefix)

    def prefix(self, id: str) -> KeptPrefix | None:
        """The prefix with this id."""
        with self._connections.read() as connection:
            return find(connection, prefixes, KeptPrefix, id, self._lasts())

    def prefixes(
        self, *, owner: str | None = None, after: str | None = None, limit: int = 100
    ) -> list[KeptPrefix]:
        """Prefixes, the newest first."""
        wanted = [*same(prefixes, owner=owner), self._lasts()]
        with self._connections.read() as connection:
            return page(connection, prefixes, KeptPrefix, Page(after, limit), *wanted)

    def change_prefix(self, id: str, **changes: Any) -> KeptPrefix | None:
        """The prefix after the change; None where it is gone or has expired."""
        checked_changes(KeptPrefix, changes)
        changes = {"updated_at": self._clock(), **changes}
        where = [*same(prefixes, id=id), self._lasts()]
        with self._connections.write() as connection:
            return change(connection, prefixes, KeptPrefix, changes, where)

    def delete_prefix(self, id: str) -> bool:
        """Forget a prefix; False where there was none."""
        with self._connections.write() as connection:
            gone = delete(prefixes).where(*same(prefixes, id=id), self._lasts())
            return bool(connection.execute(gone).rowcount)

    def _lasts(self) -> ColumnElement[bool]:
        return prefixes.c.expires_at > self._clock()
