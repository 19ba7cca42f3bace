"""Unlabelled inputs that may be learned from: without those of dev and test, or nearly those.

What is left out is counted by reason, never silently. Reading the file is for `formats.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..core import Example, Split
from .near import near_pairs
from .split import input_text

__all__ = ["Pool", "open_pool"]


@dataclass(frozen=True)
class Pool:
    """The inputs to use, in the order of the file, and how many were left out by reason."""

    inputs: tuple[Example, ...]
    left_out: Mapping[str, int]


def open_pool(inputs: Sequence[Example], split: Split) -> Pool:
    """The inputs that are new to train and share nothing with dev and test.

    Left out is what has the same input as an example (in other case or spacing too), nearly the
    input or the group of one in dev or test, and what the file says twice.
    """
    sealed = (*split.dev, *split.test)
    known = {_bare(one): "in dev or test" for one in sealed}
    for one in split.train:
        known.setdefault(_bare(one), "in train, with its label")
    groups = {one.group for one in sealed if one.group is not None}
    kept: list[Example] = []
    why: Counter[str] = Counter()
    for one in inputs:
        text = _bare(one)
        reason = known.get(text)
        if reason is None and one.group is not None and one.group in groups:
            reason = "of a group in dev or test"
        if reason is not None:
            why[reason] += 1
            continue
        known[text] = "twice in the file"
        kept.append(one)
    near = set(_near(kept, sealed))
    if near:
        why["nearly in dev or test"] = len(near)
    return Pool(tuple(one for place, one in enumerate(kept) if place not in near), dict(why))


def _near(inputs: Sequence[Example], sealed: Sequence[Example]) -> Iterator[int]:
    """Places of the inputs that are nearly one of the sealed examples."""
    texts = list(dict.fromkeys(input_text(one.input) for one in sealed))
    first = len(texts)
    texts += [input_text(one.input) for one in inputs]
    for left, right, _ in near_pairs(texts):
        if left < first <= right:
            yield right - first


def _bare(example: Example) -> str:
    return " ".join(input_text(example.input).casefold().split())
