"""Which adapter's turn it is, where an engine can use only one at a time.

Pure bookkeeping: sequences of the adapter whose turn it is may start; when others wait and its turn
is over it gets no new ones, runs dry, and the adapter that has not had a turn for longest is next.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

__all__ = ["Turns"]


class Turns:
    """A turn lasts `seconds`, longer while nobody else waits, and until its last sequence ends.

    So an adapter waits for at most one turn of each other one, and for the sequences that run at
    the end of these turns, however many sequences the others have waiting.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._current: Hashable | None = None
        self._running = 0
        self._began: dict[Hashable, float] = {}  # when each adapter's latest turn began

    def may_start(self, adapter: Hashable, waiting: Iterable[Hashable]) -> bool:
        """Whether a sequence of `adapter` may start now.

        `waiting` are all adapters of which sequences wait, the one that came first first.
        """
        if self._running == 0:
            return adapter == min(waiting, key=lambda one: self._began.get(one, float("-inf")))
        if adapter != self._current:
            return False
        others_wait = any(one != adapter for one in waiting)
        return not others_wait or self._clock() - self._began[adapter] < self._seconds

    def started(self, adapter: Hashable) -> None:
        """A sequence of `adapter` starts."""
        if self._running == 0:
            self._current = adapter
            self._began[adapter] = self._clock()
        self._running += 1

    def ended(self, count: int) -> None:
        """That many sequences have ended."""
        self._running -= count
