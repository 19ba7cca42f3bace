"""How much the server takes on at once: what does not fit is told when to come back.

Counts candidates in progress; the engine decides which of them run and which wait. Limits of a key
are in `keys.py`, those of a request's size in `app.py`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from . import Refusal

__all__ = ["Limits"]

PACE_OF = 64  # finished candidates, the latest, that the pace is measured over
LONGEST_WAIT = 60.0  # seconds: nobody is told to stay away longer on the word of a guess


class Limits:
    """The places of a server, `most_running + queue` of them, and how fast they come free."""

    def __init__(
        self, most_running: int, queue: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.places = most_running + queue
        self.most_running = most_running
        self.taken = 0
        self.stopping = False
        self._clock = clock
        self._finished: deque[tuple[float, int]] = deque(maxlen=PACE_OF)

    @property
    def running(self) -> int:
        """Candidates that can be under way."""
        return min(self.taken, self.most_running)

    @property
    def waiting(self) -> int:
        """Candidates beyond those."""
        return max(0, self.taken - self.most_running)

    def take(self, candidates: int) -> None:
        """Take as many places; raises Refusal: busy, or unavailable once the server is ending."""
        if self.stopping:
            raise Refusal(
                "unavailable",
                "the server is shutting down and takes no new calls",
                hint="send the call again: another server, or this one once it is back, takes it",
                retry_after_seconds=1.0,
            )
        if candidates > self.places:
            raise Refusal(
                "invalid",
                f"{candidates} candidates are more than the server's {self.places} places",
                hint="ask for fewer candidates in one call",
            )
        if self.taken + candidates > self.places:
            raise Refusal(
                "busy",
                f"all {self.places} places of the server are taken",
                hint="send the call again after the time in Retry-After",
                retry_after_seconds=self._until_free(self.taken + candidates - self.places),
            )
        self.taken += candidates

    def give_back(self, candidates: int) -> None:
        """These places are free again."""
        self.taken -= candidates
        self._finished.append((self._clock(), candidates))

    def _until_free(self, places: int) -> float:
        """Seconds until so many places come free, at the pace of the latest that did."""
        if len(self._finished) < 2:
            return 1.0
        since = self._finished[0][0]
        freed = sum(candidates for at, candidates in self._finished if at > since)
        seconds = max(self._clock() - since, 1e-3)
        pace = max(freed, 1) / seconds
        return min(max(places / pace, 1.0), LONGEST_WAIT)
