"""Searching by meaning: vectors of the small encoder, compared exactly or through a graph.

Up to `GRAPH_FROM` texts each query is compared with every vector; beyond, usearch's graph finds
candidates, which are then compared exactly. Vectors are kept by content while an index is made, so
that one that was interrupted, or has one changed document, computes what is new.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..embeddings import DIMENSIONS, embed_kept
from ..registry import need
from .encoder import encode, encoder_name
from .late import wrap_raw

__all__ = ["GRAPH_FROM", "VECTORS", "Graph", "nearest", "write_graph", "write_vectors"]

GRAPH_FROM = 20_000  # below, comparing all takes about as long as encoding the query
VECTORS = "embeddings.npy"
GRAPH, KEYS = "graph.npy", "graph-keys.npy"
_CHUNK = 1024  # texts whose vectors are kept at once
_ROWS = 16_384  # vectors compared at once
_WHAT = "searching many passages by meaning"


def write_vectors(texts: Iterable[str], count: int, folder: Path, kept: Path) -> None:
    """Write the vectors of `count` texts into the folder, as float16.

    Raises as `encoder.encode`, and StoreError where the file of kept vectors is damaged.
    """
    name = encoder_name()
    rows = np.lib.format.open_memmap(
        folder / VECTORS, mode="w+", dtype=np.float16, shape=(count, DIMENSIONS)
    )
    start = 0
    for chunk in _chunks(texts, _CHUNK):
        rows[start : start + len(chunk)] = embed_kept(chunk, kept, encode, name)
        start += len(chunk)
    rows.flush()


def nearest(vectors: Any, queries: Any, k: int) -> list[tuple[Any, Any]]:
    """Per query, the numbers of the `k` nearest vectors and their cosines, by looking at all."""
    if len(vectors) <= _ROWS:
        everything = np.arange(len(vectors))
        return [_top(everything, scores, k) for scores in queries @ vectors.T]
    best = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))] * len(queries)
    for start in range(0, len(vectors), _ROWS):
        block = np.asarray(vectors[start : start + _ROWS], dtype=np.float32)
        for at, scores in enumerate(queries @ block.T):
            rows = np.concatenate([best[at][0], np.arange(start, start + len(block))])
            best[at] = _top(rows, np.concatenate([best[at][1], scores]), k)
    return best


class Graph:
    """The graph of an index, mapped from the disk; `write_graph` made it."""

    def __init__(self, folder: Path, vectors: Any) -> None:
        usearch: Any = need("usearch.index", extra="retrieval", what=_WHAT)
        # the graph reads this memory and does not hold it: it has to live as long
        self._bytes = np.load(folder / GRAPH, mmap_mode="r")
        self._graph = usearch.Index.restore(self._bytes.data, view=True)
        keys = np.load(folder / KEYS)
        self._rows = np.argsort(keys)
        self._keys = keys[self._rows]
        self._vectors = vectors

    def nearest(self, queries: Any, k: int) -> list[tuple[Any, Any]]:
        """As `nearest`, of the candidates that the graph leads to."""
        found = []
        for query in queries:
            matches = self._graph.search(query, max(2 * k, 64))
            rows = self._rows[np.searchsorted(self._keys, matches.keys)]
            rows.sort()
            scores = np.asarray(self._vectors[rows], dtype=np.float32) @ query
            found.append(_top(rows, scores, k))
        return found


def write_graph(keys: Any, folder: Path, before: Path | None) -> None:
    """Write the graph over the vectors in the folder; `keys` are uint64, one per row.

    From the graph in `before`, what keeps its key is taken over and the rest taken out.

    Raises:
        MissingExtra: usearch is not installed.
    """
    usearch: Any = need("usearch.index", extra="retrieval", what=_WHAT)
    vectors = np.load(folder / VECTORS, mmap_mode="r")
    graph, new = usearch.Index(ndim=DIMENSIONS, metric="ip", dtype="f16"), np.arange(len(keys))
    if before is not None and (before / GRAPH).is_file():
        graph = usearch.Index.restore(np.load(before / GRAPH).data)
        old = np.load(before / KEYS)
        gone = old[~np.isin(old, keys)]
        if gone.size:
            graph.remove(gone)
        new = np.flatnonzero(~np.isin(keys, old))
    for start in range(0, len(new), _ROWS):
        rows = new[start : start + _ROWS]
        graph.add(keys[rows], np.asarray(vectors[rows], dtype=np.float32), copy=True)
    np.save(folder / KEYS, keys)
    graph.save(folder / "graph.raw")
    wrap_raw(folder / "graph.raw", folder / GRAPH, "|u1")  # arrays are known as safe everywhere


def _top(rows: Any, scores: Any, k: int) -> tuple[Any, Any]:
    if scores.size > k:
        least = np.partition(scores, -k)[-k]
        kept = scores >= least
        rows, scores = rows[kept], scores[kept]
    order = np.argsort(-scores, kind="stable")[:k]
    return rows[order], scores[order]


def _chunks(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    made: list[str] = []
    for text in texts:
        made.append(text)
        if len(made) == size:
            yield made
            made = []
    if made:
        yield made
