"""Which candidates of a step stop early, so that their remaining examples need not be paid for.

Candidates answer the same examples in the same order and are compared in pairs at a few looks.
A mistake here costs quality (a candidate that deserved to be measured further), never the
guarantee: racing only narrows down what the sealed test may confirm. Pure: it says who stops; it
runs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from .core import Row
from .stats import interval
from .units import Scale, Units, counts_of, units_of

__all__ = ["eliminate", "looks"]

LEAST_UNITS = 20  # below which a normal bound on a difference is not to be trusted


def looks(n: int, first: int = 32) -> list[int]:
    """How many examples are answered at each look: first, doubled each time, and never n.

    At n there is nothing left to save. Few looks keep the price of looking often low: with the
    union bound, log2(n / first) looks instead of n.
    """
    found = []
    size = first
    while size < n:
        found.append(size)
        size *= 2
    return found


def eliminate(
    rows_by_candidate: Mapping[str, Sequence[Row]],
    scale: Scale,
    alpha: float,
    *,
    looks: int,
    target: float | None = None,
    cost: Mapping[str, float] | None = None,
) -> dict[str, str]:
    """Who can stop at this look, and why, in words.

    A candidate stops when it is shown to be worse than the leader. If it is cheaper to run than
    the leader (by `cost`) that is not enough, since the cheapest that meets the target is wanted,
    not the best: then it must also be shown to miss the `target`. Without `cost` or `target` the
    comparison alone counts. The leader itself never stops.

    Each comparison has level alpha / (looks x rivals), so that over all looks and rivals the best
    candidate is stopped with probability at most alpha: exactly for right/wrong metrics without
    groups (sign test on the examples where the two differ), approximately otherwise (Student's t on
    differences of linearised influence, per group; Maron & Moore 1994 race with Hoeffding bounds,
    which hold for any data but need several times the examples).

    Args:
        rows_by_candidate: what each candidate still in the race has answered so far.
        scale: the metric's.
        alpha: the accepted probability of stopping the best, over the whole race.
        looks: how many looks the race has in all.
        target: the score to reach.
        cost: of one answer, in any one unit, by candidate.
    """
    if len(rows_by_candidate) < 2:
        return {}
    rows = {name: {row.id: row for row in found} for name, found in rows_by_candidate.items()}
    common = sorted(set.intersection(*(set(found) for found in rows.values())))
    if not common:
        return {}
    level, n = alpha / (max(looks, 1) * (len(rows) - 1)), len(common)
    groups = [next(iter(rows.values()))[id].group for id in common]
    counts = {name: [counts_of(found[id]) for id in common] for name, found in rows.items()}
    units = {name: units_of(found, scale, groups, seed=0) for name, found in counts.items()}
    leader = min(units, key=lambda name: (-units[name].score, _cost(cost, name), name))
    exact = scale == "binary" and not units[leader].clustered

    @cache
    def misses(name: str) -> bool:
        high = interval(counts[name], scale, 2 * level, groups=groups).high
        return target is not None and high < target

    best, losers = units.pop(leader), {}
    for name, mine in units.items():
        cheaper = _cost(cost, name) < _cost(cost, leader)
        worse = _is_worse(mine, best, level, exact=exact)
        if worse and (target is None or not cheaper or misses(name)):
            why = f"against {best.score:.3f} of {leader!r} on the first {n} examples"
            losers[name] = f"{mine.score:.3f} {why}"
        elif misses(leader) and misses(name):
            why = f"no more than the leader {leader!r} can it reach the target of {target:g}"
            losers[name] = f"{mine.score:.3f} on the first {n} examples: {why}"
    return losers


def _cost(cost: Mapping[str, float] | None, name: str) -> float:
    return cost.get(name, math.inf) if cost else math.inf


def _is_worse(mine: Units, best: Units, level: float, *, exact: bool) -> bool:
    if not (mine.numerators.size and best.numerators.size):
        return False
    if exact:
        difference = best.numerators[:, 0] - mine.numerators[:, 0]
        return _sign_test(int((difference > 0).sum()), int((difference < 0).sum())) <= level
    gap = best.score - mine.score
    return gap > _reach(_influence(best) - _influence(mine), level)


def _sign_test(won: int, lost: int) -> float:
    """P(at least `won` of the differing examples are won by chance)."""
    from scipy.special import bdtrc

    return float(bdtrc(won - 1, won + lost, 0.5)) if won else 1.0


def _influence(units: Units) -> NDArray[np.float64]:
    """How much each unit moves the score: it adds up to 0, and its squares to the variance."""
    if not units.numerators.size:
        return np.zeros(0)
    total = units.denominators.sum(axis=0)
    ratio = units.numerators.sum(axis=0) / total
    pull = (units.numerators - units.denominators * ratio) / total
    return np.asarray(pull.mean(axis=1), dtype=np.float64)


def _reach(influence: NDArray[np.float64], level: float) -> float:
    """How far a score or a difference may be off by chance; infinite when too little is known."""
    from scipy.special import stdtrit

    n = influence.size
    moved = int((np.abs(influence) > 1e-15).sum())
    if moved < LEAST_UNITS:
        return math.inf
    return float(-stdtrit(n - 1, level) * math.sqrt(n / (n - 1) * float(influence @ influence)))
