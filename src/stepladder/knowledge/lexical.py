"""Searching by words: BM25 by bm25s, as an index of plain arrays.

Scores are computed when the index is made, so that a query only adds up the columns of its words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..registry import need

__all__ = ["WORD", "load_words", "rank_by_words", "score_rows", "word_weights", "write_words"]

WORD = re.compile(r"(?u)\b\w\w+\b")  # lower-cased; as bm25s itself cuts texts
_PREFIX = "words"
_NAMES = {
    "data_name": f"{_PREFIX}-scores.npy",
    "indices_name": f"{_PREFIX}-passages.npy",
    "indptr_name": f"{_PREFIX}-starts.npy",
    "vocab_name": f"{_PREFIX}.json",
    "params_name": f"{_PREFIX}-settings.json",
}
_WHAT = "searching by words"


def write_words(texts: Iterable[str], folder: Path, k1: float, b: float) -> None:
    """Write the index of the texts, numbered in their order, into the folder.

    Raises:
        MissingExtra: bm25s is not installed.
    """
    bm25s = need("bm25s", extra="retrieval", what=_WHAT)
    known: dict[str, int] = {}
    ids = [_numbered(text, known) for text in texts]
    known = known or {"": 0}  # not one word: bm25s wants a column
    index = bm25s.BM25(k1=k1, b=b, backend="numpy")
    with np.errstate(invalid="ignore", divide="ignore"):  # a mean length of 0
        index.index((ids, known), create_empty_token=False, show_progress=False)
    index.save(folder, show_progress=False, **_NAMES)


def load_words(folder: Path) -> Any:
    """The index, its arrays mapped from the disk."""
    bm25s = need("bm25s", extra="retrieval", what=_WHAT)
    index = bm25s.BM25.load(folder, load_corpus=False, mmap=True, show_progress=False, **_NAMES)
    for name in ("data", "indices", "indptr"):  # a slice of a mapped file itself takes long
        index.scores[name] = np.asarray(index.scores[name])
    return index


def rank_by_words(index: Any, queries: Sequence[str], k: int) -> list[tuple[Any, Any]]:
    """Per query, the numbers of the best `k` texts and their scores; equals in their order.

    A text that shares no word with the query is not among them.
    """
    return [_best(_scores(index, WORD.findall(query.lower())), k) for query in queries]


def _numbered(text: str, known: dict[str, int]) -> list[int]:
    return [known.setdefault(word, len(known)) for word in WORD.findall(text.lower())]


def score_rows(index: Any, query: str, rows: Any) -> Any:
    """BM25 of these texts alone."""
    return _scores(index, WORD.findall(query.lower()))[rows]


def word_weights(index: Any, query: str) -> dict[str, float]:
    """Of each word of the query how rare it is: its inverse document frequency, as in BM25."""
    count, starts = index.scores["num_docs"], index.scores["indptr"]
    made = {}
    for word in dict.fromkeys(WORD.findall(query.lower())):
        at = index.vocab_dict.get(word)
        having = 0 if at is None else int(starts[at + 1] - starts[at])
        made[word] = math.log(1 + (count - having + 0.5) / (having + 0.5))
    return made


def _scores(index: Any, words: Sequence[str]) -> Any:
    """Of every text. Words that no text has say nothing."""
    arrays = index.scores
    scores = np.zeros(arrays["num_docs"], dtype=np.float32)
    for word in words:
        at = index.vocab_dict.get(word)
        if at is not None:
            column = slice(arrays["indptr"][at], arrays["indptr"][at + 1])
            scores[arrays["indices"][column]] += arrays["data"][column]
    return scores


def _best(scores: Any, k: int) -> tuple[Any, Any]:
    found = np.flatnonzero(scores > 0)
    if found.size > k:
        least = np.partition(scores[found], -k)[-k]
        found = found[scores[found] >= least]
    order = found[np.argsort(-scores[found], kind="stable")][:k]
    return order, scores[order]
