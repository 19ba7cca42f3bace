"""What is known of one batch job: a file that is written before the job is, and one lock.

The label stands for the requests and for how often they were asked in vain: a job that ended with
nothing but errors is not asked for its answers for ever, the next one has another label.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from filelock import FileLock, Timeout

from ...answers import request_key
from ...core import Request
from ...errors import StoreError

__all__ = ["BatchRecord", "label_of"]

State = Literal["new", "intended", "submitted", "collected"]
POLL_SECONDS = 2.0


def label_of(model: str, requests: Sequence[Request]) -> str:
    """The same for the same requests to the same model, in this order."""
    digest = hashlib.blake2b(model.encode(), digest_size=10)
    for request in requests:
        digest.update(request_key(model, request).encode())
    return f"stepladder-{digest.hexdigest()}"


class BatchRecord:
    """The record of one job, held by this process inside `with`.

    `waiting` is called once when another process holds it; `sleep` passes the time meanwhile.
    """

    def __init__(
        self,
        folder: Path,
        identity: str,
        waiting: Callable[[], None],
        sleep: Callable[[float], None],
    ) -> None:
        self._path = folder / f"batch-{identity}.json"
        self._identity = identity
        self._lock = FileLock(folder / f"batch-{identity}.lock")
        self._waiting = waiting
        self._sleep = sleep
        self._state: State = "new"
        self._attempt = 1
        self.job: str | None = None

    @property
    def label(self) -> str:
        """What the job is called at the service."""
        return f"{self._identity}-{self._attempt}"

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        waited = False
        while True:
            try:
                self._lock.acquire(timeout=0)
                break
            except Timeout:
                if not waited:
                    self._waiting()
                waited = True
                self._sleep(POLL_SECONDS)
        self._load(again=waited)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def intend(self) -> None:
        """A job is about to be submitted: from here on it may be at the service."""
        self._write("intended")

    def submitted(self, job: str) -> None:
        self.job = job
        self._write("submitted")

    def collected(self) -> None:
        """Its answers were taken; the same requests again are another job."""
        self._write("collected")

    def _load(self, *, again: bool) -> None:
        """Go on where the record is. What another process collected just now is read again."""
        if not self._path.is_file():
            return
        try:
            found: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
            self._attempt, self._state = int(found["attempt"]), found["state"]
            self.job = found["job"]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"the record of a batch {str(self._path)!r} is damaged",
                hint="see at the service which batch it was, then remove the file",
            ) from error
        if self._state == "collected" and not again:
            self._attempt, self.job = self._attempt + 1, None

    def _write(self, state: State) -> None:
        self._state = state
        record = {
            "label": self.label,
            "attempt": self._attempt,
            "state": state,
            "job": self.job,
            "at": round(time.time(), 3),
        }
        scratch = self._path.with_name(f".{self._path.name}-{os.getpid()}")
        with scratch.open("w", encoding="utf-8") as file:
            file.write(json.dumps(record, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, self._path)
