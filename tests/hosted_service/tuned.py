"""A tuned model: a classifier fitted on the rows of its job, one snapshot for every epoch.

Answers that repeat are classes of a logistic regression over TF-IDF of words and characters. Where
nearly every answer is its own (texts, records), the answer of the nearest row is given. An epoch is
a few steps of the solver, so that more epochs fit better and the loss falls as it really does.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .asking import Asked, count
from .learner import Index, Prompt, bare, log_shares, read_prompt

__all__ = ["Epoch", "Row", "fit"]

_STEPS_PER_EPOCH = 6
_BATCH = 16  # rows per training step, as the service counts them


@dataclass(frozen=True)
class Row:
    """One training example; `tokens` as the service counts and bills them."""

    asked: Asked
    answer: str
    tokens: int

    @property
    def question(self) -> str:
        return read_prompt(self.asked).question

    @property
    def answer_tokens(self) -> int:
        return count(self.answer)


@dataclass(frozen=True)
class Epoch:
    """The model after an epoch: what it answers, and how well it does on the rows."""

    number: int
    step: int
    loss: float
    accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    model: Any

    def scores(self, prompt: Prompt) -> Mapping[str, float]:
        """The natural log of each answer's probability."""
        (scores,) = self.model.scores([prompt.question])
        return dict(scores)


def fit(rows: Sequence[Row], validation: Sequence[Row], epochs: int) -> Iterator[Epoch]:
    """One snapshot after another."""
    questions = [row.question for row in rows]
    answers = [bare(row.answer) for row in rows]
    steps = math.ceil(len(rows) / _BATCH)
    if len(set(answers)) < 2 or len(set(answers)) > len(answers) / 2:
        models: Iterator[Any] = (_Nearest(questions, answers) for _ in range(epochs))
    else:
        models = _classifiers(questions, answers, epochs)
    for number, model in enumerate(models, start=1):
        loss, accuracy = _judged(model, questions, answers)
        held_out: tuple[float | None, float | None] = (None, None)
        if validation:
            asked = [row.question for row in validation]
            held_out = _judged(model, asked, [bare(row.answer) for row in validation])
        yield Epoch(number, number * steps, loss, accuracy, *held_out, model)


class _Nearest:
    """The answer of the training row that is most alike."""

    def __init__(self, questions: Sequence[str], answers: Sequence[str]) -> None:
        self._index = Index(questions, grams=False)
        self._answers = answers

    def scores(self, questions: Sequence[str]) -> list[Mapping[str, float]]:
        return [self._of(question) for question in questions]

    def _of(self, question: str) -> Mapping[str, float]:
        best: dict[str, float] = {}
        for answer, like in zip(self._answers, self._index.similar(question), strict=True):
            best[answer] = max(best.get(answer, 0.0), like)
        kept = dict(Counter(best).most_common(8))
        return log_shares({answer: 12 * like for answer, like in kept.items()})


class _Classifier:
    def __init__(self, features: Any, weights: Any, offsets: Any, classes: Sequence[str]) -> None:
        self._features = features
        self._weights = weights
        self._offsets = offsets
        self._classes = classes

    def scores(self, questions: Sequence[str]) -> list[Mapping[str, float]]:
        values = self._features.transform(questions) @ self._weights.T + self._offsets
        if len(self._classes) == 2:
            values = np.hstack([np.zeros_like(values), values])
        return [log_shares(dict(zip(self._classes, map(float, v), strict=True))) for v in values]


def _classifiers(
    questions: Sequence[str], answers: Sequence[str], epochs: int
) -> Iterator[_Classifier]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import FeatureUnion

    characters = TfidfVectorizer(
        sublinear_tf=True, analyzer="char_wb", ngram_range=(2, 4), min_df=_least(questions)
    )
    features = FeatureUnion(
        [
            ("words", TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))),
            ("characters", characters),
        ]
    )
    seen = features.fit_transform(questions)
    learner = LogisticRegression(C=50.0, max_iter=_STEPS_PER_EPOCH, warm_start=True)
    for _ in range(epochs):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            learner.fit(seen, answers)
        yield _Classifier(
            features, learner.coef_.copy(), learner.intercept_.copy(), list(learner.classes_)
        )


def _least(questions: Sequence[str]) -> int:
    """In how many rows a feature must be seen: it would take too long to learn from all."""
    return 2 if len(questions) >= 200 else 1


def _judged(model: Any, questions: Sequence[str], answers: Sequence[str]) -> tuple[float, float]:
    """Mean loss and share right, on at most about 200 of them."""
    every = max(1, len(questions) // 200)
    some = answers[::every]
    lost, right = 0.0, 0
    for answer, scores in zip(some, model.scores(questions[::every]), strict=True):
        lost -= scores.get(answer, math.log(1e-6))
        right += max(scores, key=lambda name: scores[name]) == answer
    return lost / len(some), right / len(some)
