"""Fits what stands on a frozen encoder: linear weights, or a vote of neighbours. Needs no torch.

What there is to choose (penalty, share of words and vector, neighbours) is chosen on folds of
train, and so are temperature and thresholds: by predictions for examples not fitted on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core import Example, Solver, Task, Workshop
from ..embeddings import embed_kept
from ..encoders.running import ENCODER_FILE, encoder_record, vectors, vectors_name
from ..errors import NotApplicable
from ..solvers.artifact import save_artifact
from ..solvers.embedding_head import HEAD_FILE, Head
from ..solvers.embedding_linear import EmbeddingLinearSolver
from ..solvers.embedding_nearest import EmbeddingNearestSolver, vote
from ..solvers.linear import fit_logistic
from ..solvers.prompt import render_input
from ..solvers.tfidf import array_bytes, fit_tfidf
from .calibration import (
    Calibration,
    brier_score,
    calibration_of,
    choose_thresholds,
    deal_folds,
    fit_temperature,
)
from .labelled import Labelled, read_labels

__all__ = [
    "FittedHead", "Linear", "calibrated", "fit_joined", "fit_judged", "fit_nearest_vectors",
    "fit_on_vectors", "fit_vectors", "train_vectors",
]  # fmt: skip

FOLDS = 4
PENALTIES = (1.0, 10.0, 100.0)  # the inverse of the penalty on a vector's weights
WORD_PENALTY = 10.0  # as of the baseline on words alone
SHARES = (0.5, 1.0, 2.0)  # length of the vector beside words of length 1 for each way of cutting
NEIGHBOURS = (1, 3, 5, 10, 20, 50)
WIDTHS = (0.02, 0.05, 0.1, 0.2)
MOST_LEFT_OUT = 2000  # examples on which neighbours are chosen
UNSEEN = -20.0  # the score of a label that a fold of train does not have
MOST_STEPS = 2000  # of the optimizer


@dataclass(frozen=True)
class FittedHead:
    """A solver, how far its confidence can be believed, and what was chosen, in words."""

    solver: Solver
    calibration: Calibration
    chosen: str


@dataclass(frozen=True)
class Linear:
    """A linear model on vectors: weights (labels, size), intercepts (labels,), how good it is."""

    head: Head
    weights: Any
    intercepts: Any
    calibration: Calibration

    def files(self) -> dict[str, bytes]:
        """What a linear solver's artifact holds beside its encoder."""
        return {
            HEAD_FILE: self.head.file(),
            "weights.npy": array_bytes(np.ascontiguousarray(self.weights, dtype=np.float32)),
            "intercepts.npy": array_bytes(np.asarray(self.intercepts, dtype=np.float32)),
        }


@dataclass(frozen=True)
class _Choice:
    """One of the things to choose among: its features, its penalty and its name."""

    features: Any
    c: float
    name: str
    share: float = 1.0


def fit_vectors(task: Task, train: Sequence[Example], workshop: Workshop) -> FittedHead:
    """Logistic regression on the open encoder's vectors.

    Raises:
        NotApplicable: train has no labels to learn.
        ModelError: the encoder's weights cannot be had.
    """
    labelled = read_labels(task, train)
    found = train_vectors(train, workshop)
    linear = fit_on_vectors(found, labelled, train, task.seed)
    solver = _on_open_encoder(linear.files(), workshop)
    return FittedHead(solver, linear.calibration, "its penalty chosen on folds of train")


