"""The power law through scores: found where it is true, honest where it is not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core import Counts, Economics
from stepladder.errors import NotApplicable
from stepladder.labels.curve import Measured, backtest, fit_curve
from stepladder.labels.payback import labels_for, payback

SIZES = (32, 64, 128, 256, 512, 1024)


def law(n: int, limit: float = 0.9, drop: float = 2.0, decay: float = 0.5) -> float:
    return limit - drop * n**-decay


def scored(share: float, dev: int, seed: int) -> list[Counts]:
    """Binary counts of a solver that is right on about this share of dev."""
    right = np.random.default_rng(seed).random(dev) < share
    return [(("", float(one), 1.0),) for one in right]


def curve_of(dev: int, seed: int, sizes: tuple[int, ...] = SIZES, repeats: int = 2, **of: float):
    return [
        Measured(n, repeat, scored(law(n, **of), dev, 1000 * seed + 10 * n + repeat))
        for n in sizes
        for repeat in range(repeats)
    ]


def test_a_true_law_is_found_again_beyond_what_was_measured() -> None:
    curve = fit_curve(curve_of(dev=4000, seed=1), "binary")
    for n in (128, 1024, 4096):
        guess = curve.at(n)
        assert guess.low < law(n) < guess.high
        assert guess.score == pytest.approx(law(n), abs=0.03)


@pytest.mark.slow
def test_intervals_hold_about_as_often_as_they_say() -> None:
    """On 60 draws of a world with a true law, 90 % intervals at four times the data."""
    held = 0
    for seed in range(60):
        guess = fit_curve(curve_of(dev=300, seed=seed), "binary", seed=seed).at(4096)
        held += guess.low <= law(4096) <= guess.high
    assert held >= 48  # of 54 expected; fewer than 48 has a chance of 1 in 100


def test_more_dev_examples_make_the_guess_narrower() -> None:
    def width(dev: int) -> float:
        guess = fit_curve(curve_of(dev=dev, seed=3), "binary").at(4096)
        return guess.high - guess.low

    assert width(8000) < width(200)


@settings(max_examples=30, deadline=None)
@given(
    scores=st.lists(st.floats(0, 1), min_size=4, max_size=6),
    seed=st.integers(0, 5),
)
def test_whatever_was_measured_no_draw_promises_more_than_one_or_falls(
    scores: list[float], seed: int
) -> None:
    measured = [
        Measured(16 * 2**k, 0, scored(share, 40, seed + k)) for k, share in enumerate(scores)
    ]
    curve = fit_curve(measured, "binary", seed=seed)
    assert (curve.limit <= 1.0 + 1e-12).all()
    assert (curve.drop >= 0.0).all()
    guess = curve.at(100_000)
    assert 0.0 <= guess.low <= guess.score <= guess.high <= 1.0


def test_a_flat_curve_promises_nothing() -> None:
    flat = [Measured(n, 0, scored(0.7, 3000, n)) for n in SIZES]
    curve = fit_curve(flat, "binary")
    assert float(np.median(curve.gain(1024, 4096))) < 0.01
    assert labels_for(curve, 1024, 0.9)[1] is None


def test_the_backtest_tells_of_a_curve_that_is_no_power_law() -> None:
    usual = backtest(curve_of(dev=2000, seed=4), "binary")
    assert usual is not None
    assert usual[0].low <= usual[1] <= usual[0].high
    jump = [Measured(n, 0, scored(0.3 if n < 1024 else 0.9, 2000, n)) for n in SIZES]
    missed = backtest(jump, "binary")
    assert missed is not None
    assert not missed[0].low <= missed[1] <= missed[0].high


def test_too_few_sizes_and_different_dev_sets_are_refused() -> None:
    with pytest.raises(NotApplicable, match="4 sizes of train, not 3"):
        fit_curve(curve_of(dev=50, seed=0, sizes=(16, 32, 64)), "binary")
    mixed = [*curve_of(dev=50, seed=0), Measured(2048, 0, scored(0.9, 51, 1))]
    with pytest.raises(NotApplicable, match="same dev examples"):
        fit_curve(mixed, "binary")


def test_examples_of_one_group_count_as_one() -> None:
    """Ten copies of each dev example are no more evidence than one of each."""

    def width(copies: int) -> float:
        measured = [
            Measured(one.examples, one.repeat, [c for c in one.counts for _ in range(copies)])
            for one in curve_of(dev=100, seed=5)
        ]
        groups = [str(n) for n in range(100) for _ in range(copies)]
        guess = fit_curve(measured, "binary", groups=groups).at(2048)
        return guess.high - guess.low

    assert width(10) == pytest.approx(width(1), rel=0.05)


PAID = Economics(requests_per_month=1000, dollars_per_success=0.5, dollars_per_label=2.0)


def test_labels_pay_back_at_the_tasks_own_prices() -> None:
    curve = fit_curve(curve_of(dev=4000, seed=6), "binary")
    found = payback(curve, 1024, 1024, PAID)
    assert found.dollars == 2048.0
    low, middle, high = found.gain
    assert low < law(2048) - law(1024) < high
    assert found.dollars_per_month == pytest.approx((500 * low, 500 * middle, 500 * high))
    assert found.months is not None
    assert found.months[1] == pytest.approx(2048 / (500 * middle))
    assert found.months[0] <= found.months[1] <= found.months[2]


def test_what_is_not_priced_stays_unknown() -> None:
    curve = fit_curve(curve_of(dev=400, seed=7), "binary")
    found = payback(curve, 1024, 100, Economics(dollars_per_label=2.0))
    assert found.dollars == 200.0
    assert found.dollars_per_month is None
    assert found.months is None
    assert payback(curve, 1024, 100, Economics()).dollars is None


def test_a_gain_that_may_be_nothing_may_never_pay_back() -> None:
    flat = [Measured(n, 0, scored(0.7, 3000, n)) for n in SIZES]
    found = payback(fit_curve(flat, "binary"), 1024, 1024, PAID)
    assert found.months is not None
    assert found.months[2] == float("inf")


def test_how_many_labels_the_target_takes() -> None:
    curve = fit_curve(curve_of(dev=8000, seed=8), "binary")
    likely, safely = labels_for(curve, 1024, 0.86)  # the law is there at 2500 examples
    assert likely is not None
    assert 600 < likely < 3500
    assert safely is None or safely >= likely
    likely, safely = labels_for(curve, 1024, 0.842)  # and here at 1189
    assert likely is not None
    assert safely is not None
    assert likely <= safely
    assert labels_for(curve, 1024, 0.5) == (0, 0)
    assert labels_for(curve, 1024, 0.99) == (None, None)
