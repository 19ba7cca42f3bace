"""Bounds on one score: what the decision stands on. Pure: no clock, file or network.

Which bound a score gets follows from the metric's scale and from whether examples share a group:

    binary             Clopper-Pearson (1934): exact
    bounded            hedged capital, a betting bound (Waudby-Smith & Ramdas 2024): valid at any n
    binary, bounded    the same betting bound over groups, when groups hold several examples
    ratio              Bayesian bootstrap with one wrong unit added: approximate, coverage measured
                       in `benchmarks/decision_guarantee.md`

This module compares nothing and decides nothing: see `compare.py` and `decide.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .core import Counts, Row
from .units import Floats, Scale, Units, counts_of, draws_for, units_of, weighted_scores, weights

__all__ = [
    "Interval",
    "Scale",
    "aggregate",
    "alpha_for_opening",
    "examples_needed",
    "expected_calibration_error",
    "interval",
    "least_n",
    "lower_bound",
    "p95_upper",
    "rows_lower_bound",
]

MOST_STAKED = 0.75  # of the betting capital at once; Waudby-Smith & Ramdas suggest 1/2 or 3/4
MOST_EXAMPLES = 1_000_000  # where `examples_needed` gives up
BINS = 15  # of answers, to compare confidence with the share of right ones


@dataclass(frozen=True, slots=True)
class Interval:
    """A score in [0, 1] with bounds that hold with probability 1 - alpha, and how they were had.

    `low` and `high` each miss with probability alpha / 2; a one-sided bound has `high` 1 and misses
    with probability alpha.
    """

    score: float
    low: float
    high: float
    alpha: float
    method: str


def aggregate(counts: Sequence[Counts]) -> float:
    """The score of a set: the mean over strata of sum(numerator) / sum(denominator).

    A stratum whose denominators add up to 0 has no evidence and is left out of the mean. When no
    stratum is left (no examples, or only examples where there was nothing to find) the score is 0,
    so that no evidence never passes for success.
    """
    sums: dict[str, list[float]] = {}
    for one in counts:
        for stratum, numerator, denominator in one:
            pair = sums.setdefault(stratum, [0.0, 0.0])
            pair[0] += numerator
            pair[1] += denominator
    ratios = [top / bottom for top, bottom in sums.values() if bottom > 0]
    return math.fsum(ratios) / len(ratios) if ratios else 0.0


def interval(
    counts: Sequence[Counts],
    scale: Scale,
    alpha: float,
    *,
    groups: Sequence[str | None] | None = None,
    seed: int = 0,
) -> Interval:
    """The score with a two-sided interval; see `lower_bound` for arguments and errors."""
    units = units_of(counts, scale, groups, seed)
    low = _low(units, scale, alpha / 2, seed)
    high = 1.0 - _low(units.mirrored(), scale, alpha / 2, seed)
    score = units.score
    return Interval(score, min(low, score), max(high, score), alpha, method_of(units, scale))


def lower_bound(
    counts: Sequence[Counts],
    scale: Scale,
    alpha: float,
    *,
    groups: Sequence[str | None] | None = None,
    seed: int = 0,
) -> Interval:
    """The score with a one-sided lower bound: `high` is 1.

    Args:
        counts: one entry per example, each a sequence of (stratum, numerator, denominator) with
            0 <= numerator <= denominator.
        scale: the metric's; "binary" and "bounded" want one count with denominator 1 per example
            (an example without counts is wrong).
        alpha: the accepted probability that the true score is below the bound, in (0, 1).
        groups: one per example; examples of one group are one unit of evidence. None is a group of
            its own.
        seed: of the order in which a betting bound sees the units, and of bootstrap draws.

    Raises:
        StepladderError: counts that do not fit the scale.
    """
    units = units_of(counts, scale, groups, seed)
    low = min(_low(units, scale, alpha, seed), units.score)
    return Interval(units.score, low, 1.0, alpha, method_of(units, scale))


def rows_lower_bound(rows: Sequence[Row], scale: Scale, alpha: float, *, seed: int = 0) -> Interval:
    """`lower_bound` of evaluated rows, in the order of their ids so that no arrival order counts.

    A row with an error earns nothing, whatever its counts claim.
    """
    ordered = sorted(rows, key=lambda row: row.id)
    return lower_bound(
        [counts_of(row) for row in ordered],
        scale,
        alpha,
        groups=[row.group for row in ordered],
        seed=seed,
    )


def alpha_for_opening(alpha: float, opening: int) -> float:
    """The level of the `opening`-th (1, 2, ...) look at the sealed test: alpha / 2 ** opening.

    The levels of any number of openings add up to less than alpha, so by the union bound so does
    the chance that any of them passes a candidate that is not good enough.
    """
    if opening < 1:
        raise ValueError(f"openings count from 1, not {opening}")
    return alpha / 2.0**opening


def p95_upper(seconds: Sequence[float | None], alpha: float) -> float:
    """An upper bound on the 95th percentile of latency that holds at any distribution.

    It is the smallest order statistic that lies below the true percentile with probability at most
    alpha (Conover 1999, section 3.2). Infinite when there are too few answers for any bound (fewer
    than 59 at alpha 0.05). None, an answer that never came, counts as infinitely slow.
    """
    from scipy.special import betainc

    times = np.sort([math.inf if one is None else float(one) for one in seconds])
    rank = np.arange(1, times.size + 1)
    below = betainc(rank, times.size - rank + 1.0, 0.95)  # P(at least `rank` answers are under p95)
    enough = np.flatnonzero(below <= alpha)
    return float(times[enough[0]]) if enough.size else math.inf


def expected_calibration_error(
    confidence: Sequence[float], right: Sequence[float], bins: int = BINS
) -> float:
    """Mean distance of confidence and share of right answers, in bins of as many answers each.

    Bins of equal count: with bins of equal width, most answers of a good model share one.
    """
    said, came = np.asarray(confidence, float), np.asarray(right, float)
    order = np.argsort(said, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = [len(part) * abs(said[part].mean() - came[part].mean()) for part in parts]
    return float(sum(gaps) / max(1, len(order)))


def examples_needed(
    target: float, true_score: float, alpha: float, power: float = 0.8
) -> int | None:
    """Right/wrong test examples so that a candidate of `true_score` is confirmed above `target`.

    The exact power saws up and down with n; this is the smallest n from which on it stays at or
    above `power`, so that a few examples more never hurt. None when the score does not exceed the
    target or when a million examples are not enough.
    """
    if not 0 < target < true_score:
        return 1 if target <= 0 < true_score else None
    if true_score >= 1:
        return least_n(target, alpha)
    from scipy.special import ndtri

    spread = (
        -ndtri(alpha) * math.sqrt(target * (1 - target))
        + ndtri(power) * math.sqrt(true_score * (1 - true_score))
    ) / (true_score - target)
    guess = max(spread, 1.0) ** 2
    if guess > MOST_EXAMPLES:
        return None
    n = np.arange(1, int(4 * guess) + 400)  # the saw-tooth has died down long before its end
    weak = np.flatnonzero(_power(n, target, true_score, alpha) < power)
    return int(n[weak[-1]]) + 1 if weak.size else 1


@lru_cache(maxsize=256)
def least_n(target: float, alpha: float, scale: Scale = "binary") -> int | None:
    """The fewest examples with which even a perfect score clears `target`.

    None when no number does, or only more than a million.
    """
    if target <= 0:
        return 1
    if target >= 1:
        return None
    exact = max(1, math.ceil(math.log(alpha) / math.log(target) - 1e-9))
    if exact > MOST_EXAMPLES:
        return None
    if scale == "binary":
        return exact
    most = exact
    while not _perfect_clears(most, target, alpha, scale):
        most *= 2
    least = 0
    while most - least > 1:
        middle = (least + most) // 2
        if _perfect_clears(middle, target, alpha, scale):
            most = middle
        else:
            least = middle
    return most


def method_of(units: Units, scale: Scale) -> str:
    """The bound's name, for people."""
    over = f" over {len(units.numerators)} groups" if units.clustered else ""
    if scale == "ratio":
        over = " over groups" if units.clustered else ""
        return f"Bayesian bootstrap{over} with one wrong unit added (approximate)"
    if scale == "binary" and not units.clustered:
        return "Clopper-Pearson (exact)"
    return f"hedged-capital betting bound{over} (finite-sample)"


