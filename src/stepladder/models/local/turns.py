"""Which adapter's turn it is, where an engine can use only one at a time.

Pure bookkeeping: sequences of the adapter whose turn it is may start; when others have waited and
its turn is over, it gets no new sequences, runs dry, and the one that waited longest is next.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

__all__ = ["Turns"]


class Turns:
    """A turn lasts `seconds`, longer while nobody else waits, and until its last sequence ends.

    Asked in the order in which sequences came, an adapter waits for at most one turn of each
    adapter that came before it, and for the sequences that run at the end of these turns.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._began = 0.0
        self._current: Hashable | None = None
        self._running = 0

    def may_start(self, adapter: Hashable, *, others_wait: bool) -> bool:
        """Whether a sequence of `adapter` may start now, if other adapters' wait or do not."""
        if self._running == 0:
            return True
        if adapter != self._current:
            return False
        return not others_wait or self._clock() - self._began < self._seconds

    def started(self, adapter: Hashable) -> None:
        """A sequence of `adapter` starts."""
        if self._running == 0:
            self._current, self._began = adapter, self._clock()
        self._running += 1

    def ended(self, count: int) -> None:
        """That many sequences have ended."""
        self._running -= count
