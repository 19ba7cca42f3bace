"""A clock that waits move on, so that hours of backing off take no time."""

from __future__ import annotations

import threading
from collections.abc import Callable

from stepladder.models.hosted.pool import Timing

__all__ = ["SimulatedTime"]


class SimulatedTime:
    """Whoever waits for a known time passes it; who waits for an event waits for that.

    Time moves on only once nobody is `busy`: a call under way takes its own seconds.
    """

    def __init__(self, chance: Callable[[], float] = lambda: 0.5) -> None:
        self.now = 1000.0
        self.waited: list[float] = []
        self._lock = threading.Lock()
        self.timing = Timing(lambda: self.now, self._wait, chance)

    def pass_time(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds

    def _wait(self, condition: threading.Condition, seconds: float | None) -> None:
        if seconds is None:
            assert condition.wait(30), "waited for nothing for half a minute"
            return
        self.pass_time(max(0.0, seconds) + 1e-6)
        self.waited.append(seconds)
        condition.wait(0)  # let others in
