"""What stands between a call that a model asks for and the function."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ride_functions import call, write_functions

from stepladder.core import Function
from stepladder.errors import TaskError
from stepladder.functions.description import CallFailed, Described
from stepladder.functions.python_file import open_python
from stepladder.functions.running import Asked, Limits, Ran, Running, run_calls, told_result

BOTH = frozenset({"find_rides", "book_ride"})


def seats(folder: Path) -> list[int]:
    with closing(sqlite3.connect(folder / "rides.sqlite")) as connection:
        return [row[0] for row in connection.execute("SELECT seats FROM rides ORDER BY id")]


def running(folder: Path, **options) -> Running:
    return Running((open_python(write_functions(folder)),), **options)


def test_calls_run_and_their_order_is_kept(tmp_path: Path) -> None:
    asked = [
        Asked(call("book_ride", ride=2), BOTH, 5),
        Asked(call("find_rides", city="Oslo"), BOTH, 5),
        Asked(call("book_ride", ride=3), BOTH, 5),
    ]
    ran = run_calls(asked, running(tmp_path, allowed=frozenset({"book_ride"})))
    assert [(one.call.name, one.state, one.result) for one in ran] == [
        ("book_ride", "done", "booked ride 2, 3 seats are left"),
        ("find_rides", "done", []),
        ("book_ride", "failed", None),
    ]
    assert ran[2].error == "LookupError: no seat is free in ride 3"
    assert seats(tmp_path) == [2, 3, 0]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (call("find_rides"), "'city' is a required property"),
        (call("find_rides", city=7), "city: 7 is not of type 'string'"),
        (call("find_rides", city="Oslo", color="red"), "'color' was unexpected"),
        (call("book_ride", ride=1, kind="free"), "kind: 'free' is not one of"),
        (call("book_ride", ride=True), "ride: True is not of type 'integer'"),
        (call("drop_tables"), "there is no function 'drop_tables'; known: book_ride, find_rides"),
        (call("slow", seconds=1), "there is no function 'slow'"),  # it is, but no candidate
        (call("_ask", sql="DROP TABLE rides"), "there is no function '_ask'"),
        (call("__class__"), "there is no function"),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else "",
)
def test_what_does_not_fit_never_runs(tmp_path: Path, asked, said: str) -> None:
    on = running(tmp_path, allowed=frozenset({"book_ride"}))
    (ran,) = run_calls([Asked(asked, BOTH, 5)], on)
    assert ran.state == "refused"
    assert said in (ran.error or "")
    assert seats(tmp_path) == [2, 4, 0]


def test_without_leave_nothing_with_side_effects_runs(tmp_path: Path) -> None:
    on = running(tmp_path)
    ran = run_calls([Asked(call("book_ride", ride=1), BOTH, 5),
                     Asked(call("find_rides", city="Oslo"), BOTH, 5)], on)  # fmt: skip
    assert [one.state for one in ran] == ["refused", "done"]
    assert ran[0].error == "the function 'book_ride' is not allowed to run"
    assert seats(tmp_path) == [2, 4, 0]


def test_a_dry_run_checks_and_records_and_runs_nothing(tmp_path: Path) -> None:
    on = running(tmp_path, dry=True, allowed=frozenset({"book_ride"}))
    asked = [Asked(call("book_ride", ride=1), BOTH, 5), Asked(call("book_ride"), BOTH, 5),
             Asked(call("find_rides", city="Oslo"), BOTH, 5)]  # fmt: skip
    ran = run_calls(asked, on)
    assert [one.state for one in ran] == ["recorded", "refused", "recorded"]
    assert [one.side_effects for one in ran] == [True, True, False]
    assert seats(tmp_path) == [2, 4, 0]
    assert json.loads(told_result(ran[0], 100))["recorded"] is True


class Meeting:
    """A source whose calls end only when all of them have begun."""

    def __init__(self, calls: int) -> None:
        self.described = (Described(Function("meet"), side_effects=False),)
        self._barrier = threading.Barrier(calls)

    def call(self, name, arguments, seconds):
        return self._barrier.wait(20) >= 0

    def close(self) -> None: ...


def test_calls_run_side_by_side() -> None:
    ran = run_calls([Asked(call("meet"), ["meet"], 30)] * 3, Running((Meeting(3),)))
    assert [one.result for one in ran] == [True] * 3


def test_no_more_at_once_than_the_limit() -> None:
    at_once, most, lock = 0, 0, threading.Lock()

    class Counting(Meeting):
        def call(self, name, arguments, seconds):
            nonlocal at_once, most
            with lock:
                at_once += 1
                most = max(most, at_once)
            with lock:
                at_once -= 1

    limits = Limits(calls_at_once=2)
    asked = [Asked(call("meet"), ["meet"], 30)] * 7
    ran = run_calls(asked, Running((Counting(1),), limits=limits))
    assert len(ran) == 7
    assert most <= 2


def test_what_takes_too_long_is_let_go_and_told() -> None:
    over = threading.Event()

    class Hanging(Meeting):
        def call(self, name, arguments, seconds):
            over.wait(20)

    (ran,) = run_calls([Asked(call("meet"), ["meet"], 0.01)], Running((Hanging(1),)))
    over.set()
    assert ran.state == "failed"
    assert ran.error == "not done within 0.01 seconds; it may still take effect"
    (late,) = run_calls([Asked(call("meet"), ["meet"], 0.0)], Running((Hanging(1),)))
    assert (late.state, late.error) == ("refused", "there is no time left")


def test_a_mistake_of_a_source_is_no_result() -> None:
    class Wrong(Meeting):
        def call(self, name, arguments, seconds):
            raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        run_calls([Asked(call("meet"), ["meet"], 5)], Running((Wrong(1),)))


def test_what_is_allowed_must_be_there_and_names_are_one_function_s() -> None:
    with pytest.raises(TaskError, match="'fly' is allowed, and there is none"):
        Running((Meeting(1),), frozenset({"fly"}))
    with pytest.raises(TaskError, match="both have a function 'meet'"):
        Running((Meeting(1), Meeting(1)))


def test_long_results_are_cut_and_say_so() -> None:
    told = json.loads(told_result(Ran(call("f"), "done", "x" * 50), 10))
    assert told == {"result": '"xxxxxxxxx [cut: 10 of 52 characters]', "cut": True}
    failed = json.loads(told_result(Ran(call("f"), "failed", error="y" * 50), 10))
    assert failed == {"error": "yyyyyyyyyy [cut: 10 of 50 characters]"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["city", "seats", "x"]) | st.text(), JSON, max_size=4))
def test_whatever_arguments_come_only_fitting_ones_run(arguments: dict) -> None:
    seen: list[dict] = []

    class Keeping(Meeting):
        described = (
            Described(
                Function(
                    "find",
                    parameters={
                        "type": "object",
                        "properties": {"city": {"type": "string"}, "seats": {"type": "integer"}},
                        "required": ["city"],
                        "additionalProperties": False,
                    },
                ),
                side_effects=False,
            ),
        )

        def __init__(self) -> None: ...

        def call(self, name, arguments, seconds):
            seen.append(arguments)
            raise CallFailed("enough")

    (ran,) = run_calls([Asked(call("find", **arguments), ["find"], 5)], Running((Keeping(),)))
    fits = isinstance(arguments.get("city"), str) and arguments.keys() <= {"city", "seats"}
    number = arguments.get("seats", 1)
    whole = not isinstance(number, bool) and isinstance(number, int | float) and number == int(
        number if abs(number) != float("inf") else 0
    )  # fmt: skip
    assert (ran.state == "failed") == bool(seen) == (fits and whole)
