"""Several rankings made one by reciprocal rank fusion: ranks count, scores do not.

Cormack, Clarke & Büttcher (2009): an item earns 1 / (60 + rank) from each ranking that has it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .retriever import Hit, Retriever

__all__ = ["DEPTH", "Fused", "fuse"]

DEPTH = 100  # of each ranking that is fused
CONSTANT = 60
Key = TypeVar("Key", bound=Hashable)


def fuse(rankings: Iterable[Iterable[Key]], k: int) -> list[tuple[Key, float]]:
    """The best `k` of all rankings with what they earned; of equals, the one that came first."""
    earned: dict[Key, float] = {}
    for ranking in rankings:
        for rank, key in enumerate(ranking, 1):
            earned[key] = earned.get(key, 0.0) + 1 / (CONSTANT + rank)
    return sorted(earned.items(), key=lambda one: -one[1])[:k]


@dataclass(frozen=True)
class Fused:
    """The first `depth` of each of several retrievers, wherever they search."""

    retrievers: tuple[Retriever, ...]
    depth: int = DEPTH

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        found = [each.search(queries, max(k, self.depth)) for each in self.retrievers]
        return [_fused(rankings, k) for rankings in zip(*found, strict=True)]


def _fused(rankings: Sequence[Sequence[Hit]], k: int) -> list[Hit]:
    passages = {hit.passage.id: hit.passage for ranking in rankings for hit in ranking}
    ids = [[hit.passage.id for hit in ranking] for ranking in rankings]
    return [Hit(passages[id], score) for id, score in fuse(ids, k)]
