"""Costs over volume, for looking at: the curves of `ownership.py`, and where two of them meet.

Nothing is priced here. A candidate whose curve is empty has an unknown price and is not drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..core import Decision
from .words import key_of, who_of

__all__ = ["BreakEven", "CostLine", "break_evens", "cost_lines", "never_crossed"]

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
class BreakEven:
    """From `volume` requests a month on, `cheaper` costs less than `dearer`: there, `dollars`."""

    volume: float
    cheaper: str
    dearer: str
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


def break_evens(lines: Sequence[CostLine], volume: float) -> tuple[BreakEven, ...]:
    """Where the chosen line (else the cheapest at `volume`) crosses the others, by volume."""
    one = _reference(lines, volume)
    found = [] if one is None else [
        crossing for other in lines if other is not one for crossing in _crossings(one, other)
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda each: each.volume))


def never_crossed(lines: Sequence[CostLine], volume: float) -> tuple[list[str], list[str]]:
    """Who costs more, and who less, than the reference line at every volume drawn."""
    one = _reference(lines, volume)
    dearer: list[str] = []
    cheaper: list[str] = []
    for other in lines:
        if one is not None and other is not one and not _crossings(one, other):
            (cheaper if other.at(volume) < one.at(volume) else dearer).append(other.name)
    return dearer, cheaper


def _reference(lines: Sequence[CostLine], volume: float) -> CostLine | None:
    chosen = [line for line in lines if line.chosen]
    return chosen[0] if chosen else min(lines, key=lambda line: line.at(volume), default=None)


def _crossings(one: CostLine, other: CostLine) -> list[BreakEven]:
    volumes = sorted({volume for volume, _ in (*one.points, *other.points)})
    apart = [(volume, other.at(volume) - one.at(volume)) for volume in volumes]
    found = []
    for (left, before), (right, after) in pairwise(each for each in apart if each[1]):
        if before * after > 0:  # they may touch in between, but they do not cross
            continue
        where = left + (right - left) * before / (before - after)
        touching = [volume for volume, gap in apart if left < volume < right and not gap]
        names = (one.name, other.name) if after > 0 else (other.name, one.name)
        at = touching[0] if touching else where
        found.append(BreakEven(at, *names, one.at(at)))
    return found
