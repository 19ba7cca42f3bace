"""Cost over volume: which lines, and where they meet."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_climb import fake_decision, fake_task

from stepladder.core import Economics
from stepladder.report.cost_charts import cost_curve, sensitivity
from stepladder.report.money import CostLine, break_evens, cost_lines, never_crossed

VOLUMES = [10.0**i for i in range(7)]
money = st.floats(0.01, 1e4)


def line(name: str, fixed: float, per_request: float, chosen: bool = False) -> CostLine:
    return CostLine(name, tuple((v, fixed + per_request * v) for v in VOLUMES), chosen)


@settings(deadline=None)
@given(money, money, money, money)
def test_two_lines_meet_where_they_cost_the_same(a: float, b: float, c: float, d: float) -> None:
    one, other = line("one", a, b / 1e3, chosen=True), line("other", c, d / 1e3)
    for each in break_evens((one, other), 100.0):
        assert one.at(each.volume) == pytest.approx(other.at(each.volume), rel=1e-6)
        cheaper = one if each.cheaper == "one" else other
        dearer = other if cheaper is one else one
        assert cheaper.at(VOLUMES[-1]) < dearer.at(VOLUMES[-1])


def test_the_chosen_line_is_what_others_are_compared_with() -> None:
    tuned, prompt = line("tuned", 100, 0.001, chosen=True), line("prompt", 10, 0.01)
    free = line("free", 1, 0.0)
    (meeting,) = break_evens((prompt, tuned, free), 1_000)
    assert meeting.volume == pytest.approx(10_000)
    assert (meeting.cheaper, meeting.dearer) == ("tuned", "prompt")
    assert never_crossed((prompt, tuned, free), 1_000) == ([], ["free"])


def test_the_chosen_and_the_best_of_each_step_are_drawn_first() -> None:
    lines = cost_lines(fake_decision())
    assert lines[0].name == "fine_tune / lora r=16"
    assert lines[0].chosen
    assert {each.name.split(" / ")[0] for each in lines[:4]} == {
        "baseline", "prompt", "few_shot", "fine_tune",
    }  # fmt: skip


def test_without_a_volume_or_a_price_there_is_no_curve() -> None:
    assert cost_curve(fake_decision(), fake_task(economics=Economics())) is None
    assert cost_curve(fake_decision(ownership=()), fake_task()) is None
    own = fake_decision().ownership[0]
    assert sensitivity(replace(own, sensitivity={})) is None
    assert sensitivity(replace(own, total_dollars_per_month=None)) is None
