"""Budgets with a clock of our own: what fits, what ends a climb, and what cannot be promised."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.budget import Budget
from stepladder.core import Estimate
from stepladder.errors import BudgetExceeded


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def started(*, dollars: float | None = None, minutes: float | None = None) -> tuple[Budget, Clock]:
    clock = Clock()
    budget = Budget(dollars, minutes, clock)
    budget.start()
    return budget, clock


@given(spent=st.lists(st.none() | st.floats(0, 1e6), max_size=20))
def test_without_limits_everything_is_affordable(spent: list[float | None]) -> None:
    budget, clock = started()
    for dollars in spent:
        clock.now += 1e6
        budget.spend(dollars)
        budget.afford("prompt", Estimate(1e9, None, 10))
    assert budget.unpriced == (None in spent)
    assert budget.spent_dollars == pytest.approx(sum(d for d in spent if d is not None))


def test_minutes_are_counted_from_the_start() -> None:
    budget, clock = started(minutes=2)
    clock.now += 119
    budget.check("the climb")
    clock.now += 2
    with pytest.raises(BudgetExceeded, match="budget of 2 minutes is used up") as told:
        budget.check("training")
    assert told.value.message.startswith("training stopped")
    assert "--budget-minutes" in told.value.hint


def test_a_step_has_to_fit_what_time_is_left() -> None:
    budget, clock = started(minutes=10)
    clock.now += 6 * 60
    budget.afford("prompt", Estimate(239, 0.0, 1))
    with pytest.raises(BudgetExceeded, match=r"'fine_tune' is estimated at 5\.0 minutes, 4\.0"):
        budget.afford("fine_tune", Estimate(300, 0.0, 1))


def test_what_is_left_is_never_below_zero() -> None:
    budget, clock = started(minutes=1)
    clock.now += 3600
    with pytest.raises(BudgetExceeded, match=r"0\.0 are left"):
        budget.afford("prompt", Estimate(1, 0.0, 1))


def test_a_step_of_unknown_length_may_start_and_is_stopped_on_the_way() -> None:
    budget, clock = started(minutes=1)
    budget.afford("prompt", Estimate(None, 0.0, 1))
    clock.now += 61
    with pytest.raises(BudgetExceeded):
        budget.spend(0.0)


def test_no_minutes_at_all_stop_the_first_step_that_takes_any() -> None:
    budget, _ = started(minutes=0)
    with pytest.raises(BudgetExceeded, match="'baseline'"):
        budget.afford("baseline", Estimate(0.1, 0.0, 0))


def test_dollars_are_counted_to_the_cent() -> None:
    budget, _ = started(dollars=1.0)
    budget.spend(0.6)
    budget.afford("prompt", Estimate(1, 0.4, 1))
    with pytest.raises(BudgetExceeded, match=r"estimated at \$0\.50, \$0\.40 are left"):
        budget.afford("few_shot", Estimate(1, 0.5, 1))
    with pytest.raises(BudgetExceeded, match=r"\$1\.10 of \$1\.00"):
        budget.spend(0.5)


def test_a_dollar_budget_refuses_calls_without_a_price() -> None:
    budget, _ = started(dollars=1.0)
    with pytest.raises(BudgetExceeded, match="no known price") as told:
        budget.afford("prompt", Estimate(1, None, 5))
    assert "dollars_per_hour" in told.value.hint


@pytest.mark.parametrize("dollars", [None, 0.0])
def test_a_step_without_calls_needs_no_price(dollars: float | None) -> None:
    budget, _ = started(dollars=1.0)
    budget.afford("baseline", Estimate(1, dollars, 0))


def test_unknown_dollars_are_remembered_not_counted_as_nothing() -> None:
    budget, _ = started(dollars=1.0)
    budget.spend(None)
    assert budget.unpriced
    assert budget.spent_dollars == 0


@given(st.lists(st.floats(0, 10), min_size=1, max_size=30), st.floats(0.1, 50))
def test_a_dollar_budget_is_overrun_by_one_piece_of_work_at_most(
    pieces: list[float], limit: float
) -> None:
    budget, _ = started(dollars=limit)
    before = 0.0
    try:
        for piece in pieces:
            before = budget.spent_dollars
            budget.spend(piece)
        assert budget.spent_dollars <= limit
    except BudgetExceeded:
        assert before <= limit < budget.spent_dollars


def test_small_budgets_are_told_in_digits_that_matter() -> None:
    budget, _ = started(dollars=0.001)
    with pytest.raises(BudgetExceeded, match=r"estimated at \$0\.0043, \$0\.0010 are left"):
        budget.afford("prompt", Estimate(1.0, 0.00431, 10))
    with pytest.raises(BudgetExceeded, match=r"\$0\.0020 of \$0\.0010 are spent"):
        budget.spend(0.002)
    with pytest.raises(BudgetExceeded, match=r"\$0 are left"):
        budget.afford("few_shot", Estimate(1.0, 0.5, 10))


def test_calls_of_a_step_that_builds_end_it_when_nothing_is_left() -> None:
    budget, _ = started(dollars=1.0)
    budget.pay(5.0)  # no step builds: a row, which is told to `spend`
    assert budget.spent_dollars == 0.0
    with budget.building():
        budget.pay(0.9)
    assert budget.spent_dollars == 0.0  # the step says what it took
    budget.spend(0.9)

    def build() -> None:
        with budget.building():
            budget.pay(0.05)
            budget.pay(0.15)

    with pytest.raises(BudgetExceeded, match=r"\$1\.10 of \$1\.00"):
        build()
    assert budget.spent_dollars == pytest.approx(1.1)  # it was paid for, though the step failed


def test_the_money_of_a_step_that_fails_is_spent() -> None:
    budget, _ = started(dollars=1.0)

    def build() -> None:
        with budget.building():
            budget.pay(0.4)
            budget.pay(None)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        build()
    assert budget.spent_dollars == pytest.approx(0.4)
    assert budget.unpriced
