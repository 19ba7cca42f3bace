"""The charts as data: every trial has its mark, the unknown has none, and colours are names."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from made_up_climb import fake_decision, fake_task

from stepladder.core import Decision, LearningPoint
from stepladder.report.charts import forest, frontier, frontier_measure, gains, learning

NOTHING = Decision("blocked", "", None, ())


def rows_of(spec: dict[str, Any] | None, place: int | None = None) -> list[dict[str, Any]]:
    assert spec is not None
    where = spec if place is None else spec["layer"][place]
    return list(where["data"]["values"])


def with_scores(**changes: Any) -> Decision:
    decision = fake_decision(chosen=None)
    trials = [replace(t, evaluation=replace(t.evaluation, **changes)) for t in decision.trials]
    return replace(decision, trials=tuple(trials))


def test_the_forest_has_a_line_per_trial_and_per_opening() -> None:
    decision = fake_decision()
    rows = rows_of(forest(decision, fake_task()))
    assert len(rows) == len(decision.trials) + len(decision.confirmations)
    states = [row["state"] for row in rows]
    assert states.count("chosen") == 1
    assert states.count("stopped early") == 4
    assert states.count("sealed test") == 2


def test_names_that_are_alike_once_shortened_keep_their_own_lines() -> None:
    decision = fake_decision(confirmations=())
    trial = decision.trials[0]
    twins = tuple(
        replace(trial, candidate=replace(trial.candidate, name="x" * 100 + str(i)))
        for i in range(3)
    )
    names = [row["name"] for row in rows_of(forest(replace(decision, trials=twins), fake_task()))]
    assert len(set(names)) == 3


def test_nothing_measured_draws_nothing() -> None:
    assert forest(NOTHING, fake_task()) is None
    assert gains(NOTHING) is None
    assert frontier(NOTHING, fake_task()) is None
    assert learning(()) is None


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({}, "dollars_per_1000"),
        ({"dollars_per_1000": None}, "p50_seconds"),
        ({"dollars_per_1000": None, "p50_seconds": math.nan}, "input_tokens"),
    ],
)
def test_the_frontier_is_over_what_is_known(changes: dict[str, Any], field: str) -> None:
    decision = with_scores(**changes)
    assert frontier_measure(decision.trials)[0] == field
    assert frontier(decision, fake_task()) is not None


def test_the_frontier_joins_only_what_nothing_cheaper_beats() -> None:
    spec = frontier(fake_decision(), fake_task())
    line = rows_of(spec, 2)
    scores, costs = [row["score"] for row in line], [row["cost"] for row in line]
    assert scores == sorted(scores)
    assert costs == sorted(costs)
    assert not any(row["state"] == "stopped early" for row in line)


def test_scores_that_are_not_numbers_are_null_and_all_specs_are_json() -> None:
    decision = with_scores(score=math.nan, high=math.inf)
    for spec in (forest(decision, fake_task()), frontier(decision, fake_task()), gains(decision)):
        json.dumps(spec, allow_nan=False)


def test_a_long_training_is_thinned_but_keeps_every_held_out_point() -> None:
    trial = fake_decision().trials[-1]
    curve = tuple(
        LearningPoint(i, i / 100, 1.0, 0.9 if i % 500 == 0 else None) for i in range(10_001)
    )
    long = replace(trial, candidate=replace(trial.candidate, learning=curve))
    spec = learning([long])
    rows = rows_of(spec, 0)
    assert len([row for row in rows if row["set"] == "held out"]) == 21
    assert len(rows) < 400


def test_colours_are_names_of_the_style_sheet() -> None:
    text = json.dumps([forest(fake_decision(), fake_task()), gains(fake_decision())])
    assert '"@good"' in text
    assert "#" not in text
