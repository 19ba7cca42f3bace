"""The served endpoint is compared with the trial; what noise cannot explain blocks."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.bundles.served import MOST, SHOWN, NotServed, Reply, check_served, said
from stepladder.core import Input
from stepladder.errors import StepladderError
from stepladder.metrics.accuracy import Accuracy
from stepladder.metrics.call_match import CallMatch
from stepladder.metrics.token_f1 import TokenF1

LABELS = ("a", "b")


def row(number: int, value: Any = "a", expected: Any = "a", **more: Any) -> dict[str, Any]:
    text = value if isinstance(value, str) else json.dumps(value)
    fields = {"group": None, "error": None, "text": text}
    return {"id": f"r{number}", "input": str(number), "expected": expected, "value": value} | (
        fields | more
    )


def endpoint(reply: Callable[[str], Reply]) -> Callable[..., Iterator[tuple[int, Reply]]]:
    def ask(inputs: Sequence[Input]) -> Iterator[tuple[int, Reply]]:
        for index in reversed(range(len(inputs))):
            yield index, reply(str(inputs[index]))

    return ask


def same(rows: Sequence[Mapping[str, Any]]) -> Callable[[str], Reply]:
    answers = {one["input"]: said(one["value"], one["text"]) for one in rows}
    unread = {one["input"] for one in rows if one["value"] is None}
    return lambda asked: Reply(answers[asked], asked not in unread, seconds=0.5)


def test_the_same_answers_pass() -> None:
    rows = [row(n, "a" if n % 2 else "b") for n in range(50)]
    check = check_served("id", rows, Accuracy(LABELS), endpoint(same(rows)))
    assert (check.passed, check.n, check.differing, check.why) == (True, 50, 0, "")
    assert check.measured_score == check.served_score == 0.5
    assert check.p50_seconds == 0.5


def test_answers_that_are_worse_beyond_noise_block_with_the_examples() -> None:
    rows = [row(n) for n in range(100)]
    wrong = endpoint(lambda asked: Reply("b" if int(asked) < 15 else "a"))
    check = check_served("id", rows, Accuracy(LABELS), wrong)
    assert not check.passed
    assert "the served score is lower by 0.150" in check.why
    assert {one.id for one in check.differences} == {f"r{n}" for n in range(15)}
    assert {(one.measured, one.served) for one in check.differences} == {("a", "b")}


def test_other_answers_with_the_same_score_block_too() -> None:
    rows = [row(n, "a", "c") for n in range(100)]
    check = check_served("id", rows, Accuracy(LABELS), endpoint(lambda asked: Reply("b")))
    assert check.gain.difference == 0
    assert "100 of 100 answers differ" in check.why
    assert len(check.differences) == SHOWN


def test_a_few_other_answers_are_noise() -> None:
    rows = [row(n, "a", "c") for n in range(100)]
    few = endpoint(lambda asked: Reply("b" if int(asked) < 12 else "a"))
    check = check_served("id", rows, Accuracy(LABELS), few)
    assert (check.passed, check.differing) == (True, 12)
    assert not check_served("id", rows, Accuracy(LABELS), few, noise=0.01).passed


def test_an_endpoint_that_fails_differs() -> None:
    rows = [row(n) for n in range(40)]
    check = check_served("id", rows, Accuracy(LABELS), endpoint(lambda _: Reply("", error="503")))
    assert (check.failed, check.passed, check.served_score) == (40, False, 0.0)
    assert check.differences[0].error == "503"


def test_json_is_compared_as_values_and_not_as_text() -> None:
    rows = [row(n, {"x": [n], "y": "z"}, {"x": [n], "y": "z"}) for n in range(30)]
    spaced = endpoint(lambda asked: Reply(f'{{"y":  "z", "x": [{asked}]}}'))
    assert check_served("id", rows, TokenF1(), spaced).differing == 0
    broken = endpoint(lambda asked: Reply('{"x":'))
    assert check_served("id", rows, TokenF1(), broken).differing == 30


def test_what_the_solver_could_not_read_has_to_stay_unread() -> None:
    rows = [row(n, None, "a", text="perhaps a") for n in range(30)]
    assert check_served("id", rows, Accuracy(LABELS), endpoint(same(rows))).passed
    read = endpoint(lambda asked: Reply("perhaps a"))
    assert check_served("id", rows, Accuracy(LABELS), read).differing == 30


def test_which_examples_are_asked_depends_on_their_ids_alone() -> None:
    rows = [row(n) for n in range(MOST + 100)]
    asked: list[set[str]] = []

    def ask(inputs: Sequence[Input]) -> Iterator[tuple[int, Reply]]:
        asked.append({str(one) for one in inputs})
        yield from ((index, Reply("a")) for index in range(len(inputs)))

    for given_rows in (rows, rows[::-1]):
        assert check_served("id", given_rows, Accuracy(LABELS), ask).n == MOST
    assert asked[0] == asked[1]


def test_nothing_is_said_of_what_was_not_answered() -> None:
    with pytest.raises(StepladderError, match="no answered example"):
        check_served("id", [row(1, error="x")], Accuracy(LABELS), endpoint(lambda _: Reply("a")))
    with pytest.raises(StepladderError, match="left 2 of 2 unanswered"):
        check_served("id", [row(1), row(2)], Accuracy(LABELS), lambda inputs: iter(()))


@given(st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=60))
def test_any_bundle_that_answers_alike_passes(values: list[str]) -> None:
    rows = [row(n, value) for n, value in enumerate(values)]
    assert check_served("id", rows, Accuracy(LABELS), endpoint(same(rows))).passed


def test_the_error_that_blocks_travels_between_processes() -> None:
    rows = [row(1)]
    check = check_served("id", rows, Accuracy(LABELS), endpoint(same(rows)))
    again = pickle.loads(pickle.dumps(NotServed("message", hint="hint", check=check)))
    assert (again.message, again.hint, again.check) == ("message", "hint", check)


def test_calls_that_the_caller_is_to_make_are_compared_as_values() -> None:
    play = {"name": "play", "arguments": {"n": 1}}
    meta = {"metadata": {"acceptable": [{"play": {"n": [1, 2]}}]}}
    rows = [row(n, [play], [{**play, "arguments": {"n": 2}}], **meta) for n in range(10)]
    rows += [row(n, [], []) for n in range(10, 20)]

    def calling(asked: str) -> Reply:
        return Reply("", calls=(play,)) if int(asked) < 10 else Reply("Where to?")

    check = check_served("id", rows, CallMatch(), endpoint(calling))
    assert (check.passed, check.differing, check.served_score) == (True, 0, 1)
    other = {"name": "play", "arguments": {"n": 3}}
    check = check_served("id", rows, CallMatch(), endpoint(lambda asked: Reply("", calls=(other,))))
    assert (check.passed, check.differing, check.served_score) == (False, 20, 0)
    assert check.differences[0].served == '[{"name": "play", "arguments": {"n": 3}}]'
