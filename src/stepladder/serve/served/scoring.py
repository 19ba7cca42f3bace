"""Scores of given answers for many callers: those that wait are scored together.

The scorer takes one batch at a time and computes what prompts share once; so whoever finds it busy
is part of the next batch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Scored", "Scores"]

Ids = Sequence[int]
Scored = tuple[tuple[float, ...], float]  # log-probabilities in the order of choices, seconds


@dataclass(frozen=True)
class _Waiting:
    prompt: Ids
    choices: Sequence[Ids]
    scored: Future[Scored] = field(default_factory=Future)


class Scores:
    """Scores choices with `scorer()`, which is made when it is first needed. Thread-safe."""

    def __init__(self, scorer: Callable[[], Any]) -> None:
        self._scorer = scorer
        self._busy = threading.Lock()
        self._guard = threading.Lock()
        self._waiting: list[_Waiting] = []

    def score(self, prompts: Sequence[Ids], choices: Sequence[Sequence[Ids]]) -> list[Scored]:
        """The log-probabilities of each prompt's choices; returns when all are there.

        Raises ModelError where this model does not score.
        """
        asked = [_Waiting(*pair) for pair in zip(prompts, choices, strict=True)]
        with self._guard:
            self._waiting += asked
        with self._busy:  # whoever had it before may have scored ours
            with self._guard:
                batch, self._waiting = self._waiting, []
            if batch:
                self._run(batch)
        return [one.scored.result() for one in asked]

    def _run(self, batch: Sequence[_Waiting]) -> None:
        try:
            scores = self._scorer().run(
                [one.prompt for one in batch], [one.choices for one in batch]
            )
            for place, logprobs, seconds in scores:
                batch[place].scored.set_result((logprobs, seconds))
            if not all(one.scored.done() for one in batch):
                raise RuntimeError("the scorer left prompts out")
        except Exception as error:  # each of those who wait has to hear of it
            for one in batch:
                if not one.scored.done():
                    one.scored.set_exception(error)
