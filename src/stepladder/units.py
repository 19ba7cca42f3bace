"""Counts summed per unit of evidence, and random weights over units. Pure arrays.

What `stats` and `compare` stand on; no bound is computed here. A unit is an example, or a group of
examples (document, patient, customer) that may stand or fall together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .core import Counts, Row
from .errors import StepladderError

__all__ = ["Scale", "Units", "counts_of", "draws_for", "units_of", "weighted_scores", "weights"]

Scale = Literal["binary", "bounded", "ratio"]
Floats = NDArray[np.float64]

DRAWS = 10_000
MOST_UNITS = 2_000  # of a ratio; more are pooled at random, so that time does not grow with n


@dataclass(frozen=True)
class Units:
    """Counts summed per unit of evidence (example or group): arrays of shape (units, strata).

    `largest` is the greatest denominator of one unit, `typical` that of the unit in which a random
    piece of evidence lies (the size-biased mean). `examples` is how many examples there are.
    """

    numerators: Floats
    denominators: Floats
    largest: float
    typical: float
    examples: int
    clustered: bool

    @property
    def score(self) -> float:
        """The mean over strata of sum(numerator) / sum(denominator), 0 without evidence."""
        if not self.numerators.size:
            return 0.0
        return float((self.numerators.sum(axis=0) / self.denominators.sum(axis=0)).mean())

    def mirrored(self) -> Units:
        """The same evidence with right and wrong exchanged: the score becomes 1 - score."""
        return Units(
            self.denominators - self.numerators,
            self.denominators,
            self.largest,
            self.typical,
            self.examples,
            self.clustered,
        )


def units_of(
    counts: Sequence[Counts], scale: Scale, groups: Sequence[str | None] | None, seed: int
) -> Units:
    """Counts summed per group, checked against the scale; the many of a ratio are pooled."""
    if scale != "ratio":
        counts = [one or (("", 0.0, 1.0),) for one in counts]  # no counts: wrong, not left out
    owner, clustered = _owners(len(counts), groups)
    index = np.repeat(owner, [len(one) for one in counts])
    names: dict[str, int] = {}
    flat = [(names.setdefault(s, len(names)), a, b) for one in counts for s, a, b in one]
    table = np.array(flat, dtype=np.float64).reshape(-1, 3)
    _check(table, scale, len(counts))
    return _sum_units(index, table, len(counts), clustered, seed if scale == "ratio" else None)


def _sum_units(
    owner: NDArray[np.intp], table: Floats, examples: int, clustered: bool, pool: int | None
) -> Units:
    """Units from rows of (stratum number, numerator, denominator), each owned by a unit.

    With a `pool` seed, more than 2,000 units are dealt at random into 2,000 blocks: blocks of
    independent units are independent units, and nothing is lost but degrees of freedom that a
    bound does not notice. Strata without evidence are left out.
    """
    count = int(owner.max()) + 1 if owner.size else 0
    size = np.bincount(owner, weights=table[:, 2], minlength=count)
    if pool is not None and count > MOST_UNITS:
        deal = np.random.default_rng(pool).permutation(count) % MOST_UNITS
        owner, count = deal[owner], MOST_UNITS
    strata = int(table[:, 0].max()) + 1 if table.size else 0
    cell = owner * strata + table[:, 0].astype(np.intp)
    top, bottom = (
        np.bincount(cell, table[:, column], count * strata).reshape(count, strata).astype(float)
        for column in (1, 2)
    )
    kept = bottom.sum(axis=0) > 0
    total = float(size.sum())
    typical = float(size @ size) / total if total else 0.0
    largest = float(size.max(initial=0.0))
    return Units(top[:, kept], bottom[:, kept], largest, typical, examples, clustered)


def weights(units: int, draws: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Bayesian-bootstrap weights, in chunks of shape (some draws, units), `draws` rows in all."""
    rng = np.random.default_rng(seed)
    step = max(1, 4_000_000 // max(units, 1))
    for start in range(0, draws, step):
        yield rng.standard_exponential((min(step, draws - start), units), dtype=np.float32)


def weighted_scores(
    units: Units, weight: NDArray[np.float32], *, added: float
) -> NDArray[np.float32]:
    """The score under each row of weights; the last weight is of a unit that scores `added`."""
    total = units.denominators.sum(axis=0)
    extra = weight[:, -1:] * (units.typical * total / total.sum()).astype(np.float32)
    both = np.hstack([units.numerators, units.denominators]).astype(np.float32)
    sums = weight[:, :-1] @ both  # one pass over the weights, which are what is large
    top, bottom = np.hsplit(sums, 2)
    scores = (top + np.float32(added) * extra) / (bottom + extra)
    return np.asarray(scores.mean(axis=1), dtype=np.float32)


def draws_for(alpha: float) -> int:
    """At least 10,000 draws, and enough that 100 of them lie beyond the bound."""
    return int(min(max(DRAWS, math.ceil(100 / alpha)), 200_000))


def counts_of(row: Row) -> Counts:
    """What a row adds to the score: nothing but weight when it failed."""
    if row.error is None:
        return row.counts
    return tuple((stratum, 0.0, denominator) for stratum, _, denominator in row.counts)


def _owners(n: int, groups: Sequence[str | None] | None) -> tuple[NDArray[np.intp], bool]:
    """The unit that each example belongs to, and whether any unit holds several."""
    if groups is None:
        return np.arange(n), False
    if len(groups) != n:
        raise ValueError(f"{n} examples but {len(groups)} groups")
    codes: dict[object, int] = {}
    keys = ((i,) if group is None else group for i, group in enumerate(groups))
    owner = np.fromiter((codes.setdefault(key, len(codes)) for key in keys), np.intp, n)
    return owner, len(codes) < n


def _check(table: Floats, scale: Scale, examples: int) -> None:
    _, top, bottom = table.T
    if not (np.isfinite(table).all() and (top >= 0).all() and (top <= bottom + 1e-9).all()):
        raise StepladderError(
            "a metric gave counts outside 0 <= numerator <= denominator",
            hint="return (stratum, numerator, denominator) with a score in [0, 1] from `score`",
        )
    if scale == "ratio":
        return
    whole = len(table) == examples and bool((bottom == 1).all())
    if not whole or (scale == "binary" and not np.isin(top, (0, 1)).all()):
        wanted = "0 or 1" if scale == "binary" else "a value in [0, 1]"
        raise StepladderError(
            f"a metric of scale {scale!r} gave counts other than one {wanted} per example",
            hint="give the metric scale = 'ratio', or return (('', value, 1.0),) from `score`",
        )
