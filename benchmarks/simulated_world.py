"""Worlds with known truth, and bounds for many samples at once. What the simulations share."""

from __future__ import annotations

import math
import os
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from stepladder import stats, units
from stepladder.core import Counts, Target
from stepladder.units import Scale

Array = NDArray[Any]
TARGET = Target(0.85)
KINDS: dict[str, Scale] = {"accuracy": "binary", "micro-F1": "ratio"}
SIZES = (50, 100, 300, 1000)
KEPT = 32_000  # draws of weights


# --- a world with known truth -------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """Answers of candidates with true scores `scores` to random examples.

    Whether an item of an example is found hangs on the example's difficulty, a normal variable that
    candidates share to the degree `shared`. With "accuracy" an example is one item. With
    "micro-F1" it has 1 + Poisson(1.5) items, and whoever misses items also invents some.
    """

    kind: str
    shared: float
    n: int
    scores: Array

    def examples(self, rng: np.random.Generator, climbs: int) -> tuple[Array, Array]:
        """Difficulty and number of items, each of shape (climbs, n)."""
        shape = (climbs, self.n)
        items = 1 + rng.poisson(1.5, shape) if self.kind == "micro-F1" else np.ones(shape, int)
        return rng.standard_normal(shape, np.float32), items.astype(np.int8)

    def answers(
        self, rng: np.random.Generator, hard: Array, items: Array, which: int
    ) -> tuple[Array, Array]:
        """Numerators and denominators of one candidate on examples of any shape."""
        own = rng.standard_normal(hard.shape, np.float32)
        hard = math.sqrt(self.shared) * hard + math.sqrt(1 - self.shared) * own
        if self.kind == "accuracy":
            right = hard < ndtri(self.scores[which])
            return right.astype(np.float32), np.ones(hard.shape, np.float32)
        rate = ndtri(_recall(float(self.scores[which])))
        found = rng.binomial(items, ndtr((rate - math.sqrt(0.4) * hard) / math.sqrt(0.6)))
        invented = rng.binomial(items - found, 0.8) + (rng.random(hard.shape) < 0.1)
        return (2 * found).astype(np.float32), (found + items + invented).astype(np.float32)


def _recall(score: float) -> float:
    """The recall at which 2·tp / (tp + items + invented) is `score` in expectation."""
    items = 2.5
    return score * (items * 1.8 + 0.1) / (2 * items - score * (items - 0.8 * items))


# --- bounds, for many climbs at once ------------------------------------------------------------


@lru_cache(maxsize=1)
def _kept(count: int, seed: int) -> list[NDArray[np.float32]]:
    return list(units.weights(count, KEPT, seed))


def weights(count: int, draws: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """`units.weights`, drawn once: fewer draws are the first of more."""
    if draws > KEPT:
        yield from units.weights(count, draws, seed)
        return
    for chunk in _kept(count, seed):
        if draws > 0:
            yield chunk[:draws]
        draws -= len(chunk)


def ratio_lows(top: Array, bottom: Array, alpha: float) -> Array:
    """`stats.lower_bound(..., "ratio", alpha).low` of each row of (climbs, n) counts."""
    if not len(top):
        return np.zeros(0)
    typical = (bottom.astype(float) ** 2).sum(axis=1) / bottom.sum(axis=1)
    draws = units.draws_for(alpha)
    drawn = []
    for weight in weights(top.shape[1] + 1, draws, 0):
        below = weight[:, :-1] @ bottom.T + weight[:, -1:] * typical.astype(np.float32)
        drawn.append((weight[:, :-1] @ top.T) / below)
    rank = math.floor(alpha * (draws + 1)) - 1
    low = np.partition(np.concatenate(drawn), rank, axis=0)[rank]
    return np.asarray(np.minimum(low, top.sum(axis=1) / bottom.sum(axis=1)))


@cache
def binary_low(right: int, n: int, alpha: float) -> float:
    return stats.clopper_pearson_low(right, n, alpha)


def lows(kind: str, top: Array, bottom: Array, alpha: float) -> Array:
    if kind == "micro-F1":
        return ratio_lows(top, bottom, alpha)
    return np.array([binary_low(int(one.sum()), one.size, alpha) for one in top])


def counts_of(top: Array, bottom: Array) -> list[Counts]:
    return [(("all", float(a), float(b)),) for a, b in zip(top, bottom, strict=True)]


def provenance(seconds: float, workers: int) -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "workers": workers,
        "python": platform.python_version(),
        "seconds": round(seconds),
    }
