"""The curve through scores at growing sizes of train, with intervals. Pure arrays.

    power law             limit - drop * n ** -decay
    Morgan-Mercer-Flodin  limit - drop / (1 + (n / half) ** decay), with drop = limit

The power law is the usual one (Figueroa et al. 2012) and has its steepest place at the beginning;
the other begins flat, as scores do while most labels have hardly been seen, and foretold best in
the comparison of Mohr et al. (2022). Which of them is right is not known before the labels are
there, so both are drawn, each as often as it fits. And either is checked against the scores it was
not given (`backtest`).

What is uncertain is drawn, all of it at once: which dev examples there are, which train examples a
subset happened to hold, which curve it is, and by how much the scores lie off it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..core import Counts
from ..errors import NotApplicable
from ..units import Scale, Units, units_of

__all__ = ["Curve", "Guess", "Measured", "backtest", "fit_curve"]

Floats = NDArray[np.float64]

DRAWS = 2_000
LEAST_SIZES = 4  # three say nothing of how well three parameters fit
PARAMETERS = 3
DECAYS = np.geomspace(0.05, 2.0, 48)  # of power laws; published ones lie between 0.1 and 1
RISES = np.geomspace(0.2, 4.0, 16)
TINY = 1e-8  # a squared error below is a perfect fit: four noiseless scores are no proof of more


@dataclass(frozen=True)
class Measured:
    """Dev scored by what was built on `examples` of train: a solver's counts per dev example.

    `repeat` tells apart different subsets of the same size. All share the order of dev examples.
    """

    examples: int
    repeat: int
    counts: Sequence[Counts]


@dataclass(frozen=True, slots=True)
class Guess:
    """A score that was not measured: the middle, and bounds that hold with 1 - alpha."""

    examples: int
    score: float
    low: float
    high: float
    alpha: float


@dataclass(frozen=True)
class Curve:
    """Draws of the curve, arrays of shape (draws,), and the scores it was fitted to.

    `half` is where half of the drop is behind, or 0 where the draw is a power law.
    """

    limit: Floats
    drop: Floats
    decay: Floats
    half: Floats
    sizes: tuple[int, ...]
    scores: tuple[float, ...]  # means over repeats, without any draw
    spread: float = 0.0  # of the scores around the curve
    seed: int = 0

    def at(self, examples: int, alpha: float = 0.1) -> Guess:
        """The score to expect with so many examples of train."""
        drawn = self.drawn(examples)
        low, middle, high = np.quantile(drawn, [alpha / 2, 0.5, 1 - alpha / 2])
        return Guess(examples, float(middle), float(low), float(high), alpha)

    def drawn(self, examples: int) -> Floats:
        """The score with so many examples under each draw, in [0, 1]."""
        found: Floats = np.clip(self._on_curve(examples) + self._off(examples), 0.0, 1.0)
        return found

    def gain(self, now: int, then: int) -> Floats:
        """What going from `now` to `then` examples brings under each draw; it may be a loss."""
        return self.drawn(then) - self.drawn(now)

    def _on_curve(self, examples: int) -> Floats:
        return self.limit - self.drop * _left(float(examples), self.decay, self.half)

    def _off(self, examples: int) -> Floats:
        """Draws of how far the score at a size lies off the curve: another draw at each size.

        A t distribution: with few sizes more than parameters, the spread itself is hardly known.
        Beyond the largest size it grows with each doubling, as a random walk does; without that,
        fewer guesses held than should (`benchmarks/labels.py`).
        """
        free = max(len(self.sizes) - PARAMETERS, 1)
        chance = np.random.default_rng((self.seed, examples))
        beyond = max(0.0, math.log2(examples / self.sizes[-1]))
        wide = self.spread * math.sqrt(1.0 + beyond)
        found: Floats = wide * chance.standard_t(free, size=len(self.limit))
        return found


def fit_curve(
    measured: Sequence[Measured],
    scale: Scale,
    *,
    groups: Sequence[str | None] | None = None,
    seed: int = 0,
) -> Curve:
    """The curve through the measured scores.

    Each draw weighs the dev examples (or their `groups`) anew, the same for all sizes (Bayesian
    bootstrap), picks among the repeats of each size, and takes the least squares. Larger subsets
    weigh more: the variance of a score is taken to fall with the number of train examples.

    Raises:
        NotApplicable: scores at fewer than four sizes, or counts of different dev sets.
    """
    by_size: dict[int, list[Units]] = {}
    for one in sorted(measured, key=lambda one: (one.examples, one.repeat)):
        by_size.setdefault(one.examples, []).append(units_of(one.counts, scale, groups, seed))
    if len(by_size) < LEAST_SIZES:
        raise NotApplicable(
            f"a learning curve needs scores at {LEAST_SIZES} sizes of train, not {len(by_size)}",
            hint="label more examples, or ask for more sizes",
        )
    if len({len(one.counts) for one in measured}) != 1:
        raise NotApplicable(
            "the scores of a learning curve are not all of the same dev examples",
            hint="measure every size on all of dev",
        )
    sizes = tuple(by_size)
    drawn = _draws(list(by_size.values()), np.random.default_rng(seed))  # (draws, sizes)
    scores = tuple(float(np.mean([u.score for u in units])) for units in by_size.values())
    curve = Curve(*_fitted(np.array(sizes, dtype=float), drawn, seed), sizes, scores, seed=seed)
    middle = [float(np.median(curve.drawn(size))) for size in sizes]
    free = max(len(sizes) - PARAMETERS, 1)
    spread = float(np.sqrt(((np.array(scores) - middle) ** 2).sum() / free))
    return replace(curve, spread=spread)


def backtest(
    measured: Sequence[Measured],
    scale: Scale,
    *,
    groups: Sequence[str | None] | None = None,
    seed: int = 0,
    alpha: float = 0.1,
) -> tuple[Guess, float] | None:
    """What the curve says of the largest size from the others alone, and what was measured there.

    None where there are too few sizes to leave one out.
    """
    largest = max(one.examples for one in measured)
    rest = [one for one in measured if one.examples < largest]
    if len({one.examples for one in rest}) < LEAST_SIZES:
        return None
    whole = [
        units_of(one.counts, scale, groups, seed).score
        for one in measured
        if one.examples == largest
    ]
    guess = fit_curve(rest, scale, groups=groups, seed=seed).at(largest, alpha)
    return guess, float(np.mean(whole))


def _draws(sizes: Sequence[Sequence[Units]], chance: np.random.Generator) -> Floats:
    """Scores of shape (draws, sizes): dev weighed anew, and one of each size's subsets redrawn."""
    count = len(sizes[0][0].numerators)
    weight = chance.standard_exponential((DRAWS, count))
    columns = []
    for repeats in sizes:
        each = np.stack([_weighted(units, weight) for units in repeats], axis=1)
        picked = chance.integers(0, len(repeats), size=(DRAWS, len(repeats)))
        columns.append(np.take_along_axis(each, picked, axis=1).mean(axis=1))
    return np.stack(columns, axis=1)