def _low(units: Units, scale: Scale, alpha: float, seed: int) -> float:
    if not units.numerators.size:
        return 0.0
    if scale == "ratio":
        return _bootstrap_low(units, alpha, seed)
    if scale == "binary" and not units.clustered:
        return clopper_pearson_low(round(float(units.numerators.sum())), units.examples, alpha)
    return _betting_low(units, alpha, seed)


def clopper_pearson_low(right: int, n: int, alpha: float) -> float:
    """The exact one-sided lower bound on a proportion (Clopper & Pearson 1934)."""
    from scipy.special import betaincinv

    return float(betaincinv(right, n - right + 1.0, alpha)) if right > 0 else 0.0


def _betting_low(units: Units, alpha: float, seed: int) -> float:
    """The largest t against which betting wins 1 / alpha times the stake.

    Waudby-Smith & Ramdas (JRSS-B 2024, section 4.2), one-sided. A unit of numerator a and
    denominator b pays a - t·b per unit staked, scaled by the largest b. If the score is t that is
    a fair game, and capital that starts at 1 ever reaches 1 / alpha with probability at most alpha
    (Ville), whatever n. Stakes use only units already seen. With b = 1 throughout this is the
    paper's bound for a mean; groups of different size need the largest to be a true limit.
    """
    order = np.random.default_rng(seed).permutation(len(units.numerators))
    top = units.numerators[order, 0] / units.largest
    bottom = units.denominators[order, 0] / units.largest
    seen = np.arange(1, top.size + 1)
    centre = (0.5 + np.cumsum(top)) / (1.0 + np.cumsum(bottom))
    spread = (0.25 + np.cumsum((top - centre * bottom) ** 2)) / (seen + 1)
    before = np.concatenate([[0.25], spread[:-1]])
    goal = math.log(1 / alpha)
    stake = np.sqrt(2 * goal / (top.size * before))

    def beaten(t: float) -> bool:
        staked = np.minimum(stake, MOST_STAKED / t)
        return bool(np.cumsum(np.log1p(staked * (top - t * bottom))).max() >= goal)

    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if beaten(middle) else (low, middle)
    return low


