"""The process that trains: claims a job, brings it to its end, and makes room for the next process.

One process runs one job, so that the memory of a training goes back to the machine. A line on its
standard input wakes it; when that is closed, its server is gone: it stops within a step and lets
go of its job. Started and watched by `queue.py`, or by hand:

    python -m stepladder.serve.tuning.worker --database URL --work FOLDER
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...database import open_database
from ...database.records import OVER
from ...errors import StepladderError
from .holding import Hold
from .run_job import Workplace, run_job

if TYPE_CHECKING:
    from ...database.database import Database

__all__ = ["DATABASE", "Signals", "main", "work"]

DATABASE = "STEPLADDER_TUNING_DATABASE"  # its URL may hold a password: no argument, which all see
LEASE_SECONDS = 60.0
POLL_SECONDS = 5.0  # another server of the database may have queued a job


@dataclass(frozen=True)
class Signals:
    """What reaches a worker from outside: `stop` ends it, `wake` ends its waiting."""

    stop: threading.Event
    wake: threading.Event

    def end(self) -> None:
        """Stop at the next opportunity."""
        self.stop.set()
        self.wake.set()


def work(
    database: Database,
    place: Workplace,
    signals: Signals,
    *,
    lease_seconds: float = LEASE_SECONDS,
    poll_seconds: float = POLL_SECONDS,
) -> bool:
    """Wait for a job and run it; False where there was none before the end."""
    worker = f"{socket.gethostname()}/{os.getpid()}"
    sweep(database, place)
    while not signals.stop.is_set():
        job = database.claim_job(worker, lease_seconds)
        if job is None:
            signals.wake.wait(poll_seconds)
            signals.wake.clear()
            continue
        with Hold(database, job.id, worker, lease_seconds, signals.stop) as hold:
            run_job(database, job, hold, place)
        return True
    return False


def sweep(database: Database, place: Workplace) -> None:
    """Remove what is left of jobs that are over, wherever they ended."""
    if not place.folder.is_dir():
        return
    for folder in place.folder.iterdir():
        if not folder.name.isdigit():
            continue
        job = database.job(folder.name)
        if job is None or job.state in OVER:
            shutil.rmtree(folder, ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one job; the exit status is 0 where it was brought to an end, whichever."""
    given = _parser().parse_args(arguments)
    signals = Signals(threading.Event(), threading.Event())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: signals.end())
    if given.nice and hasattr(os, "nice"):
        os.nice(given.nice)
    if given.attached:
        threading.Thread(target=_listen, args=(signals,), daemon=True).start()
    place = Workplace(given.work, given.gs_folder, given.threads, given.device, given.longest)
    try:
        database = open_database(given.database or os.environ.get(DATABASE) or None)
        try:
            work(database, place, signals, lease_seconds=given.lease, poll_seconds=given.poll)
        finally:
            database.close()
    except StepladderError as error:
        sys.stderr.write(f"tuning worker: {error}\n")
        return 1
    return 0


def _listen(signals: Signals) -> None:
    """Lines wake; the end of them means that the server is gone."""
    while os.read(0, 4096):
        signals.wake.set()
    signals.end()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stepladder.serve.tuning.worker")
    parser.add_argument("--database", help=f"URL of the server's database; else ${DATABASE}")
    parser.add_argument("--work", type=Path, required=True, help="folder for unfinished training")
    parser.add_argument("--gs-folder", type=Path, help="the folder that stands for gs://")
    parser.add_argument("--threads", type=int, help="how many to compute with; all cores")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--nice", type=int, default=0, help="how much to stand back, 0 to 19")
    parser.add_argument("--longest", type=int, default=2048, help="tokens of one example")
    parser.add_argument("--lease", type=float, default=LEASE_SECONDS, help="seconds of a claim")
    parser.add_argument("--poll", type=float, default=POLL_SECONDS, help="seconds between looks")
    parser.add_argument("--attached", action="store_true", help="end when standard input does")
    return parser


if __name__ == "__main__":
    sys.exit(main())
