"""Answers what the most alike train example expects, by the cosine of TF-IDF vectors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..core import Example, Input, Json, Output, Workshop
from ..errors import NotApplicable
from .artifact import open_artifact, save_artifact
from .prompt import render_input
from .tfidf import Tfidf, array_bytes, fit_tfidf, load_array, load_tfidf
from .timed import timed

__all__ = ["NearestSolver", "fit_nearest"]


@dataclass(frozen=True)
class NearestSolver:
    """Answers with the nearest example's answer; confidence is the cosine."""

    artifact: str
    kind: str = field(default="nearest", init=False)

    def answer(self, inputs: Sequence[Input], workshop: Workshop) -> Iterator[tuple[int, Output]]:
        """The neighbour's answer for each input."""
        folder = open_artifact(workshop.artifacts, self.artifact)
        yield from timed(self.kind, inputs, lambda batch: _copy(folder, batch))


def fit_nearest(train: Sequence[Example], workshop: Workshop) -> NearestSolver:
    """Store the vectors of train and its answers.

    Raises:
        NotApplicable: train has no words.
    """
    texts = [render_input(example.input) for example in train]
    tfidf = fit_tfidf(texts)
    if not tfidf.terms:
        raise NotApplicable("a nearest neighbour needs words, and train has none")
    vectors = tfidf.transform(texts)
    answers = "\n".join(json.dumps(example.expected, ensure_ascii=False) for example in train)
    files = {
        **tfidf.files(),
        "answers.jsonl": answers.encode(),
        "values.npy": array_bytes(vectors.data),
        "columns.npy": array_bytes(vectors.indices),
        "rows.npy": array_bytes(vectors.indptr),
    }
    return NearestSolver(save_artifact(workshop.artifacts, files))


def _copy(folder: Path, inputs: Sequence[Input]) -> list[Output]:
    tfidf, vectors, answers = _load(folder)
    queries = tfidf.transform([render_input(input) for input in inputs])
    cosines = (queries @ vectors.T).toarray() / len(tfidf.terms)
    best = np.asarray(cosines.argmax(axis=1)).ravel()
    return [
        Output(answers[at], _text(answers[at]), confidence=float(min(1.0, row[at])))
        for at, row in zip(best, cosines, strict=True)
    ]


def _text(answer: Json) -> str:
    return answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)


@lru_cache(maxsize=8)
def _load(folder: Path) -> tuple[Tfidf, Any, list[Json]]:
    from scipy import sparse

    parts = tuple(load_array(folder, name) for name in ("values", "columns", "rows"))
    tfidf = load_tfidf(folder)
    shape = (len(parts[2]) - 1, len(tfidf.idf))
    lines = (folder / "answers.jsonl").read_text(encoding="utf-8").split("\n")
    return tfidf, sparse.csr_matrix(parts, shape=shape), [json.loads(line) for line in lines]
