"""Logistic regression over TF-IDF: often hard to beat for labels, and it needs no model."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..core import Example, Input, Output, Workshop
from ..errors import NotApplicable
from .artifact import open_artifact, save_artifact
from .prompt import render_input
from .tfidf import Tfidf, array_bytes, fit_tfidf, load_array, load_tfidf
from .timed import timed

__all__ = ["LinearSolver", "fit_linear", "fit_logistic"]


@dataclass(frozen=True)
class LinearSolver:
    """Answers the likeliest label; confidence is its probability."""

    artifact: str
    kind: str = field(default="linear", init=False)

    def answer(self, inputs: Sequence[Input], workshop: Workshop) -> Iterator[tuple[int, Output]]:
        """A label for each input."""
        folder = open_artifact(workshop.artifacts, self.artifact)
        yield from timed(self.kind, inputs, lambda batch: _label(folder, batch))


def fit_linear(train: Sequence[Example], workshop: Workshop, *, c: float = 10.0) -> LinearSolver:
    """Fit on train and store the weights; `c` is the inverse of the L2 penalty.

    Raises:
        NotApplicable: train has fewer than two labels, or no words.
    """
    labels = [str(example.expected) for example in train]
    if len(set(labels)) < 2:
        raise NotApplicable("a linear model needs at least two labels in train")
    texts = [render_input(example.input) for example in train]
    tfidf = fit_tfidf(texts)
    if not tfidf.terms:
        raise NotApplicable("a linear model needs words, and train has none")
    model = fit_logistic(tfidf.transform(texts), labels, c=c, most_steps=1000)
    files = {
        **tfidf.files(),
        "labels.json": json.dumps(model.classes_.tolist(), ensure_ascii=False).encode(),
        "weights.npy": array_bytes(model.coef_.astype(np.float32)),
        "intercepts.npy": array_bytes(model.intercept_.astype(np.float32)),
    }
    return LinearSolver(save_artifact(workshop.artifacts, files))


def fit_logistic(features: Any, labels: Any, *, c: float, most_steps: int) -> Any:
    """scikit-learn's logistic regression, fitted; `c` is the inverse of the L2 penalty."""
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # many labels with few examples each are a task like another, and no regression
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        # Deterministic: lbfgs starts from zero and draws nothing.
        return LogisticRegression(C=c, max_iter=most_steps, solver="lbfgs").fit(features, labels)


def _label(folder: Path, inputs: Sequence[Input]) -> list[Output]:
    tfidf, labels, weights, intercepts = _load(folder)
    features = tfidf.transform([render_input(input) for input in inputs])
    scores = features @ weights.T + intercepts
    if scores.shape[1] == 1:  # two labels share one row of weights
        scores = np.hstack([np.zeros_like(scores), scores])
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    best = shares.argmax(axis=1)
    return [
        Output(labels[at], labels[at], confidence=float(row[at]))
        for at, row in zip(best, shares, strict=True)
    ]


@lru_cache(maxsize=8)
def _load(folder: Path) -> tuple[Tfidf, list[str], Any, Any]:
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    return (
        load_tfidf(folder),
        labels,
        load_array(folder, "weights"),
        load_array(folder, "intercepts"),
    )
