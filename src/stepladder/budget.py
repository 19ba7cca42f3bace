"""What a climb may spend. Checked before each step by its estimate, and at every call after.

While a step builds, its calls are counted one by one; when it is done, what it says they took.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from .core import Estimate
from .errors import BudgetExceeded

__all__ = ["Budget"]


@dataclass
class Budget:
    """Dollars and minutes for one climb; None is no limit. Counts what is told to it."""

    dollars: float | None = None
    minutes: float | None = None
    clock: Callable[[], float] = time.monotonic
    spent_dollars: float = 0.0
    unpriced: bool = False  # something was done whose dollars are unknown
    started: float = field(default=0.0)
    _paid: float | None = field(default=None, init=False)  # by the step that builds now

    def start(self) -> None:
        self.started = self.clock()

    def spend(self, dollars: float | None) -> None:
        """Count what was spent; raises BudgetExceeded when that is more than there was."""
        if dollars is None:
            self.unpriced = True
        else:
            self.spent_dollars += dollars
        self.check("the climb")

    @contextmanager
    def building(self) -> Iterator[None]:
        """While a step builds: calls that are paid for end it when nothing is left.

        What a step that fails has paid for is spent; one that succeeds says what it took (`spend`).
        """
        self._paid = 0.0
        try:
            yield
        except BaseException:
            self.spent_dollars += self._paid
            raise
        finally:
            self._paid = None

    def pay(self, dollars: float | None) -> None:
        """Count a call that a step made to build; raises BudgetExceeded when nothing is left.

        Other calls are rows, whose dollars are told to `spend`.
        """
        if self._paid is None:
            return
        if dollars is None:
            self.unpriced = True
        self._paid += dollars or 0.0
        self.check("the climb")

    def check(self, what: str) -> None:
        """Raise BudgetExceeded when nothing is left."""
        spent = self.spent_dollars + (self._paid or 0.0)
        if self.dollars is not None and spent > self.dollars:
            raise BudgetExceeded(
                f"{what} stopped: {_words(spent)} of {_words(self.dollars)} are spent",
                hint="give a larger --budget-dollars; finished work is kept",
            )
        if self.minutes is not None and self._elapsed() > 60 * self.minutes:
            raise BudgetExceeded(
                f"{what} stopped: the budget of {self.minutes:g} minutes is used up",
                hint="give more --budget-minutes; finished work is kept",
            )

    def afford(self, step: str, estimate: Estimate) -> None:
        """Raise BudgetExceeded when a step's estimate does not fit what is left.

        A dollar budget cannot be kept over a step whose dollars are unknown, so that is refused.
        """
        if self.dollars is not None:
            left = self.dollars - self.spent_dollars
            if estimate.dollars is None and estimate.calls:
                raise BudgetExceeded(
                    f"step {step!r} has no known price, so a budget of {_words(self.dollars)} "
                    "cannot be kept",
                    hint=estimate.cure
                    or "set [hardware] name or dollars_per_hour in task.toml, give a hosted "
                    "model's price with --prices, or leave out --budget-dollars",
                )
            if (estimate.dollars or 0.0) > left:
                raise BudgetExceeded(
                    f"step {step!r} is estimated at {_words(estimate.dollars)}, "
                    f"{_words(max(0.0, left))} are left",
                    hint="give a larger --budget-dollars",
                )
        if self.minutes is not None and estimate.seconds is not None:
            left_seconds = 60 * self.minutes - self._elapsed()
            if estimate.seconds > left_seconds:
                raise BudgetExceeded(
                    f"step {step!r} is estimated at {estimate.seconds / 60:.1f} minutes, "
                    f"{max(0.0, left_seconds) / 60:.1f} are left",
                    hint="give more --budget-minutes",
                )

    def _elapsed(self) -> float:
        return self.clock() - self.started


def _words(dollars: float | None) -> str:
    from .report.words import dollars as words  # as all money is told; loaded when there is need

    return words(dollars)
