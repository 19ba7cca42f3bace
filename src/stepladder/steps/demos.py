"""Which train examples to show to every input: at random, balanced over labels, or diverse.

Picking anew for each input is in `solvers/selection.py`; how many is decided in `worth.py`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import Example
from ..errors import NotApplicable
from ..solvers.prompt import render_input
from ..solvers.tfidf import fit_tfidf
from .sampling import label_of, spread_over_labels

__all__ = ["not_too_long", "pick_balanced", "pick_confused", "pick_diverse", "pick_random"]

_LONG = 0.8  # the quantile of length above which an example is not shown


def not_too_long(pool: Sequence[Example]) -> list[Example]:
    """The shorter four fifths, by characters of input and answer: length is paid in every call."""
    sizes = [len(render_input(example.input)) + len(label_of(example)) for example in pool]
    most = float(np.quantile(sizes, _LONG))
    return [example for example, size in zip(pool, sizes, strict=True) if size <= most]


def pick_random(pool: Sequence[Example], k: int, seed: int) -> list[Example]:
    """The first `k` of a seeded shuffle, so that a larger k adds to a smaller one."""
    shuffled = list(pool)
    random.Random(seed).shuffle(shuffled)
    return shuffled[:k]


def pick_balanced(pool: Sequence[Example], k: int, seed: int) -> list[Example]:
    """`k` examples with the labels as even as can be."""
    return spread_over_labels(pool, seed)[:k]


def pick_confused(
    pool: Sequence[Example],
    k: int,
    seed: int,
    confusions: Sequence[tuple[str, str, int]],
) -> list[Example]:
    """`k` examples of the labels that are mixed up most, one of each in turn.

    `confusions` are (expected, answered, times), the commonest first; what they leave open is
    filled with other labels.
    """
    order = dict.fromkeys(label for pair in confusions for label in pair[:2])
    rank = {label: place for place, label in enumerate(order)}
    turns: dict[str, int] = {}
    keyed = []
    for place, example in enumerate(pick_random(pool, len(pool), seed)):
        label = label_of(example)
        turns[label] = turns.get(label, -1) + 1
        keyed.append(((turns[label], rank.get(label, len(rank)), place), example))
    return [example for _, example in sorted(keyed, key=lambda pair: pair[0])[:k]]


def pick_diverse(pool: Sequence[Example], k: int, seed: int) -> list[Example]:
    """`k` examples such that none of the pool is far from all of them, in TF-IDF space.

    Greedy k-centre (Gonzalez, 1985): the most central first, then always the one farthest from
    those picked.

    Raises:
        NotApplicable: the pool has no words.
    """
    tfidf = fit_tfidf([render_input(example.input) for example in pool])
    if not tfidf.terms:
        raise NotApplicable("diverse demonstrations need words, and train has none")
    vectors = tfidf.transform([render_input(example.input) for example in pool])
    centre = np.asarray(vectors.mean(axis=0)).ravel()
    picked = [int(np.argmax(vectors @ centre))]
    nearest = _cosines(vectors, picked[0])
    while len(picked) < min(k, len(pool)):
        nearest[picked] = np.inf
        picked.append(int(np.argmin(nearest)))
        nearest = np.maximum(nearest, _cosines(vectors, picked[-1]))
    return [pool[at] for at in picked]


def _cosines(vectors: Any, at: int) -> Any:
    """The similarity of all rows to one row."""
    return np.asarray((vectors @ vectors[at].T).todense()).ravel()
