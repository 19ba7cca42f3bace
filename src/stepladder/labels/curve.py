"""The power law through scores at growing sizes of train, with intervals. Pure arrays.

    score(n) = limit - drop * n ** -decay

A learning curve is fitted well by it over most of its length (Figueroa et al. 2012; Viering & Loog
2022 compare the alternatives), and not everywhere: before enough is seen a curve may be flat, and
it may have a dip. So the law is checked against the scores it was not given (`backtest`).

What is uncertain is drawn, all of it at once: which dev examples there are, which train examples a
subset happened to hold, and by how much the scores lie off the law.
"""

from __future__ import annotations

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
DECAYS = np.geomspace(0.05, 2.0, 48)  # published curves lie between 0.1 and 1


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
    """Draws of the law: arrays of shape (draws,), and the scores it was fitted to."""

    limit: Floats
    drop: Floats
    decay: Floats
    sizes: tuple[int, ...]
    scores: tuple[float, ...]  # means over repeats, without any draw
    off: Floats  # by how much a score lies off the law, drawn

    def at(self, examples: int, alpha: float = 0.1) -> Guess:
        """The score to expect with so many examples of train."""
        drawn = self.drawn(examples)
        low, middle, high = np.quantile(drawn, [alpha / 2, 0.5, 1 - alpha / 2])
        return Guess(examples, float(middle), float(low), float(high), alpha)

    def drawn(self, examples: int) -> Floats:
        """The score with so many examples under each draw, in [0, 1]."""
        law = self.limit - self.drop * float(examples) ** -self.decay
        found: Floats = np.clip(law + self.off, 0.0, 1.0)
        return found

    def gain(self, now: int, then: int) -> Floats:
        """What going from `now` to `then` examples brings under each draw.

        Under one draw the scores at both sizes lie off the law by the same.
        """
        found: Floats = np.clip(self.drawn(then) - self.drawn(now), 0.0, 1.0)
        return found


def fit_curve(
    measured: Sequence[Measured],
    scale: Scale,
    *,
    groups: Sequence[str | None] | None = None,
    seed: int = 0,
) -> Curve:
    """The law through the measured scores.

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
    chance = np.random.default_rng(seed)
    drawn = _draws(list(by_size.values()), chance)  # (draws, sizes)
    scores = tuple(float(np.mean([u.score for u in units])) for units in by_size.values())
    limit, drop, decay = _least_squares(np.array(sizes, dtype=float), drawn)
    curve = Curve(limit, drop, decay, sizes, scores, np.zeros(len(drawn)))
    return replace(curve, off=_off(curve, chance))


def backtest(
    measured: Sequence[Measured],
    scale: Scale,
    *,
    groups: Sequence[str | None] | None = None,
    seed: int = 0,
    alpha: float = 0.1,
) -> tuple[Guess, float] | None:
    """What the law says of the largest size from the others alone, and what was measured there.

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


def _least_squares(sizes: Floats, scores: Floats) -> tuple[Floats, Floats, Floats]:
    """(limit, drop, decay) of each row of `scores`: decay by grid, the others solved for it.

    Limit is at most 1 and drop at least 0, so that no draw promises more than there is or says
    that labels do harm.
    """
    weight = sizes / sizes.sum()
    mean = scores @ weight
    least = np.full(len(scores), np.inf)
    best = np.zeros((3, len(scores)))
    for decay in DECAYS:
        fall = sizes**-decay
        limit, drop = _solve(scores, mean, fall, weight)
        error = ((scores - limit[:, None] + drop[:, None] * fall) ** 2) @ weight
        better = error < least
        best[:, better] = np.stack([limit, drop, np.full_like(drop, decay)])[:, better]
        least = np.minimum(least, error)
    return best[0], best[1], best[2]


def _solve(scores: Floats, mean: Floats, fall: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """(limit, drop) of each row by weighted least squares, within their bounds."""
    fall_mean = float(fall @ weight)
    away = fall - fall_mean
    slope = ((scores - mean[:, None]) * away) @ weight / float(away**2 @ weight)
    drop = np.maximum(-slope, 0.0)
    limit = mean + drop * fall_mean
    through_one = np.maximum((1.0 - scores) @ (weight * fall) / float(fall**2 @ weight), 0.0)
    over = limit > 1.0
    return np.minimum(limit, 1.0), np.where(over, through_one, drop)


def _off(curve: Curve, chance: np.random.Generator) -> Floats:
    """Draws of how far a score lies off the law, from the residuals of the mean scores.

    Three parameters were fitted, so the spread is divided by what is left of the sizes. A t
    distribution: with few sizes left, the spread itself is hardly known.
    """
    sizes = np.array(curve.sizes, dtype=float)
    middle = np.array([np.median(curve.drawn(int(size))) for size in sizes])
    left = max(len(sizes) - 3, 1)
    spread = float(np.sqrt(((np.array(curve.scores) - middle) ** 2).sum() / left))
    found: Floats = spread * chance.standard_t(left, size=len(curve.limit))
    return found
