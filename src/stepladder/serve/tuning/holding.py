"""A worker's hold on the job it runs: the lease is renewed while it works, and it hears of its end.

A worker that lost its lease must not write another word of the job: somebody else runs it now.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from ...errors import StoreError

if TYPE_CHECKING:
    from ...database.database import Database

__all__ = ["Cancelled", "Hold", "LetGo", "Lost", "Paused"]


class LetGo(Exception):
    """The job is not to be worked on any longer, here and now: somebody goes on with it later."""


class Lost(LetGo):
    """The lease ran out, or another worker has the job."""


class Cancelled(Exception):
    """Whoever asked for the job does not want it any more."""


class Paused(Exception):
    """Whoever asked for the job wants it to wait, until told otherwise."""


class Hold:
    """Keeps a claim alive from a thread of its own while the block runs."""

    def __init__(
        self,
        database: Database,
        job: str,
        worker: str,
        lease_seconds: float,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._job = job
        self.worker = worker
        self._lease_seconds = lease_seconds
        self._stop = stop
        self._clock = clock
        self._until = clock() + lease_seconds
        self._lost = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def __enter__(self) -> Hold:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def check(self) -> None:
        """Raise Lost, Cancelled, Paused or LetGo where there is a reason not to go on."""
        if self._lost.is_set() or self._clock() >= self._until:
            raise Lost
        if self._stop.is_set():
            raise LetGo
        job = self._database.job(self._job)
        if job is not None and job.state == "cancelling":
            raise Cancelled
        if job is not None and job.state == "pausing":
            raise Paused
        if job is None or job.state != "running":
            raise Lost

    def renew(self) -> None:
        """Renew the lease now; raises Lost where it is gone."""
        asked = self._clock()
        if not self._database.keep_claim(self._job, self.worker, self._lease_seconds):
            self._lost.set()
            raise Lost
        self._until = asked + self._lease_seconds

    def release(self) -> None:
        """Let another worker have the job at once."""
        self._database.keep_claim(self._job, self.worker, 0.0)

    def _renew(self) -> None:
        while not self._over.wait(self._lease_seconds / 3):
            try:
                self.renew()
            except Lost:
                return
            except StoreError:
                continue  # it may come back before the lease is over; `check` watches the time