def _weighted(units: Units, weight: Floats) -> Floats:
    found: Floats = (weight @ units.numerators / (weight @ units.denominators)).mean(axis=1)
    return found


def _fitted(sizes: Floats, scores: Floats, seed: int) -> tuple[Floats, Floats, Floats, Floats]:
    """(limit, drop, decay, half) of each row of `scores`: shapes by grid, the rest solved for it.

    A row is either curve with a chance in proportion to its likelihood: both have three parameters,
    and with k sizes an error of e has a likelihood in proportion to e ** -k.
    """
    weight = sizes / sizes.sum()
    power = _best(scores, sizes, weight, [(float(decay), 0.0) for decay in DECAYS])
    halves = np.geomspace(sizes[0] / 10, sizes[-1] * 4, 32)
    flat = [(float(decay), float(half)) for decay in RISES for half in halves]
    other = _best(scores, sizes, weight, flat)
    errors = np.sqrt(np.stack([power[0], other[0]]) + TINY)
    likely = errors ** -float(len(sizes))
    share = likely[1] / likely.sum(axis=0)
    is_other = np.random.default_rng((seed, 1)).random(len(scores)) < share
    limit, drop, decay, half = np.where(is_other, other[1], power[1])
    return limit, drop, decay, half


def _best(
    scores: Floats, sizes: Floats, weight: Floats, shapes: Sequence[tuple[float, float]]
) -> tuple[Floats, Floats]:
    """The least squared error of each row, and (limit, drop, decay, half) that has it."""
    least = np.full(len(scores), np.inf)
    best = np.zeros((4, len(scores)))
    for decay, half in shapes:
        left = _left(sizes, decay, half)
        limit, drop = _rise(scores, left, weight) if half else _fall(scores, left, weight)
        error = ((scores - limit[:, None] + drop[:, None] * left) ** 2) @ weight
        better = error < least
        ends = (limit, drop, np.full_like(drop, decay), np.full_like(drop, half))
        best[:, better] = np.stack(ends)[:, better]
        least = np.minimum(least, error)
    return least, best


def _left(sizes: Floats | float, decay: Floats | float, half: Floats | float) -> Floats:
    """The share of the drop that is still ahead at these sizes."""
    scale = np.where(np.asarray(half) > 0, half, 1.0)
    past = (np.asarray(sizes) / scale) ** decay
    found: Floats = np.where(np.asarray(half) > 0, 1.0 / (1.0 + past), 1.0 / past)
    return found


def _fall(scores: Floats, left: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """(limit, drop) of each row by weighted least squares.

    Limit is at most 1 and drop at least 0, so that no draw promises more than there is or says
    that labels do harm.
    """
    mean = scores @ weight
    left_mean = float(left @ weight)
    away = left - left_mean
    slope = ((scores - mean[:, None]) * away) @ weight / float(away**2 @ weight)
    drop = np.maximum(-slope, 0.0)
    limit = mean + drop * left_mean
    through_one = np.maximum((1.0 - scores) @ (weight * left) / float(left**2 @ weight), 0.0)
    over = limit > 1.0
    return np.minimum(limit, 1.0), np.where(over, through_one, drop)


def _rise(scores: Floats, left: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """The same of a curve that begins at nothing: its drop is its limit."""
    reached = 1.0 - left
    limit = np.clip(scores @ (weight * reached) / float(reached**2 @ weight), 0.0, 1.0)
    return limit, limit
