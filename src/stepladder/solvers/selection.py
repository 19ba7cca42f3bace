"""Demonstrations picked per input: the most alike of a stored pool, by BM25 or by embeddings.

The pool is an artifact, so a solver stays a small record. Which method and how many is decided in
`steps/few_shot.py`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..core import Input, Json, Workshop
from ..registry import need
from .artifact import open_artifact, save_artifact
from .prompt import Demo, render_input

__all__ = ["save_pool", "select"]


def save_pool(
    demos: Sequence[Demo], method: Literal["bm25", "embedding"], workshop: Workshop
) -> str:
    """Store the pool, with its vectors when the method needs them, and return its hash.

    Saving the same pool again computes no vector again.
    """
    from . import plain

    lines = [json.dumps([plain(i), plain(e)], ensure_ascii=False) for i, e in demos]
    files = {"pool.jsonl": "\n".join(lines).encode()}
    if method == "embedding":
        from ..embeddings import embed_kept

        vectors = embed_kept([render_input(input) for input, _ in demos], workshop.artifacts)
        buffer = io.BytesIO()
        np.save(buffer, vectors, allow_pickle=False)
        files["embeddings.npy"] = buffer.getvalue()
    return save_artifact(workshop.artifacts, files)


def select(
    selector: Mapping[str, Json], inputs: Sequence[Input], workshop: Workshop
) -> list[tuple[Demo, ...]]:
    """For each input, the `k` most alike demos of the pool; the most alike stands last."""
    if not inputs:
        return []
    folder = open_artifact(workshop.artifacts, selector["pool"])
    demos = _demos(folder)
    k = min(int(selector["k"]), len(demos))
    queries = [render_input(input) for input in inputs]
    rank = _rank_by_embedding if selector["method"] == "embedding" else _rank_by_words
    return [tuple(demos[at] for at in reversed(row)) for row in rank(folder, queries, k)]


def _rank_by_words(folder: Path, queries: Sequence[str], k: int) -> list[list[int]]:
    bm25s = need("bm25s", extra="local", what="picking demonstrations by BM25")
    index = _word_index(folder)
    tokens = bm25s.tokenize(list(queries), stopwords=None, return_ids=False, show_progress=False)
    rows = []
    for words in tokens:
        scores = index.get_scores(words) if words else np.zeros(len(_demos(folder)))
        rows.append(_top(scores, k))
    return rows


def _rank_by_embedding(folder: Path, queries: Sequence[str], k: int) -> list[list[int]]:
    from ..embeddings import embed_kept

    scores = embed_kept(queries, folder.parent) @ _vectors(folder).T
    return [_top(row, k) for row in scores]


def _top(scores: Any, k: int) -> list[int]:
    """Positions of the `k` highest scores, the first of equals first."""
    return [int(at) for at in np.argsort(-np.asarray(scores), kind="stable")[:k]]


# Artifacts never change under their name, so what is read from them may be kept.


@lru_cache(maxsize=8)
def _demos(folder: Path) -> tuple[Demo, ...]:
    from pydantic import TypeAdapter

    adapter: TypeAdapter[Demo] = TypeAdapter(Demo)
    lines = (folder / "pool.jsonl").read_text(encoding="utf-8").split("\n")
    return tuple(adapter.validate_json(line) for line in lines)


@lru_cache(maxsize=8)
def _word_index(folder: Path) -> Any:
    bm25s = need("bm25s", extra="local", what="picking demonstrations by BM25")
    texts = [render_input(input) for input, _ in _demos(folder)]
    index = bm25s.BM25()
    index.index(bm25s.tokenize(texts, stopwords=None, show_progress=False), show_progress=False)
    return index


@lru_cache(maxsize=8)
def _vectors(folder: Path) -> Any:
    return np.load(folder / "embeddings.npy", allow_pickle=False)
