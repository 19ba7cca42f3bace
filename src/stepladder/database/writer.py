"""Writes traffic from a thread of its own, in groups, so that no caller waits for a disk.

A row is committed at most `LINGER_SECONDS` after it came, or with the `GROUP - 1` before it. While
the database cannot be written, rows wait in memory; beyond `most_rows` or `most_bytes` new ones are
dropped and counted. The thread tries again until it is closed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from ..errors import StoreError

__all__ = ["GROUP", "LINGER_SECONDS", "Unwritable", "Writer"]

GROUP = 256
LINGER_SECONDS = 0.05
RETRY_SECONDS = (0.1, 5.0)  # between tries: the first wait, which doubles, and the longest
CLOSE_SECONDS = 10.0

Row = Mapping[str, Any]
log = logging.getLogger("stepladder.database")


class Unwritable(StoreError):
    """The database refuses these rows for what is in them; trying again does not help."""


class Writer:
    """Rows on their way into the database, by their ids.

    `save` commits rows; it raises StoreError when it cannot now, and Unwritable when it never can.
    """

    def __init__(
        self,
        save: Callable[[list[Row]], None],
        *,
        most_rows: int = 20_000,
        most_bytes: int = 256 << 20,
    ) -> None:
        self._save = save
        self._most_rows, self._most_bytes = most_rows, most_bytes
        self._rows: dict[str, tuple[Row, int]] = {}
        self._bytes = 0
        self._changed = threading.Condition()
        self.saving = threading.Lock()  # held while rows move from here into the database
        self._thread: threading.Thread | None = None
        self._closed = self._hurried = False
        self._trouble: StoreError | None = None
        self.dropped_rows = 0

    def put(self, row: Row, size: int) -> None:
        """Take a row, or drop and count it. Returns at once; of two with one id the first stays."""
        with self._changed:
            if row["id"] in self._rows:
                return
            if (
                self._closed
                or len(self._rows) >= self._most_rows
                or self._bytes + size > self._most_bytes
            ):
                self._drop(1, "there is no room for more")
                return
            self._bytes += size
            self._rows[row["id"]] = (row, size)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
                self._thread.start()
            if len(self._rows) in (1, GROUP):
                self._changed.notify_all()

    def drop(self, why: str) -> None:
        """Count a row that never came to be one."""
        with self._changed:
            self._drop(1, why)

    def waiting(self, id: str) -> Row | None:
        """A row that is not in the database yet."""
        with self._changed:
            found = self._rows.get(id)
        return None if found is None else found[0]

    def all_waiting(self) -> list[Row]:
        """All rows that are not in the database yet."""
        with self._changed:
            return [row for row, _ in self._rows.values()]

    def saved(self, id: str) -> None:
        """Somebody else has put this row into the database."""
        with self._changed:
            self._forget([id])
            self._changed.notify_all()

    def flush(self, timeout_seconds: float = CLOSE_SECONDS) -> bool:
        """Wait until what is here now is in the database; False where it cannot be, or not yet."""
        with self._changed:
            ids = list(self._rows)
            self._hurried = True
            self._changed.notify_all()
            return self._changed.wait_for(
                lambda: self._trouble is not None or not any(id in self._rows for id in ids),
                timeout_seconds,
            ) and not any(id in self._rows for id in ids)

    def close(self) -> None:
        """Write what is left, give up on what cannot be written, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(CLOSE_SECONDS)
        with self._changed:
            self._drop(len(self._rows), "the server ended before they could be written")
            self._forget(list(self._rows))

    def _run(self) -> None:
        wait = RETRY_SECONDS[0]
        while (group := self._next_group()) is not None:
            last_try = self._closed
            try:
                self._write(group)
                wait = RETRY_SECONDS[0]
            except StoreError as error:
                with self._changed:
                    self._went_wrong(error)
                    if last_try:
                        return
                    self._changed.wait_for(lambda: self._closed, wait)
                wait = min(2 * wait, RETRY_SECONDS[1])

    def _write(self, group: Mapping[str, Row]) -> None:
        if not group:
            return  # somebody else has written what woke us
        with self.saving:
            self._save_group(group)
            with self._changed:
                self._forget(group)
                self._went_well()

    def _next_group(self) -> dict[str, Row] | None:
        """The rows to write next, when it is time; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._rows or self._closed)
            if not self._trouble:
                self._changed.wait_for(
                    lambda: len(self._rows) >= GROUP or self._closed or self._hurried,
                    LINGER_SECONDS,
                )
            self._hurried = False
            if not self._rows:
                return None if self._closed else {}
            return {id: row for id, (row, _) in islice(self._rows.items(), GROUP)}

    def _save_group(self, group: Mapping[str, Row]) -> None:
        """All in one transaction; each alone where one of them is refused."""
        try:
            self._save(list(group.values()))
        except Unwritable:
            for id, row in group.items():
                self._save_one(id, row)

    def _save_one(self, id: str, row: Row) -> None:
        refused = None
        try:
            self._save([row])
        except Unwritable as error:
            refused = error
        with self._changed:
            self._forget([id])
            if refused is not None:
                self._drop(1, refused.message)

    def _forget(self, ids: Iterable[str]) -> None:
        for id in ids:
            self._bytes -= self._rows.pop(id, ({}, 0))[1]

    def _drop(self, rows: int, why: str) -> None:
        """Count rows, and say so at the first and whenever their number has doubled."""
        before, self.dropped_rows = self.dropped_rows, self.dropped_rows + rows
        if self.dropped_rows.bit_length() > before.bit_length():
            log.warning("%d rows of traffic were dropped so far: %s", self.dropped_rows, why)

    def _went_wrong(self, error: StoreError) -> None:
        if self._trouble is None:
            log.warning("traffic cannot be written, and waits in memory: %s", error.message)
        self._trouble = error
        self._changed.notify_all()

    def _went_well(self) -> None:
        if self._trouble is not None:
            log.warning("traffic is written again; %d rows were dropped", self.dropped_rows)
        self._trouble = None
        self._changed.notify_all()
