"""Costs over volume, for looking at: the curves of `ownership.py`, and where the cheapest changes.

Nothing is priced here. A candidate whose curve is empty has an unknown price and is not drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..core import Decision
from .words import key_of, who_of

__all__ = ["CostLine", "Crossing", "cheapest_at", "cost_lines", "crossings"]

MOST_LINES = 7


@dataclass(frozen=True)
class CostLine:
    """One candidate's (requests per month, dollars per month), volumes ascending."""

    name: str
    points: tuple[tuple[float, float], ...]
    chosen: bool = False

    def at(self, volume: float) -> float:
        """Dollars per month at a volume, straight between two points."""
        volumes, dollars = zip(*self.points, strict=True)
        return float(np.interp(volume, volumes, dollars))


@dataclass(frozen=True)
class Crossing:
    """From `volume` requests a month on, `after` is cheaper than `before`."""

    volume: float
    before: str
    after: str
    dollars: float


def cost_lines(decision: Decision) -> tuple[CostLine, ...]:
    """The candidates whose costs are known: the chosen, the best of each step, then others."""
    chosen = key_of(decision.chosen) if decision.chosen else None
    scores = {key_of(trial): trial.evaluation.score for trial in decision.trials}
    known = [each for each in decision.ownership if each.curve]
    known.sort(key=lambda each: (key_of(each) != chosen, -scores.get(key_of(each), 0.0)))
    best = {each.step: each for each in reversed(known)}  # the first of each step stays
    ordered = [*(each for each in known if best[each.step] is each),
               *(each for each in known if best[each.step] is not each)]  # fmt: skip
    return tuple(
        CostLine(who_of(each.step, each.name), tuple(sorted(each.curve)), key_of(each) == chosen)
        for each in ordered[:MOST_LINES]
    )


def cheapest_at(lines: Sequence[CostLine], volume: float) -> CostLine | None:
    """The line that costs least at a volume."""
    return min(lines, key=lambda line: line.at(volume), default=None)


def crossings(lines: Sequence[CostLine]) -> tuple[Crossing, ...]:
    """Where the cheapest line changes, from low to high volume."""
    volumes = sorted({volume for line in lines for volume, _ in line.points})
    found: list[Crossing] = []
    now = cheapest_at(lines, volumes[0]) if volumes else None
    for left, right in pairwise(volumes):
        then = cheapest_at(lines, right)
        if now is None or then is None or then.at(right) >= now.at(right):
            continue
        where = _meeting(now, then, left, right)
        found.append(Crossing(where, now.name, then.name, then.at(where)))
        now = then
    return tuple(found)


def _meeting(one: CostLine, other: CostLine, left: float, right: float) -> float:
    """Where two lines meet between two volumes, straight in between."""
    before, after = other.at(left) - one.at(left), other.at(right) - one.at(right)
    return left if before <= 0 else left + (right - left) * before / (before - after)
