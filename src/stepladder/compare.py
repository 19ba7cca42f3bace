"""Two solvers on the same examples: what one gains over the other. Pure.

Always in pairs, because examples differ in difficulty far more than solvers differ in skill. A gain
informs people and the report; the guarantee rests on `decide.confirm`, not on gains.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from .core import Gain, Row
from .units import Scale, Units, counts_of, draws_for, units_of, weighted_scores, weights

__all__ = ["mcnemar", "paired_gain", "reading", "tango"]


def paired_gain(
    a: Sequence[Row],
    b: Sequence[Row],
    scale: Scale,
    alpha: float,
    *,
    against: str,
    seed: int = 0,
) -> Gain:
    """How much better `a` is than `b` on the examples that both answered, by id.

    Right/wrong metrics without groups get the exact McNemar test and Tango's score interval;
    everything else a paired Bayesian bootstrap over groups (or examples) that adds, for each end,
    one unit that speaks against it. A failed row counts as wrong. Without common examples the
    difference is 0 within [-1, 1].
    """
    mine, theirs = {row.id: row for row in a}, {row.id: row for row in b}
    common = sorted(mine.keys() & theirs.keys())
    n = len(common)
    if not n:
        return Gain(against, 0.0, -1.0, 1.0, 0, alpha, "no common examples")
    rows = [mine[id] for id in common], [theirs[id] for id in common]
    groups = [row.group for row in rows[0]]
    first, second = (units_of([counts_of(row) for row in x], scale, groups, seed) for x in rows)
    if scale == "binary" and not first.clustered:
        right, wrong = first.numerators[:, 0] > 0, second.numerators[:, 0] > 0
        won, lost = int((right & ~wrong).sum()), int((wrong & ~right).sum())
        low, high = tango(won, lost, n, alpha)
        p_value = mcnemar(won, lost)
        method = "exact McNemar test, Tango score interval"
        return Gain(against, (won - lost) / n, low, high, n, alpha, method, p_value)
    if scale != "ratio":  # pooled like ratios, so that time does not grow with n
        first, second = (
            units_of([counts_of(row) or (("", 0.0, 1.0),) for row in x], "ratio", groups, seed)
            for x in rows
        )
    difference = first.score - second.score
    low, high, p_value = _bootstrap(first, second, alpha, seed)
    over = "groups" if first.clustered else "examples"
    method = f"paired Bayesian bootstrap over {over}"
    low, high = min(low, difference), max(high, difference)
    return Gain(against, difference, low, high, n, alpha, method, p_value)


def reading(
    low: float, high: float, p_value: float | None, alpha: float
) -> Literal["better", "worse", "cannot tell"]:
    """What interval and test both show: where few pairs differ they do not always agree."""
    if p_value is not None and p_value > alpha:
        return "cannot tell"
    return "better" if low > 0 else "worse" if high < 0 else "cannot tell"


def mcnemar(won: int, lost: int) -> float:
    """The exact two-sided p-value that winning and losing are equally likely (McNemar 1947)."""
    from scipy.special import bdtr

    return float(min(1.0, 2 * bdtr(min(won, lost), won + lost, 0.5))) if won + lost else 1.0


def tango(won: int, lost: int, n: int, alpha: float) -> tuple[float, float]:
    """Score interval for the difference of paired proportions (Tango, Stat. Med. 17, 1998).

    Unlike Wald's it keeps its level at few discordant pairs, and is never of width 0.
    """
    from scipy.special import ndtri

    z = float(-ndtri(alpha / 2))

    def score(delta: float) -> float:
        """Standardised distance of the data from a true difference `delta`; falls with it."""
        b = -won - lost + (2 * n - won + lost) * delta
        c = -lost * delta * (1 - delta)
        rate = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
        variance = n * (2 * rate + delta * (1 - delta))
        distance = won - lost - n * delta
        return distance / math.sqrt(variance) if variance > 1e-12 else math.copysign(1e9, distance)

    centre = (won - lost) / n
    low = _crossing(lambda delta: score(delta) > z, -1.0, centre)
    high = _crossing(lambda delta: score(delta) >= -z, centre, 1.0)
    return low, high


def _crossing(above: Callable[[float], bool], low: float, high: float) -> float:
    """Where `above` turns from true to false between `low` and `high`, by bisection."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if above(middle) else (low, middle)
    return (low + high) / 2


def _bootstrap(first: Units, second: Units, alpha: float, seed: int) -> tuple[float, float, float]:
    """Low, high and two-sided p-value of the difference under common random weights."""
    draws = draws_for(alpha / 2)
    count = len(first.numerators)
    if not (first.numerators.size and second.numerators.size):
        return -1.0, 1.0, 1.0
    worst, best = [], []
    for weight in weights(count + 1, draws, seed):
        worst.append(
            weighted_scores(first, weight, added=0.0) - weighted_scores(second, weight, added=1.0)
        )
        best.append(
            weighted_scores(first, weight, added=1.0) - weighted_scores(second, weight, added=0.0)
        )
    below, above = np.sort(np.concatenate(worst)), np.sort(np.concatenate(best))
    rank = max(math.floor(alpha / 2 * (draws + 1)), 1)
    not_better = (1 + int((below <= 0).sum())) / (draws + 1)
    not_worse = (1 + int((above >= 0).sum())) / (draws + 1)
    return float(below[rank - 1]), float(above[-rank]), min(1.0, 2 * min(not_better, not_worse))
