"""Which failing examples the report shows: bounded, spread over the kinds, the same every time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_climb import fake_decision, fake_run

from stepladder.core import Decision
from stepladder.report.failures import compared_trials, failing_examples, readable

KINDS = st.sampled_from([None, "wrong label", "empty", "did not parse"])


def rows_from(kinds: list[list[str | None]]) -> Any:
    """A rows function in which the chosen trial, then all others, fail as told."""

    def rows(step: str, name: str, which: str) -> Iterator[dict[str, Any]]:
        mine = kinds[0 if (step, name) == ("fine_tune", "lora r=16") else 1]
        for index, kind in enumerate(mine):
            yield {"id": str(index), "input": f"text {index}", "expected": "a", "text": "b",
                   "value": None, "failure": kind, "error": None, "group": None}  # fmt: skip

    return rows


@settings(max_examples=40, deadline=None)
@given(st.lists(KINDS, max_size=60), st.lists(KINDS, max_size=60), st.integers(1, 20))
def test_the_sample_is_bounded_honest_and_repeatable(
    first: list[str | None], second: list[str | None], limit: int
) -> None:
    rows = rows_from([first, second])
    found = failing_examples(fake_decision(), rows, limit=limit)
    failing = {i for mine in (first, second) for i, kind in enumerate(mine) if kind}
    assert found.total == len(failing)
    assert len(found.cases) == min(limit, len(failing))
    assert {int(case.id) for case in found.cases} <= failing
    assert failing_examples(fake_decision(), rows, limit=limit) == found


def test_rare_kinds_are_not_crowded_out() -> None:
    kinds: list[str | None] = ["wrong label"] * 500 + ["empty"] * 3
    found = failing_examples(fake_decision(), rows_from([kinds, []]), limit=10)
    shown = [case.answers[0].kind for case in found.cases if case.answers[0]]
    assert shown.count("empty") == 3


def test_every_compared_solver_answers_the_same_examples() -> None:
    found = failing_examples(fake_decision(), fake_run()["rows"], limit=20)
    assert [trial.candidate.name for trial in found.trials[:2]] == ["lora r=16", "nearest k=20"]
    assert all(len(case.answers) == len(found.trials) for case in found.cases)
    assert all(any(each and each.kind for each in case.answers[:2]) for case in found.cases)


def test_the_chosen_and_the_one_it_beat_come_first() -> None:
    names = [trial.candidate.name for trial in compared_trials(fake_decision())]
    assert names[:2] == ["lora r=16", "nearest k=20"]
    assert "linear" in names
    assert not any(trial.stopped_early for trial in compared_trials(fake_decision()))


def test_without_rows_or_trials_there_is_nothing_to_show() -> None:
    assert failing_examples(fake_decision(), None).cases == ()
    nothing = Decision("blocked", "no model", None, ())
    assert failing_examples(nothing, fake_run()["rows"]).trials == ()


def test_hundreds_of_kinds_do_not_fill_the_page() -> None:
    kinds: list[str | None] = [f"kind {i}" for i in range(300)]
    found = failing_examples(fake_decision(), rows_from([kinds, []]), limit=50)
    assert len(found.kinds) <= 21
    assert len(found.cases) == 50


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        (None, ""),
        ({"a": "x", "b": 2}, "a: x\nb: 2"),
        ([{"role": "user", "content": "hi"}], "user: hi"),
        ([{"role": "user", "content": [{"kind": "text", "text": "hi"},
                                       {"kind": "image", "uri": "a.png"}]}],
         "user: hi [image: a.png]"),
        ([{"text": "x"}], "- text: x"),
        ([1, 2], "1; 2"),
        ([], "(none)"),
        ([{}], "- (none)"),
        ({"events": [{"drug": ["a", "b"], "on": True}, {"drug": []}], "n": {"x": 1}},
         "events:\n  - drug: a; b\n    on: true\n  - drug: (none)\nn:\n  x: 1"),
    ],
)  # fmt: skip
def test_inputs_of_every_shape_are_readable(value: Any, text: str) -> None:
    assert readable(value) == text


def test_rows_are_read_as_streams() -> None:
    live = 0

    def rows(step: str, name: str, which: str) -> Iterable[dict[str, Any]]:
        nonlocal live
        for index in range(2_000):
            live += 1
            yield {"id": str(index), "input": "x" * 10_000, "expected": "", "failure": "empty"}

    found = failing_examples(fake_decision(), rows, limit=5)
    assert len(found.cases) == 5
    assert all(len(case.input) < 2_100 for case in found.cases)
    assert live == 2_000 * (2 + len(found.trials))


def test_what_was_said_is_shown_only_where_it_says_more_than_the_answer() -> None:
    said = ['{"a": [1]}', 'Sure: {"a": [1]}', '{ "a":[1] }']

    def rows(step: str, name: str, which: str) -> Iterator[dict[str, Any]]:
        for index, text in enumerate(said):
            yield {"id": str(index), "input": "x", "expected": {"a": []}, "text": text,
                   "value": {"a": [1]}, "failure": "wrong items"}  # fmt: skip

    cases = {case.id: case for case in failing_examples(fake_decision(), rows).cases}
    shown = [each.said for i in range(3) if (each := cases[str(i)].answers[0])]
    assert shown == ["", 'Sure: {"a": [1]}', ""]


def test_in_a_climb_of_one_step_the_runner_up_stands_beside_the_best() -> None:
    decision = fake_decision()
    floor = decision.trials[:3]
    one_step = Decision("not_met", "too weak", None, floor)
    names = [trial.candidate.name for trial in compared_trials(one_step)]
    assert names[:2] == ["linear", "nearest"]


def test_a_nest_of_lists_is_cut_short_not_crashed_on() -> None:
    nest: Any = "x"
    for _ in range(400):
        nest = [nest]
    assert readable(nest).startswith("- - - ")
