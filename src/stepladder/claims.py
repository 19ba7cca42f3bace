"""Who is asking what, among the processes that share a runs folder: a paid call is made once.

    <runs>/answers.sqlite, table `claims`   the call, and who makes it
    <runs>/claims/<owner>.lock              held by a process as long as it lives

A claim of a process that is gone is anybody's: the system lets go of its lock whatever killed it.
Only models that cost money by the call are claimed; `answers.py` says which and waits.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["AT_ONCE", "Claims", "marks"]

AT_ONCE = 500  # keys in one question to the database; it takes 999 at the least


def marks(count: int) -> str:
    """The places of so many values in a question to the database."""
    return ",".join("?" * count)


class Claims:
    """The claims of this process, in the database of the answers."""

    def __init__(self, database: sqlite3.Connection, folder: Path) -> None:
        self._db = database
        self._folder = folder
        self._owner = f"{os.getpid()}-{secrets.token_hex(4)}"
        folder.mkdir(exist_ok=True)
        self._lock = FileLock(self._path(self._owner))
        self._lock.acquire(timeout=0)
        database.execute(
            "CREATE TABLE IF NOT EXISTS claims (key TEXT PRIMARY KEY, owner TEXT NOT NULL)"
            " WITHOUT ROWID"
        )

    def take(self, keys: Sequence[str]) -> set[str]:
        """Claim these calls; those that are ours now. The rest are answered, or another's."""
        held = self._take(keys)
        others = {owner for owner in held.values() if owner != self._owner}
        if self._forget_dead(others):
            held = self._take(keys)
        return {key for key, owner in held.items() if owner == self._owner}

    def release(self, keys: Iterable[str]) -> None:
        """Give up what was claimed: it is answered, or somebody else may try."""
        gone = [(key, self._owner) for key in keys]
        with self._together():
            self._db.executemany("DELETE FROM claims WHERE key = ? AND owner = ?", gone)

    def close(self) -> None:
        """Give up everything."""
        self._db.execute("DELETE FROM claims WHERE owner = ?", (self._owner,))
        self._lock.release()
        self._path(self._owner).unlink(missing_ok=True)

    def _take(self, keys: Sequence[str]) -> dict[str, str]:
        """Claim what is neither answered nor claimed; who has which of the rest."""
        held: dict[str, str] = {}
        with self._together():  # one process at a time, from the look to the claim
            self._db.executemany(
                "INSERT OR IGNORE INTO claims SELECT ?1, ?2"
                " WHERE NOT EXISTS (SELECT 1 FROM answers WHERE key = ?1)",
                [(key, self._owner) for key in keys],
            )
            for start in range(0, len(keys), AT_ONCE):
                some = keys[start : start + AT_ONCE]
                asked = f"SELECT key, owner FROM claims WHERE key IN ({marks(len(some))})"
                held.update(self._db.execute(asked, some).fetchall())
        return held

    @contextmanager
    def _together(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _forget_dead(self, owners: Iterable[str]) -> bool:
        """Remove the claims of processes that are gone; whether there were any."""
        dead = [owner for owner in owners if not self._alive(owner)]
        self._db.executemany("DELETE FROM claims WHERE owner = ?", [(owner,) for owner in dead])
        return bool(dead)

    def _alive(self, owner: str) -> bool:
        path = self._path(owner)
        if not path.exists():
            return False
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        path.unlink(missing_ok=True)
        return False

    def _path(self, owner: str) -> Path:
        return self._folder / f"{owner}.lock"
