"""The command `stepladder`, with engines that need no model: a whole server process for tests.

Everything else is as it is: settings, database, keys, batches, signals. `SOAK` in the environment
is JSON: the pace of the engine, and how long a silent server keeps its batch. Tuning jobs are taken
on and stay queued: nothing trains.
"""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from stepladder.cli import main
from stepladder.fake_live import FakeEngine, FakeTokenizer
from stepladder.serve import batching
from stepladder.serve.served import opening
from stepladder.serve.served.bases import Base
from stepladder.serve.tuning import queue

__all__ = ["QueuesOnly"]


class QueuesOnly:
    """In place of the worker that trains."""

    def __init__(self, server: object) -> None: ...

    def start(self) -> None: ...

    def wake(self) -> None: ...

    def stop(self) -> None: ...


def _base(name: str, artifacts: Path, *, pace: float) -> Base:
    engine = FakeEngine(tokens_per_second=pace, keep_seen=0)
    return Base(name, engine, FakeTokenizer(), "fake-1")


def _arrange(pace: float, lease_seconds: float) -> None:
    changed: Any = opening, batching, queue
    load = partial(_base, pace=pace)
    changed[0].open_models = partial(opening.open_models, load=load)
    changed[1].BatchRunner = partial(batching.BatchRunner, lease_seconds=lease_seconds)
    changed[2].TuningQueue = QueuesOnly


if __name__ == "__main__":
    _arrange(**json.loads(os.environ["SOAK"]))
    main()
