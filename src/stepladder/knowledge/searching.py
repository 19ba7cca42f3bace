"""The retrievers over an index: by words, by meaning, by both, and with a learned order.

`open_retriever` makes one from what a solver says of it, so that a search is data like the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core import Json
from ..errors import StepladderError
from .fusion import DEPTH, fuse
from .index import Index, open_index
from .rerank import Ranker, reranked
from .retriever import Hit, Retriever

__all__ = ["METHODS", "IndexRetriever", "candidates", "open_retriever"]

METHODS = ("words", "meaning", "hybrid")


@dataclass(frozen=True)
class IndexRetriever:
    """Searches an index by `method`; with a `ranker`, the best of it in the ranker's order."""

    index: Index
    method: str = "hybrid"
    ranker: Ranker | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise StepladderError(
                f"no retriever is called {self.method!r}", hint=f"known: {', '.join(METHODS)}"
            )
        if not self.index.shape.dense and (self.method != "words" or self.ranker is not None):
            raise StepladderError(
                "the index has no vectors, which searching by meaning and the reranker need",
                hint="make the index with them, or search by 'words' alone",
            )

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """As `Retriever.search`."""
        deep = k if self.ranker is None else max(k, self.ranker.depth)
        found = candidates(self.index, self.method, queries, deep)
        if self.ranker is not None:
            found = reranked(self.index, self.ranker, queries, found)
        return [_hits(self.index, rows[:k], scores[:k]) for rows, scores in found]


def candidates(index: Index, method: str, queries: Sequence[str], k: int) -> list[tuple[Any, Any]]:
    """Per query, the rows of the best `k` passages and their scores."""
    if method == "words":
        return index.by_words(queries, k)
    if method == "meaning":
        return index.by_meaning(queries, k)
    depth = max(k, DEPTH)
    both = zip(index.by_words(queries, depth), index.by_meaning(queries, depth), strict=True)
    return [_fused([words[0], meaning[0]], k) for words, meaning in both]


def open_retriever(knowledge: Mapping[str, Json], artifacts: Path) -> Retriever:
    """The retriever that a solver names: {"index": hash, "retriever": method, "rerank": record}.

    "rerank", which may be missing or None, is the record of a `Ranker`.

    Raises:
        StepladderError: the index is not there, or the retriever is unknown.
    """
    record = knowledge.get("rerank")
    return IndexRetriever(
        open_index(artifacts, knowledge["index"]),
        knowledge.get("retriever", "hybrid"),
        None if record is None else Ranker.load(record),
    )


def _fused(rankings: Sequence[Any], k: int) -> tuple[Any, Any]:
    found = fuse([ranking.tolist() for ranking in rankings], k)
    return np.array([row for row, _ in found], dtype=np.int64), np.array([s for _, s in found])


def _hits(index: Index, rows: Any, scores: Any) -> list[Hit]:
    passages = index.passages(rows)
    return [Hit(passage, float(score)) for passage, score in zip(passages, scores, strict=True)]