def _bootstrap_low(units: Units, alpha: float, seed: int) -> float:
    """The alpha quantile of the score under random weights, after adding one wrong unit.

    Exponential weights are the Bayesian bootstrap (Rubin 1981). The added unit of typical size,
    all wrong, is what makes the bound honest at small n and high scores: with right/wrong units it
    gives Clopper-Pearson exactly, and for means it is Gaffke's bound (2005; Learned-Miller &
    Thomas 2019). Only k = alpha·(draws + 1) draws may lie below, so a finite number of draws does
    not loosen it.
    """
    draws = draws_for(alpha)
    rank = math.floor(alpha * (draws + 1))
    if rank < 1:
        return 0.0
    drawn = weights(len(units.numerators) + 1, draws, seed)
    scores = np.concatenate([weighted_scores(units, weight, added=0.0) for weight in drawn])
    return float(np.partition(scores, rank - 1)[rank - 1])


def _power(n: NDArray[np.int_], target: float, true_score: float, alpha: float) -> Floats:
    """P(the exact lower bound clears `target`) at each n."""
    from scipy.stats import binom

    critical = binom.isf(alpha, n, target) + 1  # the fewest right that clear it
    return np.asarray(binom.sf(critical - 1, n, true_score), dtype=np.float64)


def _perfect_clears(n: int, target: float, alpha: float, scale: Scale) -> bool:
    right: list[Counts] = [(("", 1.0, 1.0),)] * n
    return lower_bound(right, scale, alpha).low >= target
