"""The metrics of calls: which calls are right, how right, what they gave, and what they did."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Example, Output
from stepladder.errors import StepladderError, TaskError
from stepladder.metrics.argument_f1 import ArgumentF1
from stepladder.metrics.call_match import CallMatch
from stepladder.metrics.executed_result import ExecutedResult
from stepladder.metrics.task_success import TaskSuccess


def made(name: str, **arguments: object) -> dict:
    return {"name": name, "arguments": arguments}


RENT = Example(
    "1",
    "x",
    [made("rent", place="Oslo")],
    metadata={
        "acceptable": [
            {"rent": {"place": ["Oslo", "Oslo, Norway"], "days": [3], "pets": [True, ""]}},
            {"rent": {"place": ["Oslo"], "days": [5, ""]}},
            {"walk": {}},
        ]
    },
)
RIGHT = [made("walk"), made("rent", place="oslo norway", days=3.0), made("rent", place="Oslo")]
NONE = Example("2", "x", [])


def score(metric, example: Example, value: object) -> float:
    ((_, numerator, denominator),) = metric.score(example, Output(value))
    return numerator / denominator if denominator else 1.0


@pytest.mark.parametrize(
    ("said", "right"),
    [
        (RIGHT, True),
        (RIGHT[::-1], True),
        ({"calls": RIGHT}, True),
        (RIGHT[:2], False),
        ([*RIGHT, made("walk")], False),
        ([*RIGHT[:2], made("rent", place="Bergen")], False),
        ([*RIGHT[:2], made("rent", place="Oslo", pets=True)], False),  # made up for this one
        ([RIGHT[0], RIGHT[2], made("rent", place="Oslo", days=3, pets=True)], True),
        ([RIGHT[0], RIGHT[2], made("rent", place="Oslo", days=True)], False),
        ([RIGHT[0], RIGHT[2], made("rent", place="Oslo", days="3")], False),
        ([RIGHT[0], RIGHT[2], made("rent", days=3)], False),
        ([], False),
        ("rent a place in Oslo", False),
    ],
)
def test_call_match_takes_what_is_acceptable_in_any_order(said: object, right: bool) -> None:
    assert score(CallMatch(), RENT, said) == right


def test_calls_that_could_be_taken_for_two_are_paired_the_best_way() -> None:
    """The first fits both expected calls, the second only the one the first could take."""
    example = Example(
        "1", "x", [], metadata={"acceptable": [{"f": {"a": [1]}}, {"f": {"a": [1, 2]}}]}
    )
    assert score(CallMatch(), example, [made("f", a=2), made("f", a=1)]) == 1
    assert score(CallMatch(), example, [made("f", a=1), made("f", a=2)]) == 1
    assert score(CallMatch(), example, [made("f", a=2), made("f", a=2)]) == 0


@pytest.mark.parametrize("said", [[], {"name": "none"}, {"calls": []}, [made("None")]])
def test_no_call_is_right_where_none_is_expected(said: object) -> None:
    for expected in ([], {"name": "none"}):
        assert score(CallMatch(), Example("1", "x", expected), said) == 1
        assert score(CallMatch(), Example("1", "x", expected), [made("f")]) == 0
    assert CallMatch().score(NONE, Output(None, error="away")) == (("all", 0.0, 1.0),)


def test_name_and_decision_look_at_less() -> None:
    wrong = [made("rent"), made("walk"), made("rent", place="Rome")]
    assert score(CallMatch("name"), RENT, wrong) == 1
    assert score(CallMatch("name"), RENT, wrong[:2]) == 0
    assert score(CallMatch("decision"), RENT, [made("fly")]) == 1
    assert score(CallMatch("decision"), RENT, []) == 0
    assert score(CallMatch("decision"), NONE, [made("fly")]) == 0


@pytest.mark.parametrize(
    ("strings", "said", "right"),
    [
        ("exact", "Santa Cruz", True), ("exact", "santa cruz", False),
        ("case", "santa  CRUZ", True), ("case", "Santa-Cruz", False),
        ("loose", "santa-cruz.", True), ("loose", "santa crux", False),
    ],
)  # fmt: skip
def test_strings_are_compared_as_told(strings: str, said: str, right: bool) -> None:
    example = Example("1", "x", made("go", to="Santa Cruz"))
    assert score(CallMatch(strings=strings), example, made("go", to=said)) == right


def test_fields_of_an_object_list_what_is_accepted_for_them() -> None:
    acceptable = [{"f": {"area": [{"width": [20, 20.5], "unit": ["m", ""]}], "of": [[{"a": [1]}]]}}]
    example = Example("1", "x", [], metadata={"acceptable": acceptable})
    assert score(CallMatch(), example, made("f", area={"width": 20}, of=[{"a": 1}])) == 1
    assert score(CallMatch(), example, made("f", area={"width": 21}, of=[{"a": 1}])) == 0
    assert score(CallMatch(), example, made("f", area={"width": 20}, of=[{"a": 2}])) == 0
    assert score(CallMatch(), example, made("f", area={"unit": "m"}, of=[{"a": 1}])) == 0


def test_a_field_that_lists_no_calls_is_refused_with_its_place() -> None:
    for wrong in ({"f": {}}, [{"f": {}, "g": {}}], [{"f": {"a": 1}}], ["f"]):
        example = Example("1", "x", [], metadata={"acceptable": wrong}, source="rows.jsonl:3")
        with pytest.raises(TaskError, match=r"rows\.jsonl:3"):
            CallMatch().score(example, Output([]))


@pytest.mark.parametrize(
    ("expected", "said", "counts"),
    [
        ([made("f", a=1, b=2)], [made("f", a=1, b=3)], (2.0, 4.0)),
        ([made("f", a=1, b=2)], [made("f", a=1)], (2.0, 3.0)),
        ([made("f", a=1)], [made("f", a=1, c=9)], (2.0, 3.0)),
        ([made("f", a=1)], [made("g", a=1)], (0.0, 2.0)),
        ([made("f")], [], (0.0, 1.0)),
        ([], [made("f")], (0.0, 1.0)),
        ([], [], (0.0, 0.0)),
        ([made("f")], [made("f")], (0.0, 0.0)),
        ([made("f", a=1), made("f", a=2)], [made("f", a=2), made("f", a=1)], (4.0, 4.0)),
    ],
)
def test_argument_f1_counts_hits(expected: list, said: list, counts: tuple) -> None:
    ((_, *found),) = ArgumentF1().score(Example("1", "x", expected), Output(said))
    assert tuple(found) == counts


def test_what_may_be_left_out_is_not_missed_by_argument_f1() -> None:
    assert score(ArgumentF1(), RENT, RIGHT) == 1
    ((_, hits, total),) = ArgumentF1().score(RENT, Output(None, error="away"))
    assert (hits, total) == (0.0, 2 + 1 + 1)


ARGUMENTS = st.dictionaries(st.sampled_from("abc"), st.integers(0, 2), max_size=3)
CALLS = st.lists(
    st.builds(lambda n, a: made(n, **a), st.sampled_from(["f", "g"]), ARGUMENTS), max_size=4
)


@given(CALLS, CALLS)
def test_the_two_agree_on_what_is_whole(expected: list, said: list) -> None:
    example = Example("1", "x", expected)
    match, f1 = score(CallMatch(), example, said), score(ArgumentF1(), example, said)
    assert 0 <= f1 <= 1
    assert match == score(CallMatch(), example, said[::-1])
    assert match <= f1
    assert (match == 1) == (f1 == 1)


def ran(name: str, result: object = None, state: str = "done", **more: object) -> dict:
    return {"name": name, "arguments": {}, "state": state, "result": result, **more}


def test_executed_results_are_looked_for_among_those_had() -> None:
    example = Example("1", "x", None, metadata={"results": [0.3, ["a"]]})
    had = [ran("f", ["a"]), ran("g", 0.1 + 0.2), ran("h", "more")]
    assert score(ExecutedResult(), example, {"calls": had}) == 1
    assert score(ExecutedResult(only=True), example, {"calls": had}) == 0
    assert score(ExecutedResult(only=True), example, {"calls": had[:2]}) == 1
    assert score(ExecutedResult(tolerance=0), example, {"calls": had}) == 0
    failed = [had[0], {**had[1], "state": "failed"}]
    assert score(ExecutedResult(), example, {"calls": failed}) == 0
    assert score(ExecutedResult(), example, []) == 0

    with pytest.raises(TaskError, match="no list of expected results in 'results'"):
        ExecutedResult().score(NONE, Output({"calls": []}))
    with pytest.raises(StepladderError, match="tolerance"):
        ExecutedResult(tolerance=1.5)


def test_calls_that_were_only_predicted_are_no_merit_where_nothing_was_to_be_done() -> None:
    none = Example("1", "Hello.", [], metadata={"results": []})
    assert score(ExecutedResult(only=True), none, []) == 1
    assert score(ExecutedResult(only=True), none, {"calls": []}) == 1
    assert score(ExecutedResult(only=True), none, [{"name": "f", "arguments": {}}]) == 0
    assert score(ExecutedResult(only=True), none, {"name": "f", "arguments": {}}) == 0


BOOK = Example("1", "x", [made("book")], metadata={"says": ["booked", 7]})


@pytest.mark.parametrize(
    ("calls", "answer", "right"),
    [
        ([ran("look", side_effects=False), ran("book")], "Seat 7 is BOOKED.", True),
        ([ran("book", state="recorded")], "Booked: 7.", True),
        ([ran("book", state="refused")], "Booked: 7.", False),
        ([ran("book", state="failed"), ran("book")], "Booked: 7.", True),
        ([ran("book"), ran("book")], "Booked: 7.", False),
        ([ran("book"), ran("cancel")], "Booked: 7.", False),
        ([ran("book")], "Booked.", False),
        ([ran("book")], None, False),
        ([], "Booked: 7.", False),
    ],
)
def test_a_task_succeeds_when_that_was_done_and_nothing_else(
    calls: list, answer: str | None, right: bool
) -> None:
    assert score(TaskSuccess(), BOOK, {"calls": calls, "answer": answer}) == right


def test_an_answer_alone_is_no_success() -> None:
    assert score(TaskSuccess(), BOOK, "Booked: 7.") == 0
