"""Gains in pairs, against published values and against brute force."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, norm

from stepladder.compare import mcnemar, paired_gain, reading, tango
from stepladder.core import Row


def rows_of(values: Sequence[float], groups: Sequence[str] | None = None) -> list[Row]:
    return [
        Row(f"e{i:04}", (("", float(value), 1.0),), groups[i] if groups else None)
        for i, value in enumerate(values)
    ]


def pair(won: int, lost: int, both: int) -> tuple[list[Row], list[Row]]:
    a = [1.0] * won + [0.0] * lost + [1.0] * both
    b = [0.0] * won + [1.0] * lost + [1.0] * both
    return rows_of(a), rows_of(b)


def test_mcnemar_15_against_5() -> None:
    a, b = pair(15, 5, 80)
    gain = paired_gain(a, b, "binary", 0.05, against="few_shot/nearest")
    assert gain.p_value == pytest.approx(0.04139, abs=5e-6)
    assert gain.difference == pytest.approx(0.1)
    assert (gain.against, gain.n, gain.alpha) == ("few_shot/nearest", 100, 0.05)
    assert 0 < gain.low < 0.1 < gain.high


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_binomial_test_of_a_fair_coin(won: int, lost: int) -> None:
    expected = binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert mcnemar(won, lost) == pytest.approx(expected)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 60), st.floats(0.01, 0.3))
@settings(max_examples=40, deadline=None)
def test_tango_ends_where_the_score_test_turns(
    won: int, lost: int, both: int, alpha: float
) -> None:
    """The test statistic is computed here from the likelihood alone, not from the closed form."""
    n = won + lost + both
    low, high = tango(won, lost, n, alpha)
    z = norm.isf(alpha / 2)
    assert low <= (won - lost) / n <= high
    for end, sign in ((low, 1), (high, -1)):
        if abs(end) < 0.999:
            assert _score(won, lost, n, end) == pytest.approx(sign * z, abs=2e-3)


def _score(won: int, lost: int, n: int, delta: float) -> float:
    """(won - lost - n·delta) over its standard deviation at the likeliest rate of losing."""

    def minus_log_likelihood(rate: float) -> float:
        parts = [(won, rate + delta), (lost, rate), (n - won - lost, 1 - 2 * rate - delta)]
        return -sum(count * math.log(max(p, 1e-300)) for count, p in parts if count)

    bounds = (max(0.0, -delta), (1 - delta) / 2)
    found = minimize_scalar(
        minus_log_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-12}
    )
    rate = min([float(found.x), *bounds], key=minus_log_likelihood)
    return float((won - lost - n * delta) / math.sqrt(n * (2 * rate + delta * (1 - delta))))


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 60))
def test_exchanging_the_two_turns_the_interval_round(won: int, lost: int, both: int) -> None:
    n = won + lost + both
    low, high = tango(won, lost, n, 0.05)
    assert tango(lost, won, n, 0.05) == pytest.approx((-high, -low), abs=1e-9)


@pytest.mark.parametrize("scale", ["binary", "bounded", "ratio"])
def test_the_same_answers_gain_nothing_but_do_not_prove_it(scale: str) -> None:
    a = rows_of([1, 0] * 50)
    gain = paired_gain(a, a, scale, 0.05, against="itself")  # type: ignore[arg-type]
    assert gain.difference == 0
    assert gain.low < 0 < gain.high
    assert gain.p_value == 1


def test_pairing_shows_what_two_separate_intervals_could_not() -> None:
    rng = np.random.default_rng(0)
    easy = rng.random(300) * 0.9
    better = easy + rng.random(300) * 0.1  # 0.05 on average; the scores spread by 0.26
    gain = paired_gain(rows_of(better), rows_of(easy), "bounded", 0.05, against="base")
    assert gain.difference == pytest.approx(0.05, abs=0.005)
    assert 0.03 < gain.low < gain.difference < gain.high < 0.07
    assert gain.p_value is not None
    assert gain.p_value < 0.001


def test_ratio_of_sums() -> None:
    a = [Row(f"e{i}", (("all", 4.0, 5.0),)) for i in range(100)]
    b = [Row(f"e{i}", (("all", 2.0, 5.0),)) for i in range(100)]
    gain = paired_gain(a, b, "ratio", 0.05, against="b")
    assert gain.difference == pytest.approx(0.4)
    assert 0.3 < gain.low < 0.4 < gain.high < 0.5


def test_groups_widen_the_interval_and_drop_the_exact_test() -> None:
    rng = np.random.default_rng(1)
    a = np.repeat(rng.random(20) < 0.8, 10).astype(float)
    b = np.repeat(rng.random(20) < 0.5, 10).astype(float)
    documents = [f"d{i // 10}" for i in range(200)]
    alone = paired_gain(rows_of(a), rows_of(b), "binary", 0.05, against="b")
    grouped = paired_gain(rows_of(a, documents), rows_of(b, documents), "binary", 0.05, against="b")
    assert grouped.difference == pytest.approx(alone.difference)
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)
    assert grouped.method == "paired Bayesian bootstrap over groups"
    assert alone.method == "exact McNemar test, Tango score interval"


def test_only_common_examples_count_and_none_is_no_evidence() -> None:
    a, b = rows_of([1] * 10), rows_of([0] * 4)
    assert paired_gain(a, b, "binary", 0.05, against="b").n == 4
    nothing = paired_gain(a, [], "binary", 0.05, against="b")
    assert (nothing.n, nothing.difference, nothing.low, nothing.high) == (0, 0.0, -1.0, 1.0)


def test_a_failed_row_counts_as_wrong() -> None:
    a = rows_of([1] * 20)
    b = [Row(row.id, row.counts, error="timed out") for row in a]
    assert paired_gain(a, b, "binary", 0.05, against="b").difference == 1


def test_nothing_to_find_shows_nothing() -> None:
    empty = [Row(f"e{i}", (("all", 0.0, 0.0),)) for i in range(10)]
    gain = paired_gain(empty, empty, "ratio", 0.05, against="b")
    assert (gain.difference, gain.low, gain.high, gain.p_value) == (0.0, -1.0, 1.0, 1.0)


def test_the_interval_keeps_its_level() -> None:
    """400 samples with a true gain of 0.1; four standard errors of slack around 5 %."""
    rng = np.random.default_rng(2)
    missed = 0
    for _ in range(400):
        u = rng.random(60)
        gain = paired_gain(
            rows_of((u < 0.8) * 1.0), rows_of((u < 0.7) * 1.0), "binary", 0.05, against="b"
        )
        missed += not gain.low <= 0.1 <= gain.high
    assert missed / 400 < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize(
    ("won", "lost", "said"),
    [(9, 0, "better"), (0, 9, "worse"), (3, 3, "cannot tell"), (0, 4, "cannot tell")],
)
def test_a_difference_is_read_from_interval_and_test_together(
    won: int, lost: int, said: str
) -> None:
    gain = paired_gain(*pair(won, lost, 50), "binary", 0.05, against="base")
    assert reading(gain.low, gain.high, gain.p_value, gain.alpha) == said


def test_by_the_interval_alone_four_lost_pairs_would_be_shown_to_be_worse() -> None:
    _, high = tango(0, 4, 64, 0.05)
    assert high < 0
    assert mcnemar(0, 4) == 0.125
