"""Folds, temperature, thresholds, and the figures that say how far to believe a probability."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Example
from stepladder.stats import expected_calibration_error
from stepladder.trainers.calibration import (
    brier_score,
    calibration_of,
    choose_thresholds,
    deal_folds,
    fit_temperature,
)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 4)), min_size=1),
    st.integers(1, 6),
    st.integers(0, 3),
)
def test_folds_have_each_row_once_and_no_group_twice(rows, folds: int, seed: int) -> None:
    examples = [
        Example(str(n), "x", label, group=None if group is None else str(group))
        for n, (label, group) in enumerate(rows)
    ]
    dealt = deal_folds(examples, folds, seed)
    assert sorted(n for fold in dealt for n in fold) == list(range(len(rows)))
    assert len(dealt) <= folds
    assert all(dealt)
    where = [{examples[n].group for n in fold} - {None} for fold in dealt]
    assert sum(map(len, where)) == len(set().union(*where))
    assert dealt == deal_folds(examples, folds, seed)


def test_labels_are_dealt_evenly() -> None:
    examples = [Example(str(n), "x", "rare" if n % 10 == 0 else "common") for n in range(100)]
    for fold in deal_folds(examples, 5, seed=1):
        assert sum(examples[n].expected == "rare" for n in fold) == 2


def _drawn(temperature: float, several: bool) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and a truth that they tell rightly once they are divided by the temperature."""
    draw = np.random.default_rng(5)
    scores = draw.normal(size=(4000, 4)) * 2
    if several:
        truth = draw.random(scores.shape) < 1 / (1 + np.exp(-scores))
    else:
        shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        truth = np.eye(4)[[draw.choice(4, p=row) for row in shares]]
    return scores * temperature, truth.astype(float)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_is_found_that_makes_confidence_true(temperature, several) -> None:
    scores, truth = _drawn(temperature, several)
    found = fit_temperature(scores, truth, several=several)
    assert found == pytest.approx(temperature, rel=0.1)


def test_the_calibration_error_is_how_far_confidence_is_off() -> None:
    confidence = np.full(1000, 0.9)
    right = np.arange(1000) % 10 < 6
    draw = np.random.default_rng(0).permutation(1000)
    assert expected_calibration_error(confidence, right[draw], bins=1) == pytest.approx(0.3)
    truth = np.eye(2)[[0, 1]]
    assert brier_score(truth, truth) == 0.0
    assert brier_score(1 - truth, truth) == 2.0
    assert calibration_of(truth, truth, several=False).cautions() == ()
    bad = calibration_of(1 - truth, truth, several=False)
    assert "not to be relied on" in bad.cautions()[0]


@given(st.integers(0, 30), st.integers(10, 60), st.integers(0, 99))
def test_a_threshold_gives_the_best_f1_there_is(extra: int, n: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    truth = (np.arange(n + extra) < 10).astype(float)[:, None]
    probabilities = np.round(draw.random((n + extra, 1)), 1)

    def f1(threshold: float) -> float:
        chosen = probabilities >= threshold
        return 2 * float((chosen * truth).sum()) / float(chosen.sum() + truth.sum())

    (found,) = choose_thresholds(probabilities, truth)
    assert f1(found) == pytest.approx(max(f1(bar / 20) for bar in range(21)))


def test_a_rare_label_takes_the_threshold_of_all() -> None:
    draw = np.random.default_rng(1)
    truth = np.zeros((200, 2))
    truth[:100, 0] = 1
    truth[0, 1] = 1
    probabilities = np.clip(truth * 0.5 + draw.random((200, 2)) * 0.4, 0, 1)
    _, rare = choose_thresholds(probabilities, truth)
    pooled, *_ = choose_thresholds(probabilities.reshape(-1, 1), truth.reshape(-1, 1))
    assert rare == pooled
    assert choose_thresholds(probabilities[:, :1], np.zeros((200, 1))) == (0.5,)
