"""A dearer model is worth it by what it gains in pairs, what it costs more, and what is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from climbing import number_task
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Candidate, Evaluation, Row, Trial, Upgrade
from stepladder.upgrades import upgrades

TASK = number_task(Path())


@dataclass(frozen=True)
class Asks:
    """As much of a solver as is looked at."""

    model: str | None
    kind: str = "prompt"


def trial(
    model: str | None, right: int, dollars: float | None, n: int = 400, name: str = "plain"
) -> Trial:
    rows = tuple(Row(f"e{i:03}", (("", float(i < right), 1.0),)) for i in range(n))
    evaluation = Evaluation(
        "dev", "accuracy", rows, right / n, 0, 1, 0.05, "exact", n, dollars_per_1000=dollars
    )
    solver: Any = Asks(model)
    return Trial(
        Candidate("prompt", name if model is None else f"{name} {model}", solver), evaluation
    )


def pairs(found: Sequence[Upgrade]) -> list[tuple[str, str]]:
    return [(one.model, one.against_model) for one in found]


def test_what_a_right_answer_must_be_worth_is_the_extra_cost_over_the_gain() -> None:
    flash, pro = trial("g:flash", 300, 0.20), trial("g:pro", 340, 0.82)
    (found,) = upgrades([flash, pro], "binary", TASK)
    assert (found.step, found.name, found.against_name) == (
        "prompt",
        "plain g:pro",
        "plain g:flash",
    )
    assert found.gain.difference == pytest.approx(0.1)
    assert found.dollars_per_1000 == pytest.approx(0.62)
    assert found.dollars_per_success == pytest.approx(0.00062 / 0.1)
    assert found.pays is None


@pytest.mark.parametrize(("worth", "pays"), [(0.0061, False), (0.0063, True)])
def test_at_the_tasks_own_worth_of_a_right_answer_it_pays_or_not(worth: float, pays: bool) -> None:
    valued = replace(TASK, economics=replace(TASK.economics, dollars_per_success=worth))
    both = [trial("g:flash", 300, 0.20), trial("g:pro", 340, 0.82)]
    assert upgrades(both, "binary", valued)[0].pays is pays


def test_no_price_is_put_on_a_gain_that_was_not_shown() -> None:
    (found,) = upgrades([trial("g:flash", 300, 0.2), trial("g:pro", 301, 0.8)], "binary", TASK)
    assert found.gain.low <= 0 < found.gain.difference
    assert (found.dollars_per_success, found.pays) == (None, None)


def test_a_gain_that_only_the_interval_shows_is_not_priced() -> None:
    # 9 won and 2 lost of 130: Tango's interval is just above zero, McNemar's exact p is 0.065
    cheap, dear = trial("g:flash", 60, 0.2, n=130), trial("g:pro", 60, 0.8, n=130)
    won = {f"e{i:03}" for i in range(100, 109)}
    lost = {"e000", "e001"}
    rows = tuple(
        replace(
            row,
            counts=(
                ("", float(row.id in won or (int(row.id[1:]) < 60 and row.id not in lost)), 1.0),
            ),
        )
        for row in dear.evaluation.rows
    )
    dear = replace(dear, evaluation=replace(dear.evaluation, rows=rows))
    (found,) = upgrades([cheap, dear], "binary", TASK)
    assert found.gain.low > 0
    assert found.gain.p_value is not None
    assert found.gain.p_value > 0.05
    assert found.dollars_per_success is None


def test_unknown_dollars_stay_unknown_and_leave_the_order_of_the_ladder() -> None:
    both = [trial("g:flash", 300, None), trial("g:pro", 340, 0.1)]
    (found,) = upgrades(both, "binary", TASK)
    assert pairs([found]) == [("g:pro", "g:flash")]
    assert (found.dollars_per_1000, found.dollars_per_success) == (None, None)


def test_each_model_is_there_with_its_best_trial_that_was_measured_whole() -> None:
    stopped = replace(trial("g:pro", 390, 0.9, name="fast"), stopped_early="slow")
    found = upgrades(
        [
            trial(None, 399, 0.0),
            trial("g:flash", 200, 0.1),
            trial("g:flash", 310, 0.3, name="shown"),
            trial("g:pro", 340, 0.8),
            stopped,
        ],
        "binary",
        TASK,
    )
    assert [(one.name, one.against_name) for one in found] == [("plain g:pro", "shown g:flash")]


def test_a_model_that_racing_stopped_is_compared_on_what_it_answered() -> None:
    stopped = replace(trial("g:pro", 20, 0.9, n=32), stopped_early="slow")
    (found,) = upgrades([trial("g:flash", 300, 0.3), stopped], "binary", TASK)
    assert (found.model, found.gain.n) == ("g:pro", 32)
    assert found.gain.difference < 0


def test_tuned_and_untuned_models_are_compared_with_each_other() -> None:
    found = upgrades(
        [
            trial("g:old", 250, 0.1),
            trial("g:new", 330, 0.5),
            trial("g:pro", 350, 2.0),
            trial("g:old@jobs/1", 345, 0.1),
        ],
        "binary",
        TASK,
    )
    assert pairs(found) == [
        ("g:old@jobs/1", "g:old"),
        ("g:new", "g:old"),
        ("g:new", "g:old@jobs/1"),
        ("g:pro", "g:new"),
        ("g:pro", "g:old@jobs/1"),
    ]
    same_price = found[0]
    assert same_price.dollars_per_1000 == 0.0
    assert same_price.dollars_per_success is None, "it costs nothing more"


@given(st.lists(st.tuples(st.integers(0, 60), st.floats(0, 9)), max_size=6))
def test_what_costs_more_is_never_the_cheaper_side(plan: list[tuple[int, float]]) -> None:
    trials = [trial(f"g:{i}", right, cost, n=60) for i, (right, cost) in enumerate(plan)]
    found = upgrades(trials, "binary", TASK)
    assert len(found) == max(0, len(plan) - 1)
    assert all((one.dollars_per_1000 or 0.0) >= 0 for one in found)
    assert all(one.dollars_per_success is None or one.gain.low > 0 for one in found)
