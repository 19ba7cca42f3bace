"""Keeps a training process running beside the server, and starts another when it ends.

The process is `worker.py`. It stands back behind those who wait for answers: low priority, half of
the cores. One that dies is started again, later each time until one lived for a while. When the
server dies, its process notices by its closed input and lets go of its job. Nothing here trains.
"""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ...models.local.weights import cache_folder
from .worker import DATABASE

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["Process", "Start", "TuningQueue", "backoff_seconds", "start_worker"]

log = logging.getLogger("stepladder.serve.tuning")

NICE = 15
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
HEALTHY_SECONDS = 60.0  # a process that lived so long was not to blame
STOP_SECONDS = 10.0  # a step takes a few; after that the process is ended


class Process(Protocol):
    """A worker as the queue sees it."""

    def wait(self) -> int:
        """Its exit status, once it ends."""
        ...

    def wake(self) -> None:
        """Tell it that there is something new."""
        ...

    def stop(self) -> None:
        """Ask it to end, and see that it does."""
        ...


Start = Callable[[], Process]


def backoff_seconds(failures: int) -> float:
    """How long to wait after so many failures in a row."""
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 30))


class TuningQueue:
    """Runs the tuning jobs of a server, one at a time."""

    def __init__(
        self,
        server: Server,
        start: Start | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._start = start or (lambda: start_worker(_command(server), _environment(server)))
        self._clock = clock
        self._stopping = threading.Event()
        self._process: Process | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the process, and watch it until `stop`; returns at once."""
        self._thread = threading.Thread(target=self._watch, name="tuning-queue", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is a new job, or one was cancelled; returns at once."""
        with self._lock:
            if self._process is not None:
                self._process.wake()

    def stop(self) -> None:
        """End the process; a job that it runs goes on when a server runs again."""
        self._stopping.set()
        with self._lock:
            process = self._process
        if process is not None:
            process.stop()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = self._clock()
            status = self._run()
            if status == 0 or self._stopping.is_set():
                failures = 0
                continue
            failures = 1 if self._clock() - began >= HEALTHY_SECONDS else failures + 1
            pause = backoff_seconds(failures)
            log.warning("the tuning worker ended with status %s; next in %g s", status, pause)
            self._stopping.wait(pause)

    def _run(self) -> int:
        try:
            process = self._start()
        except OSError as error:
            log.warning("the tuning worker cannot be started: %s", error)
            return 1
        with self._lock:
            self._process = process
        if self._stopping.is_set():  # `stop` came in between and saw none
            process.stop()
        try:
            return process.wait()
        finally:
            with self._lock:
                self._process = None


@dataclass(frozen=True)
class _Worker:
    process: subprocess.Popen[bytes]

    def wait(self) -> int:
        status = self.process.wait()
        self._close()
        return status

    def wake(self) -> None:
        self._say(b"\n")

    def stop(self) -> None:
        self._close()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _close(self) -> None:
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()

    def _say(self, line: bytes) -> None:
        assert self.process.stdin is not None
        # it ends by itself now, or has more than enough to read
        with suppress(OSError, ValueError):
            self.process.stdin.write(line)


def start_worker(command: Sequence[str], environment: dict[str, str]) -> Process:
    """A worker process whose input is ours, never blocking us."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment, bufsize=0
    )
    assert process.stdin is not None
    os.set_blocking(process.stdin.fileno(), False)
    return _Worker(process)


def _command(server: Server) -> list[str]:
    settings = server.settings
    command = [sys.executable, "-m", "stepladder.serve.tuning.worker", "--attached"]
    command += [
        "--work",
        str(_work_folder(settings.database)),
        "--nice",
        str(NICE),
        "--threads",
        str(_threads()),
    ]
    if settings.gs_folder is not None:
        command += ["--gs-folder", str(settings.gs_folder)]
    return command


def _environment(server: Server) -> dict[str, str]:
    threads = str(_threads())
    held = {name: threads for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")}
    return {**os.environ, **held, DATABASE: server.settings.database or ""}


def _work_folder(database: str | None) -> Path:
    """One per database: a worker sweeps up what its database knows nothing of."""
    name = hashlib.sha256((database or "").encode()).hexdigest()[:12]
    return cache_folder() / "tuning" / name


def _threads() -> int:
    """Half of the cores, so that the other half answers."""
    usable = getattr(os, "sched_getaffinity", None)
    cores = len(usable(0)) if usable else os.cpu_count() or 1
    return max(1, cores // 2)
