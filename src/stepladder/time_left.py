"""How long the rest of a set will take, from the answers that there are. Pure: time is passed in.

Where many answers are under way at once, the first of them say little: one of 32 that began
together is there after nearly the time of all. So nothing is said until answers have ended that
began after others had: twice as many as are under way, which by Little's law is the sum of their
latencies over the time that passed. That time begins with the first answer: what was loaded before
it is not loaded again.
"""

from __future__ import annotations

__all__ = ["TimeLeft"]


class TimeLeft:
    """Of one set, answered block by block."""

    def __init__(self) -> None:
        self._done = 0
        self._began = 0.0  # when the first answer did
        self._latencies = 0.0  # their sum, in seconds
        self._known = False

    def answered(self, latency_seconds: float | None, passed: float) -> None:
        """One more answer, `passed` seconds after the beginning.

        The latency is None where it took no time worth measuring.
        """
        if self._done == 0 and latency_seconds is not None:
            self._began = max(0.0, passed - latency_seconds)
        self._done += 1
        self._latencies += latency_seconds or 0.0

    def block_ended(self) -> None:
        """Nothing is under way now: all that passed went into what was answered."""
        self._known = self._done > 0

    def seconds(self, passed: float, planned: int) -> float | None:
        """Until all `planned` are answered, after `passed` seconds; None while it is not known."""
        spent = passed - self._began
        if spent <= 0 or not self._done:
            return None
        under_way = self._latencies / spent
        self._known = self._known or self._done >= 2 * under_way
        return spent / self._done * (planned - self._done) if self._known else None
