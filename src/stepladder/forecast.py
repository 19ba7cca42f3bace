"""What the sealed test will probably say, judged by dev. Pure.

Steers where alpha is spent and how many examples are asked for. The guarantee does not rest on it:
that is `decide.confirm`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from statistics import NormalDist

from .core import Evaluation, Target, Trial
from .stats import alpha_for_opening, examples_needed, least_n
from .units import Scale

__all__ = [
    "Part",
    "SealedTest",
    "broken_limits",
    "chance",
    "dollars_fault",
    "least_test_size",
    "parts_of",
]

POWER = 0.8  # of the test that "N more examples" promises
NORMAL = NormalDist()


@dataclass(frozen=True)
class SealedTest:
    """What may be known of the test set before opening it; `openings` counts those so far, ever."""

    size: int
    scale: Scale
    openings: int = 0
    also: Mapping[str, Scale] = field(default_factory=dict)  # of the metrics that floors may name

    def scale_of(self, where: str) -> Scale:
        """Of a part of the target: a metric of its own, or a slice by the task's metric."""
        return self.also.get(where, self.scale)

    def level(self, target: Target) -> float:
        """The share of alpha that the next opening has."""
        return alpha_for_opening(target.alpha, self.openings + 1)


def chance(trial: Trial, target: Target, test: SealedTest) -> float:
    """How likely the next opening confirms this trial, judged by dev; 0 when it cannot.

    A normal forecast of the least likely part.
    """
    if trial.stopped_early is not None or broken_limits(trial.evaluation, target):
        return 0.0
    least = least_test_size(target, test)
    if least is None or test.size < least:
        return 0.0  # not even if every answer were right
    level = test.level(target)
    share = test.size / max(trial.evaluation.n, 1)
    return min(part.chance(share, level) for part in parts_of(trial.evaluation, target))


def least_test_size(target: Target, test: SealedTest) -> int | None:
    """The fewest examples with which a perfect and fast candidate could be confirmed next."""
    level = test.level(target)
    least = least_n(target.score, level, test.scale)
    if least is None or target.p95_seconds is None:
        return least
    return max(least, math.ceil(math.log(level) / math.log(0.95)))


@dataclass(frozen=True)
class Part:
    """One score with the bar it must clear: the set's, a slice's, or that of another metric."""

    where: str
    score: float
    low: float
    high: float
    n: int
    bar: float
    alpha: float  # two-sided, of low and high

    @property
    def deviation(self) -> float:
        """Standard error on the side of the lower bound."""
        return (self.score - self.low) / NORMAL.inv_cdf(1 - self.alpha / 2)

    def chance(self, share: float, level: float) -> float:
        """P(confirmed) on a test set `share` times as large, at `level`."""
        if share <= 0 or self.n == 0:
            return 0.0
        here = self.deviation
        there = here / math.sqrt(share)
        lead = self.score - self.bar + NORMAL.inv_cdf(level) * there
        spread = math.hypot(here, there)
        if spread == 0:
            return 1.0 if lead >= 0 else 0.0
        return NORMAL.cdf(lead / spread)

    def needed(self, level: float, scale: Scale) -> int | None:
        """Examples that tell this score from its bar at `level`, on whichever side it lies."""
        if scale == "binary":
            if self.score > self.bar:
                return examples_needed(self.bar, self.score, level, POWER)
            return examples_needed(1 - self.bar, 1 - self.score, level, POWER)
        gap = abs(self.score - self.bar)
        if gap == 0:
            return None
        reach = NORMAL.inv_cdf(1 - level) + NORMAL.inv_cdf(POWER)
        # towards the bar: the other bound may be cut off by the end of the scale
        side = self.score - self.low if self.score > self.bar else self.high - self.score
        deviation = side / NORMAL.inv_cdf(1 - self.alpha / 2)
        return math.ceil(self.n * (reach * deviation / gap) ** 2)


def parts_of(evaluation: Evaluation, target: Target) -> Iterator[Part]:
    e = evaluation
    yield Part("score", e.score, e.low, e.high, e.n, target.score, e.alpha)
    for where, floor in target.floors.items():
        measured = e.slices if "=" in where else e.also
        score, low, high, n = measured.get(where, (0.0, 0.0, 1.0, 0))
        yield Part(where, score, low, high, n, floor, e.alpha)


def broken_limits(evaluation: Evaluation, target: Target) -> list[str]:
    """The limits on latency and dollars that dev breaks, or about which it knows nothing."""
    broken = []
    if target.p95_seconds is not None:
        p95 = evaluation.p95_seconds
        if p95 is None or p95 > target.p95_seconds:
            seen = "unknown" if p95 is None else f"{p95:.3g} s"
            broken.append(f"p95: {seen}, target {target.p95_seconds:g} s")
    dollars = dollars_fault(evaluation, target)
    return [*broken, dollars] if dollars else broken


def dollars_fault(evaluation: Evaluation, target: Target) -> str | None:
    """What is wrong with the dollars, which must be known; None where they keep the target."""
    limit, spent = target.dollars_per_1000, evaluation.dollars_per_1000
    if limit is None or (spent is not None and spent <= limit):
        return None
    seen = "unknown" if spent is None else f"${spent:.4g}"
    return f"dollars per 1,000: {seen}, target ${limit:g}"
