"""The server's database: files, jobs, batches, prefixes, traffic, feedback and keys in one place.

Synchronous and thread-safe; the server calls it from worker threads. Which tables there are is in
`tables.py`, how they came about in `migrations/`. Never decides what to keep for how long: the
server says `forget`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from platformdirs import user_data_path
from sqlalchemy import select

from .batches import Batches
from .connections import Connections, parse_url
from .files import Files
from .jobs import Jobs
from .keys import Keys
from .migrating import migrate
from .prefixes import Prefixes
from .rows import Ground
from .traffic import Traffic

__all__ = ["Database", "open_database"]


class Database(Files, Jobs, Batches, Prefixes, Traffic, Keys):
    """All that the server keeps. Every method raises StoreError where the database cannot be used.

    A database is closed once; what is in the writer's queue is written then.
    """

    def forget(self, before: datetime) -> int:
        """Delete calls from before that time with their feedback, and all that has expired.

        Returns how many calls, files and prefixes that were. In small transactions, so that
        nobody waits long; in SQLite the text is overwritten, in the file and in its log.
        """
        return self._forget_calls(before) + self.sweep()

    def sweep(self) -> int:
        """Delete the files and prefixes that have expired, and what cut-off uploads left."""
        gone = self._delete_expired_prefixes() + self.sweep_files()
        self._connections.tidy()
        return gone

    def ping(self) -> None:
        """Raises StoreError where the database does not answer."""
        with self._connections.read() as connection:
            connection.scalar(select(1))

    def close(self) -> None:
        """Write what waits, and close the connections."""
        self._writer.close()
        self._connections.close()


def open_database(
    url: str | None = None,
    *,
    keep_content: bool = True,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Database:
    """The database at `sqlite:///PATH` or `postgresql://...`, made or migrated where needed.

    None is a SQLite file in the user's data folder. Raises StoreError where it cannot be used.
    """
    place = parse_url(url or f"sqlite:///{user_data_path('stepladder') / 'server.sqlite'}")
    connections = Connections(place)
    try:
        migrate(connections)
    except BaseException:
        connections.close()
        raise
    return Database(Ground(connections, clock, keep_content))