def fit_joined(task: Task, train: Sequence[Example], workshop: Workshop) -> FittedHead:
    """Logistic regression on words and vectors side by side.

    Raises as `fit_vectors`, and NotApplicable where train has no words.
    """
    from scipy import sparse

    labelled = read_labels(task, train)
    texts = [render_input(example.input) for example in train]
    tfidf = fit_tfidf(texts)
    if not tfidf.terms:
        raise NotApplicable("words beside vectors need words, and train has none")
    words, found = tfidf.transform(texts), train_vectors(train, workshop)
    choices = [
        _Choice(
            sparse.hstack([words, sparse.csr_matrix(share * found)], format="csr"),
            WORD_PENALTY,
            f"vector of length {share:g}",
            share,
        )
        for share in SHARES
    ]
    best, head, calibration = _choose(choices, labelled, train, task.seed)
    weights, intercepts = _fit(best.features, labelled, labelled.truth, best.c)
    of_words, of_vector = weights[:, : words.shape[1]], weights[:, words.shape[1] :] * best.share
    files = {
        **Linear(head, of_vector, intercepts, calibration).files(),
        **tfidf.files(),
        "words.npy": array_bytes(np.ascontiguousarray(of_words, dtype=np.float32)),
    }
    return FittedHead(_on_open_encoder(files, workshop), calibration, best.name)


def fit_nearest_vectors(task: Task, train: Sequence[Example], workshop: Workshop) -> FittedHead:
    """A vote of the nearest vectors; how many vote, and how, by leaving each example out.

    Raises as `fit_vectors`.
    """
    labelled = read_labels(task, train)
    found = train_vectors(train, workshop)
    rows = _sample(len(train), task.seed)
    cosines = found[rows] @ found.T
    groups = np.array([e.group if e.group is not None else f"\0{n}" for n, e in enumerate(train)])
    cosines[groups[rows][:, None] == groups[None, :]] = -np.inf  # itself, and all of its group
    if not np.isfinite(cosines).any(axis=1).all():
        raise NotApplicable("neighbours cannot be chosen: all of train is one group")
    truth = labelled.rows(rows)
    tried = []
    for k in NEIGHBOURS:
        if k >= np.isfinite(cosines).sum(axis=1).min() and k > 1:
            continue
        for width in WIDTHS if k > 1 else WIDTHS[:1]:
            shares = vote(cosines, labelled.truth, k, width)
            tried.append((-brier_score(shares, truth), -k, width, shares))
    _, k, width, shares = max(tried, key=lambda one: one[:3])
    thresholds = choose_thresholds(shares, truth) if labelled.several else None
    head = Head(labelled.labels, thresholds=thresholds)
    files = {
        HEAD_FILE: head.file(),
        "embeddings.npy": array_bytes(found),
        "expected.json": json.dumps(labelled.places).encode(),
        ENCODER_FILE: json.dumps(encoder_record()).encode(),
    }
    solver = EmbeddingNearestSolver(save_artifact(workshop.artifacts, files), -k, width)
    calibration = calibration_of(shares, truth, several=labelled.several)
    return FittedHead(solver, calibration, f"{-k} neighbours, width {width:g}")


def fit_on_vectors(found: Any, labelled: Labelled, train: Sequence[Example], seed: int) -> Linear:
    """The linear model on any vectors, shape (examples, size)."""
    choices = [_Choice(found, c, f"penalty 1/{c:g}") for c in PENALTIES]
    best, head, calibration = _choose(choices, labelled, train, seed)
    return Linear(head, *_fit(best.features, labelled, labelled.truth, best.c), calibration)


def fit_judged(
    found: Any, labelled: Labelled, held: Sequence[int], learnt: Sequence[int]
) -> Linear:
    """The linear model on vectors of an encoder tuned on `learnt` alone.

    Penalty and temperature are those that suit `held`, whose vectors were not tuned; the weights
    are fitted on both.
    """
    truth = labelled.rows(held)
    tried = []
    for c in PENALTIES:
        weights, intercepts = _fit(found[learnt], labelled, labelled.rows(learnt), c)
        head, calibration = calibrated(labelled, found[held] @ weights.T + intercepts, truth)
        tried.append((-calibration.brier, c, head, calibration))
    _, c, head, calibration = max(tried, key=lambda one: one[:2])
    return Linear(head, *_fit(found, labelled, labelled.truth, c), calibration)


