"""Texts as weighted counts of words and of letter groups (TF-IDF), stored without pickle.

Words 1-2 catch phrases; letter groups 2-5 within words catch spelling and inflection.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Tfidf", "array_bytes", "fit_tfidf", "load_array", "load_tfidf"]

_ANALYSERS: Mapping[str, Mapping[str, Any]] = {
    "word": {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"},
    "char_wb": {"analyzer": "char_wb", "ngram_range": (2, 5)},
}


@dataclass(frozen=True)
class Tfidf:
    """Terms of each analyser and the inverse document frequency of each, words first."""

    terms: Mapping[str, Sequence[str]]
    idf: Any  # float32, one per term

    def transform(self, texts: Sequence[str]) -> Any:
        """A sparse float32 matrix, (texts, terms): rows of length 1 within each analyser."""
        from scipy import sparse
        from sklearn.preprocessing import normalize

        blocks, start = [], 0
        for analyser, terms in self.terms.items():
            counts = _counter(analyser, terms).transform(texts).astype(np.float32)
            counts.data = 1 + np.log(counts.data)
            weighted = counts @ sparse.diags(self.idf[start : start + len(terms)])
            blocks.append(normalize(weighted))
            start += len(terms)
        return sparse.hstack(blocks, format="csr", dtype=np.float32)

    def files(self) -> dict[str, bytes]:
        """What to store in an artifact."""
        terms = {analyser: list(words) for analyser, words in self.terms.items()}
        return {
            "terms.json": json.dumps(terms, ensure_ascii=False).encode(),
            "idf.npy": array_bytes(self.idf),
        }


def fit_tfidf(texts: Sequence[str]) -> Tfidf:
    """Terms in two texts at least, all of them when the texts are few."""
    least = 2 if len(texts) >= 50 else 1
    terms: dict[str, Sequence[str]] = {}
    weights = []
    for analyser in _ANALYSERS:
        counter = _counter(analyser, None, least)
        try:
            counts = counter.fit_transform(texts)
        except ValueError:  # scikit-learn's word for: no term is left
            continue
        terms[analyser] = counter.get_feature_names_out().tolist()
        seen = np.asarray((counts > 0).sum(axis=0)).ravel()
        weights.append(np.log((1 + len(texts)) / (1 + seen)) + 1)
    idf = np.concatenate(weights) if weights else np.zeros(0)
    return Tfidf(terms, idf.astype(np.float32))


def load_tfidf(folder: Path) -> Tfidf:
    """What `files` stored."""
    terms = json.loads((folder / "terms.json").read_text(encoding="utf-8"))
    return Tfidf(terms, load_array(folder, "idf"))


def array_bytes(array: Any) -> bytes:
    """The array in NumPy's own format."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def load_array(folder: Path, name: str) -> Any:
    """The array stored as `name`.npy."""
    return np.load(folder / f"{name}.npy", allow_pickle=False)


def _counter(analyser: str, terms: Sequence[str] | None, least: int = 1) -> Any:
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer(vocabulary=terms, min_df=least, **_ANALYSERS[analyser])
