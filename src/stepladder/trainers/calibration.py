"""How far a classifier's probabilities can be believed, and what makes them better. Pure arrays.

Everything is chosen on predictions for examples that the classifier was not fitted on: folds of
train, or a slice of it that was held out.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import Example
from ..metrics.text import as_text
from ..stats import expected_calibration_error

__all__ = [
    "Calibration", "brier_score", "calibration_of", "choose_thresholds", "deal_folds",
    "fit_temperature",
]  # fmt: skip

ENOUGH = 10  # examples of a label from which on it gets a threshold of its own
SUSPECT = 0.1  # an expected calibration error above this is worth a caution


@dataclass(frozen=True)
class Calibration:
    """How well probabilities agreed with what happened, on `n` examples not fitted on.

    `error` is the expected calibration error: by how much confidence and share of right answers
    differ, in the mean. `brier` is the mean squared distance from the truth, summed over labels.
    """

    error: float
    brier: float
    n: int

    def words(self) -> str:
        """For people."""
        return f"calibration error {self.error:.1%}, Brier score {self.brier:.3f} (n = {self.n})"

    def cautions(self) -> tuple[str, ...]:
        """A sentence where a reader of confidences should be warned."""
        if self.error <= SUSPECT:
            return ()
        return (f"its confidence is not to be relied on: {self.words()}",)


def deal_folds(examples: Sequence[Example], folds: int, seed: int) -> list[list[int]]:
    """The places of the examples in `folds` parts: labels even, no group in two parts.

    Fewer parts where there are fewer groups than that.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for at, example in enumerate(examples):
        groups[f"group {example.group}" if example.group is not None else f"row {at}"].append(at)
    units = list(groups.values())
    random.Random(seed).shuffle(units)
    units.sort(key=lambda unit: (as_text(examples[unit[0]].expected), -len(unit)))
    dealt: list[list[int]] = [[] for _ in range(min(folds, len(units)))]
    for place, unit in enumerate(units):
        dealt[place % len(dealt)].extend(unit)
    return [sorted(part) for part in dealt]


def fit_temperature(scores: Any, truth: Any, *, several: bool) -> float:
    """What to divide the scores by so that the truth is likeliest (Guo et al., 2017).

    `truth` has 1 where a label is right, shape of `scores`: (examples, labels). With `several`,
    labels are judged one by one.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        return _negative_log_likelihood(scores / np.exp(log_temperature), truth, several)

    found = minimize_scalar(loss, bounds=(-4.0, 4.0), method="bounded")
    return float(np.exp(found.x))


def calibration_of(probabilities: Any, truth: Any, *, several: bool) -> Calibration:
    """How well the probabilities, shape (examples, labels), agree with the truth."""
    if several:  # each label is a bet of its own
        confidence, right = probabilities.ravel(), truth.ravel()
    else:
        best = probabilities.argmax(axis=1)
        rows = np.arange(len(best))
        confidence, right = probabilities[rows, best], truth[rows, best]
    error = expected_calibration_error(confidence, right)
    return Calibration(error, brier_score(probabilities, truth), len(truth))


def brier_score(probabilities: Any, truth: Any) -> float:
    """Squared distance from the truth, summed over labels, mean over examples."""
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def choose_thresholds(probabilities: Any, truth: Any) -> tuple[float, ...]:
    """For each label the probability from which on it is given, for the best F1.

    A label with few examples takes the one that is best for all labels together.
    """
    shared = _best_threshold(probabilities.ravel(), truth.ravel())
    return tuple(
        _best_threshold(probabilities[:, at], truth[:, at])
        if truth[:, at].sum() >= ENOUGH
        else shared
        for at in range(truth.shape[1])
    )


def _best_threshold(probability: Any, truth: Any) -> float:
    """Halfway between the last that is given and the first that is not, at the best F1."""
    if not truth.sum():
        return 0.5
    order = np.argsort(-probability, kind="stable")
    ranked, hits = probability[order], np.cumsum(truth[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + truth.sum())
    f1[:-1][ranked[:-1] == ranked[1:]] = 0  # equals are given together or not at all
    last = int(f1.argmax())
    following = ranked[last + 1] if last + 1 < len(ranked) else 0.0
    return float((ranked[last] + following) / 2)


def _negative_log_likelihood(scores: Any, truth: Any, several: bool) -> float:
    if several:
        signed = np.where(truth > 0, scores, -scores)
        return float(np.logaddexp(0, -signed).mean())
    return float((np.logaddexp.reduce(scores, axis=1) - (scores * truth).sum(axis=1)).mean())
