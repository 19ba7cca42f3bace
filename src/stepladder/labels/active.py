"""Which unlabelled inputs to label next: those the solver is unsure of, and not all alike.

    random ......... a seeded draw: what any other way has to beat
    uncertain ...... the least margin of confidence first (uncertainty sampling, Lewis & Gale 1994)
    spread ......... seeds of k-means++ over text vectors (Arthur & Vassilvitskii 2007): each the
                     more likely, the further it is from all chosen and from what is labelled
    both ........... spread over the least sure, three for each that is wanted: a batch of the least
                     sure alone asks the same thing many times (as in Zhdanov 2019)

Pure arrays; vectors and confidences are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import StepladderError

__all__ = ["WAYS", "Known", "Way", "choose"]

Floats = NDArray[np.float64]
Way = Literal["random", "uncertain", "spread", "both"]
WAYS: tuple[Way, ...] = get_args(Way)
UNSURE = 3  # of the least sure for each that is wanted; 2 gained less on banking77


@dataclass(frozen=True)
class Known:
    """What is known of `size` unlabelled inputs; what a way does not ask for may be None.

    `confidence` is that of a solver's answers, in [0, 1], None where there is none; `vectors` are
    unit vectors of the texts, shape (size, dimensions), and `labelled` the same of train.
    """

    size: int
    confidence: Sequence[float | None] | None = None
    vectors: Floats | None = None
    labelled: Floats | None = None


def choose(way: Way, n: int, pool: Known, *, seed: int = 0) -> list[int]:
    """Places in the pool of the `n` inputs to label next, the most wanted first.

    Fewer where the pool is smaller; never one twice.

    Raises:
        StepladderError: the way needs confidences or vectors that are not known.
    """
    n = min(n, pool.size)
    chance = np.random.default_rng(seed)
    if way == "random":
        return [int(at) for at in chance.permutation(pool.size)[:n]]
    if way == "spread":
        return _spread(pool, np.arange(pool.size), n, chance)
    unsure = _least_sure_first(pool, chance)
    if way == "uncertain":
        return [int(at) for at in unsure[:n]]
    return _spread(pool, unsure[: UNSURE * n], n, chance)


def _least_sure_first(pool: Known, chance: np.random.Generator) -> NDArray[np.intp]:
    """All places; equals in no order of the file."""
    confidence = pool.confidence
    if confidence is None:
        raise StepladderError(
            "choosing by uncertainty needs a solver that says how confident it is",
            hint="choose by 'spread', or take a solver with confidences, such as a linear one",
        )
    known = np.array([0.0 if one is None else one for one in confidence], dtype=float)
    return np.lexsort((chance.random(pool.size), known))


def _spread(pool: Known, among: NDArray[np.intp], n: int, chance: np.random.Generator) -> list[int]:
    """`n` places of those `among`, each drawn in proportion to its squared distance."""
    if pool.vectors is None:
        raise StepladderError("choosing inputs that are spread out needs vectors of their texts")
    vectors = pool.vectors[among]
    away = _distance_to_nearest(vectors, pool.labelled)
    chosen: list[int] = []
    left = np.ones(len(among), dtype=bool)
    for _ in range(n):
        weight = np.where(left, away, 0.0)
        total = weight.sum()
        if total > 0:
            at = int(np.searchsorted(np.cumsum(weight), chance.random() * total, side="right"))
            at = min(at, len(weight) - 1)
        else:  # all that is left lies on what is chosen: any is as good
            at = int(chance.choice(np.flatnonzero(left)))
        chosen.append(int(among[at]))
        left[at] = False
        away = np.minimum(away, _squared(vectors, vectors[at]))
    return chosen


def _distance_to_nearest(vectors: Floats, labelled: Floats | None) -> Floats:
    """Squared distance of each vector to the nearest labelled one; 1 where nothing is labelled."""
    if labelled is None or not len(labelled):
        return np.ones(len(vectors))
    best = np.full(len(vectors), -1.0)
    for start in range(0, len(labelled), 1024):
        best = np.maximum(best, (vectors @ labelled[start : start + 1024].T).max(axis=1))
    found: Floats = np.maximum(2.0 - 2.0 * best, 0.0)
    return found


def _squared(vectors: Floats, one: Floats) -> Floats:
    found: Floats = np.maximum(2.0 - 2.0 * (vectors @ one), 0.0)
    return found
