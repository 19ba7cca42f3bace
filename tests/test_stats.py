"""Bounds against published values, against brute force, and against their own promise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom

from stepladder.core import Counts, Row
from stepladder.errors import StepladderError
from stepladder.stats import (
    aggregate,
    alpha_for_opening,
    examples_needed,
    interval,
    least_n,
    lower_bound,
    p95_upper,
    rows_lower_bound,
)
from stepladder.units import Scale

SCALES: tuple[Scale, ...] = ("binary", "bounded", "ratio")


def right_of(right: int, n: int) -> list[Counts]:
    return values_of([1.0] * right + [0.0] * (n - right))


def values_of(values: Sequence[float]) -> list[Counts]:
    return [(("", float(value), 1.0),) for value in values]


# --- aggregate ----------------------------------------------------------------------------------


def test_aggregate_is_the_mean_over_strata_of_ratios_of_sums() -> None:
    counts = [(("a", 2.0, 2.0), ("b", 0.0, 1.0)), (("a", 0.0, 2.0),), (("b", 2.0, 3.0),)]
    assert aggregate(counts) == pytest.approx((2 / 4 + 2 / 4) / 2)


def test_no_evidence_is_no_success() -> None:
    nothing: list[Counts] = [(("all", 0.0, 0.0),)] * 5
    assert aggregate([]) == aggregate(nothing) == 0.0
    assert aggregate([*nothing, (("all", 1.0, 1.0),)]) == 1.0
    for counts in ([], nothing):
        found = interval(counts, "ratio", 0.05)
        assert (found.score, found.low, found.high) == (0.0, 0.0, 1.0)
    empty = interval([], "binary", 0.05)
    assert (empty.score, empty.low, empty.high) == (0.0, 0.0, 1.0)


# --- values from the literature and by brute force ----------------------------------------------


@pytest.mark.parametrize(
    ("right", "n", "alpha", "low"),
    [(85, 98, 0.05, 0.79739), (450, 500, 0.05, 0.87513), (270, 300, 0.025, 0.86033)],
)
def test_clopper_pearson(right: int, n: int, alpha: float, low: float) -> None:
    found = lower_bound(right_of(right, n), "binary", alpha)
    assert found.low == pytest.approx(low, abs=5e-6)
    assert (found.high, found.score) == (1.0, right / n)
    assert found.method == "Clopper-Pearson (exact)"
    assert binom.sf(right - 1, n, found.low) == pytest.approx(alpha)  # its definition


def test_two_sided_intervals_are_two_bounds_at_half_of_alpha() -> None:
    found = interval(right_of(85, 98), "binary", 0.05)
    assert found.low == pytest.approx(beta.ppf(0.025, 85, 14))
    assert found.high == pytest.approx(beta.ppf(0.975, 86, 13))


def test_the_bootstrap_with_a_wrong_unit_is_clopper_pearson_on_right_and_wrong() -> None:
    for right, n in [(85, 98), (98, 98), (45, 50), (3, 50)]:
        exact = lower_bound(right_of(right, n), "binary", 0.05).low
        drawn = lower_bound(right_of(right, n), "ratio", 0.05).low
        assert drawn == pytest.approx(exact, abs=0.004)


@given(st.integers(1, 400), st.floats(0.001, 0.2))
@settings(max_examples=40, deadline=None)
def test_p95_bound_is_the_first_order_statistic_that_is_seldom_too_low(
    n: int, alpha: float
) -> None:
    ranks = [k for k in range(1, n + 1) if binom.sf(k - 1, n, 0.95) <= alpha]
    expected = float(ranks[0]) if ranks else math.inf
    assert p95_upper(list(range(n, 0, -1)), alpha) == expected


def test_p95_of_answers_that_never_came() -> None:
    assert p95_upper([1.0] * 58, 0.05) == math.inf
    assert p95_upper([1.0] * 59, 0.05) == 1.0
    assert p95_upper([1.0] * 58 + [None], 0.05) == math.inf
    assert p95_upper([], 0.05) == math.inf


# --- how many examples --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "target", "once", "one_of_four"),
    [(0.90, 0.85, 304, 454), (0.88, 0.85, 864, 1307), (0.95, 0.90, 203, 308)],
)
def test_examples_needed_is_where_power_stays(
    score: float, target: float, once: int, one_of_four: int
) -> None:
    assert examples_needed(target, score, 0.05) == once
    assert examples_needed(target, score, 0.0125) == one_of_four
    n = np.arange(once - 1, once + 300)[:, None]
    right = np.arange(once + 300)[None, :]
    critical = (binom.sf(right - 1, n, target) <= 0.05).argmax(axis=1)
    powers = binom.sf(critical - 1, n[:, 0], score)
    assert powers[0] < 0.8 <= powers[1:].min()


def test_examples_needed_knows_when_none_are_enough() -> None:
    assert examples_needed(0.85, 0.85, 0.05) is None
    assert examples_needed(0.85, 0.80, 0.05) is None
    assert examples_needed(0.85, 0.8501, 0.05) is None
    assert examples_needed(0.85, 1.0, 0.05) == 19
    assert examples_needed(0.0, 0.5, 0.05) == 1


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("target", [0.5, 0.7, 0.9])
def test_least_n_is_the_first_at_which_perfection_suffices(scale: Scale, target: float) -> None:
    least = least_n(target, 0.05, scale)
    assert least is not None
    assert lower_bound(right_of(least, least), scale, 0.05).low >= target
    assert lower_bound(right_of(least - 1, least - 1), scale, 0.05).low < target


def test_least_n_at_the_ends() -> None:
    assert least_n(0.85, 0.05) == 19
    assert least_n(1.0, 0.05) is None
    assert least_n(0.0, 0.05) == 1
    assert least_n(0.999999, 0.05, "ratio") is None


@given(st.floats(0.001, 0.5), st.integers(1, 60))
def test_openings_never_spend_more_than_alpha(alpha: float, openings: int) -> None:
    levels = [alpha_for_opening(alpha, j) for j in range(1, openings + 1)]
    assert math.fsum(levels) <= alpha
    assert levels[0] == alpha / 2
    with pytest.raises(ValueError, match="from 1"):
        alpha_for_opening(alpha, 0)


# --- properties of every bound ------------------------------------------------------------------


@pytest.mark.parametrize("scale", SCALES)
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.floats(0.001, 0.4))
def test_bounds_enclose_the_score_and_grow_with_success(
    scale: Scale, right: int, wrong: int, alpha: float
) -> None:
    n = right + wrong
    found = interval(right_of(right, n), scale, alpha)
    assert 0 <= found.low <= found.score <= found.high <= 1
    once = lower_bound(right_of(right, n), scale, alpha)
    assert found.low <= once.low + 1e-9
    if scale != "bounded":  # a betting bound also depends on the order, which n decides
        assert once.low <= lower_bound(right_of(right + 1, n + 1), scale, alpha).low + 0.02


@pytest.mark.parametrize("scale", SCALES)
def test_perfection_and_failure_leave_room_for_doubt(scale: Scale) -> None:
    best, worst = (interval(right_of(right, 30), scale, 0.05) for right in (30, 0))
    assert 0.8 < best.low < 0.95
    assert best.high == 1
    assert 0.05 < worst.high < 0.2
    assert worst.low == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("scale", SCALES)
def test_one_group_shows_next_to_nothing(scale: Scale) -> None:
    found = lower_bound(right_of(100, 100), scale, 0.05, groups=["one"] * 100)
    assert found.low < 0.1


@pytest.mark.parametrize("scale", SCALES)
def test_groups_widen_and_single_groups_do_not(scale: Scale) -> None:
    counts = right_of(80, 100)
    alone = lower_bound(counts, scale, 0.05)
    single = lower_bound(counts, scale, 0.05, groups=[f"g{i}" for i in range(100)])
    none = lower_bound(counts, scale, 0.05, groups=[None] * 100)
    grouped = lower_bound(counts, scale, 0.05, groups=[f"g{i // 5}" for i in range(100)])
    assert alone == single == none
    assert grouped.low < alone.low
    assert "groups" in grouped.method


def test_the_same_seed_gives_the_same_bound() -> None:
    counts = values_of(np.random.default_rng(0).random(200).tolist())
    for scale in ("bounded", "ratio"):
        assert lower_bound(counts, scale, 0.05, seed=3) == lower_bound(counts, scale, 0.05, seed=3)
        assert lower_bound(counts, scale, 0.05) != lower_bound(counts, scale, 0.05, seed=3)


def test_rows_count_whatever_order_they_finished_in_and_failures_are_wrong() -> None:
    rng = np.random.default_rng(0)
    rows = [Row(f"e{i}", (("", float(v), 1.0),)) for i, v in enumerate(rng.random(100))]
    shuffled = [rows[i] for i in rng.permutation(100)]
    assert rows_lower_bound(rows, "bounded", 0.05) == rows_lower_bound(shuffled, "bounded", 0.05)
    failed = [Row("x", (("", 1.0, 1.0),), error="refused"), Row("y", (("", 1.0, 1.0),))]
    assert rows_lower_bound(failed, "bounded", 0.05).score == 0.5


def test_an_example_without_counts_is_wrong_not_left_out() -> None:
    assert lower_bound([*right_of(9, 9), ()], "binary", 0.05).score == 0.9
    assert lower_bound([*right_of(9, 9), ()], "bounded", 0.05).score == 0.9


@pytest.mark.parametrize(
    ("counts", "scale"),
    [
        ([(("", 0.5, 1.0),)], "binary"),
        ([(("", 1.0, 2.0),)], "bounded"),
        ([(("a", 1.0, 1.0), ("b", 1.0, 1.0))], "binary"),
        ([(("", 2.0, 1.0),)], "ratio"),
        ([(("", -1.0, 1.0),)], "ratio"),
        ([(("", math.nan, 1.0),)], "ratio"),
    ],
)
def test_counts_that_do_not_fit_the_scale_are_refused(counts: list[Counts], scale: Scale) -> None:
    with pytest.raises(StepladderError, match="a metric") as caught:
        lower_bound(counts, scale, 0.05)
    assert "score" in caught.value.hint


def test_groups_must_match_the_examples() -> None:
    with pytest.raises(ValueError, match="2 examples but 1 groups"):
        lower_bound(right_of(1, 2), "binary", 0.05, groups=["a"])


# --- the promise, by simulation -----------------------------------------------------------------


@pytest.mark.parametrize("level", [0.05, 0.0125])
def test_the_betting_bound_is_too_high_no_more_often_than_alpha(level: float) -> None:
    """300 samples of a skewed score; four standard errors of slack."""
    rng = np.random.default_rng(5)
    samples = rng.beta(2.7, 0.3, (300, 80))  # mean 0.9, many near 1
    lows = [lower_bound(values_of(one), "bounded", level).low for one in samples]
    assert np.mean(np.array(lows) > 0.9) <= level + 4 * math.sqrt(level * (1 - level) / 300)
    assert np.mean(lows) > 0.8  # and it is of use


def test_a_level_finer_than_the_draws_can_show_shows_nothing() -> None:
    assert lower_bound(right_of(90, 100), "ratio", 1e-7).low == 0.0


def test_a_large_set_takes_the_pooled_way_to_the_same_bound() -> None:
    """5,000 units are dealt into 2,000 blocks; on right/wrong the exact bound is known."""
    counts = right_of(4500, 5000)
    exact = lower_bound(counts, "binary", 0.025).low
    assert lower_bound(counts, "ratio", 0.025).low == pytest.approx(exact, abs=0.001)
