"""What a run over a cluster leaves unanswered: small parts, each a task of Ray by itself.

A worker that dies takes only its own part with it, and a task waits for no actor that is being
started anew, so that nothing here depends on how the run before came to its end.
"""

from __future__ import annotations

import pickle
from collections.abc import Generator, Sequence
from typing import Any
from uuid import uuid4

from ..core import Input
from .worker import Answerer, Ask, Reply, Shop

__all__ = ["TRIES", "in_tasks"]

TRIES = 3  # times an input by itself is answered again after its worker died

_last: tuple[str, Answerer] | None = None  # in a worker: a model is loaded once for many tasks


def in_tasks(
    shop: Shop,
    inputs: Sequence[Input],
    places: Sequence[int],
    size: int,
    *,
    workers: int,
    cores: float,
) -> Generator[Reply]:
    """The replies for the inputs at `places`, `size` at a time, as they come.

    A part whose worker died has no reply; an input by itself has none when TRIES more died. Only
    twice as many parts as there are `workers` are with the cluster at once; those are cancelled
    when nobody wants more.
    """
    import ray

    answer = ray.remote(num_cpus=cores, max_retries=TRIES if size == 1 else 0)(_answer)
    run, shared = uuid4().hex, ray.put(shop)
    parts = (places[at : at + size] for at in range(0, len(places), size))
    waiting: list[Any] = []
    try:
        while True:
            for part in parts:
                ask = pickle.dumps(Ask(part, [inputs[at] for at in part]))
                waiting.append(answer.remote(run, shared, ask))
                if len(waiting) >= 2 * workers:
                    break
            if not waiting:
                return
            (done,), waiting = ray.wait(waiting)
            try:
                reply: Reply = pickle.loads(ray.get(done))  # made by our own worker
            except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
                continue
            yield reply
    finally:
        for task in waiting:
            ray.cancel(task, force=True)


def _answer(run: str, shop: Shop, ask: bytes) -> bytes:
    global _last
    if _last is None or _last[0] != run:
        _last = run, Answerer(shop)
    return _last[1](ask)
