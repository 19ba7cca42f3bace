"""How many calls a service takes at once, found by trying: more while all goes well, else fewer.

The rule by which the traffic of the internet shares its lines (Jacobson, 1988; Chiu and Jain,
1989), for calls instead of packets. Pure: the time is passed in, nothing waits. Not thread-safe:
`pool.py` calls it under its lock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Pace", "backoff"]

START = 8.0  # calls at once, before anything is known
# Answers before a second call at once is tried where one was the most. More answers find the limit
# of a busy service less often; fewer are brought down by one that turns a few calls away at random.
CAREFUL = 60
RECENT = 0.05  # the weight of one call in the share of those turned away
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 60.0


@dataclass
class Pace:
    """The limit found so far, the calls under way, and until when the service asked for none."""

    ceiling: int
    limit: float = START
    under_way: int = 0
    hold_until: float = float("-inf")
    found: float | None = None  # the limit at which the service last asked for fewer
    _begun: int = 0
    _refused: float = 0.0  # the share of calls turned away lately
    _full_at: int = 0  # the call with which the limit was last reached
    _cut_at: int = 0  # calls begun before this one knew nothing of the last cut

    def __post_init__(self) -> None:
        self.limit = min(self.limit, float(self.ceiling))

    def room(self, now: float) -> bool:
        """Whether one more call may begin."""
        return self.under_way < int(self.limit) and now >= self.hold_until

    def begin(self) -> int:
        """Count a call in; its number is given back to `succeeded` or `throttled`."""
        self.under_way += 1
        self._begun += 1
        if self.under_way >= int(self.limit):
            self._full_at = self._begun
        return self._begun

    def end(self) -> None:
        """Count a call out, whatever became of it."""
        self.under_way -= 1

    def succeeded(self, number: int) -> None:
        """Grow: twofold a round trip before the limit was found, by one afterwards, less near it.

        Only if the limit was reached while the call was under way: an idle line says nothing about
        how much it would take.
        """
        self._refused *= 1 - RECENT
        if number > self._full_at:
            return
        step = 1.0 if self.found is None else 1.0 / self.limit
        if self.found is not None and self.found - 1 <= self.limit < self.found + 1:
            step = min(step, self.limit / CAREFUL)
        self.limit = min(float(self.ceiling), self.limit + step)

    def throttled(self, number: int) -> None:
        """Cut, once for all the calls that were under way together: to half the first time.

        Later by twice the share of calls turned away of late, at most to half: where that share
        is small the limit is near, or the service turns some away however few there are.
        """
        self._refused += RECENT * (1 - self._refused)
        if number <= self._cut_at:
            return
        kept = 0.5 if self.found is None else max(0.5, 1 - 2 * self._refused)
        self.found = self.limit
        self.limit = max(1.0, self.limit * kept)
        self._cut_at = self._begun

    def hold(self, until: float) -> None:
        """Begin nothing before `until`: the service said when to come back."""
        self.hold_until = max(self.hold_until, until)


def backoff(failures: int, random: Callable[[], float]) -> float:
    """Seconds to wait after so many failures of a call: anywhere up to a bound that doubles.

    Drawn over the whole range, so that calls that failed together do not return together.
    """
    return random() * min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(failures - 1, 30))