def calibrated(labelled: Labelled, scores: Any, truth: Any) -> tuple[Head, Calibration]:
    """A head with what is chosen on examples that were not fitted on, and how well that fits.

    `scores` are their logits and `truth` has 1 where a label is right: both (examples, labels).
    """
    several = labelled.several
    temperature = fit_temperature(scores, truth, several=several)
    head = Head(labelled.labels, temperature, (0.5,) if several else None)
    probabilities = head.probabilities(scores)
    calibration = calibration_of(probabilities, truth, several=several)
    if several:
        head = replace(head, thresholds=choose_thresholds(probabilities, truth))
    return head, calibration


def train_vectors(train: Sequence[Example], workshop: Workshop) -> Any:
    """The open encoder's unit vector of each example, kept among the artifacts."""
    texts = [render_input(example.input) for example in train]
    return embed_kept(texts, Path(workshop.artifacts), vectors, vectors_name())


def _on_open_encoder(files: Mapping[str, bytes], workshop: Workshop) -> EmbeddingLinearSolver:
    record = {ENCODER_FILE: json.dumps(encoder_record()).encode()}
    return EmbeddingLinearSolver(save_artifact(workshop.artifacts, {**files, **record}))


def _sample(n: int, seed: int) -> Any:
    rows = np.random.default_rng(seed).permutation(n)[:MOST_LEFT_OUT]
    return np.sort(rows)


def _choose(
    choices: Sequence[_Choice], labelled: Labelled, train: Sequence[Example], seed: int
) -> tuple[_Choice, Head, Calibration]:
    """The likeliest choice on folds of train, with its head and how well it is calibrated."""
    folds = deal_folds(train, FOLDS, seed)
    if len(folds) < 2:
        raise NotApplicable("train is one group, so nothing can be held out to choose on")
    scored = []
    for choice in choices:
        scores = _cross_fitted(choice, labelled, folds)
        head, calibration = calibrated(labelled, scores, labelled.truth)
        scored.append((-calibration.brier, choice, head, calibration))
    _, best, head, calibration = max(scored, key=lambda one: one[0])
    return best, head, calibration


def _cross_fitted(choice: _Choice, labelled: Labelled, folds: Sequence[Sequence[int]]) -> Any:
    """Scores of each example by weights fitted without its fold."""
    scores = np.full(labelled.truth.shape, UNSEEN)
    for fold in folds:
        left = sorted(set(range(len(labelled.truth))) - set(fold))
        weights, intercepts = _fit(choice.features[left], labelled, labelled.rows(left), choice.c)
        scores[list(fold)] = choice.features[list(fold)] @ weights.T + intercepts
    return scores


def _fit(features: Any, labelled: Labelled, truth: Any, c: float) -> tuple[Any, Any]:
    """(weights, intercepts) of all labels, shapes (labels, features) and (labels,)."""
    from threadpoolctl import threadpool_limits

    weights = np.zeros((truth.shape[1], features.shape[1]))
    intercepts = np.full(truth.shape[1], UNSEEN)
    # small products: on threads, more time goes into waiting for each other than into computing
    with threadpool_limits(limits=1):
        if labelled.several:
            for at in range(truth.shape[1]):
                weights[at], intercepts[at] = _fit_one(features, truth[:, at], c)
            return weights, intercepts
        classes = truth.argmax(axis=1)
        seen = np.unique(classes)
        if len(seen) == 1:
            intercepts[seen] = 0.0
            return weights, intercepts
        model = fit_logistic(features, classes, c=c, most_steps=MOST_STEPS)
    if len(seen) == 2:  # two labels share one row of weights
        weights[seen] = np.vstack([np.zeros_like(model.coef_), model.coef_])
        intercepts[seen] = [0.0, model.intercept_[0]]
    else:
        weights[seen], intercepts[seen] = model.coef_, model.intercept_
    return weights, intercepts


def _fit_one(features: Any, truth: Any, c: float) -> tuple[Any, float]:
    if len(np.unique(truth)) == 1:
        return np.zeros(features.shape[1]), -UNSEEN if truth[0] else UNSEEN
    model = fit_logistic(features, truth, c=c, most_steps=MOST_STEPS)
    return model.coef_[0], float(model.intercept_[0])
