"""Functions of the user's own file: what a model is told of them, and what calling them gives."""

from __future__ import annotations

from pathlib import Path

import pytest
from ride_functions import write_functions

from stepladder.errors import TaskError
from stepladder.functions.description import CallFailed
from stepladder.functions.python_file import open_python


def test_types_and_words_become_the_description(tmp_path: Path) -> None:
    source = open_python(write_functions(tmp_path))
    find, book, *_ = source.described
    assert (find.name, find.side_effects, find.source) == ("find_rides", False, "functions.py")
    assert find.function.description == "Rides that leave from a city."
    assert find.function.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "where the ride begins, as people say it."},
            "seats": {"type": "integer", "default": 1, "description": "how many are needed."},
        },
        "required": ["city"],
        "additionalProperties": False,
    }
    assert book.side_effects
    assert book.function.parameters["properties"]["kind"]["enum"] == ["shared", "alone"]


def test_a_call_reaches_the_database(tmp_path: Path) -> None:
    source = open_python(write_functions(tmp_path))
    assert source.call("book_ride", {"ride": 1}, 1) == "booked ride 1, 1 seats are left"
    assert source.call("find_rides", {"city": "Fresno", "seats": 2}, 1) == [{"id": 2, "seats": 4}]


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("broken", {}, "RuntimeError: the database is away"),
        ("book_ride", {"ride": 3}, "no seat is free in ride 3"),
        ("strange", {}, "the result is not JSON"),
        ("find_rides", {"city": "Oslo", "seats": "many"}, "seats: "),
    ],
)
def test_what_goes_wrong_is_for_the_model_to_read(
    tmp_path: Path, name: str, arguments: dict, said: str
) -> None:
    with pytest.raises(CallFailed, match=said):
        open_python(write_functions(tmp_path)).call(name, arguments, 1)


def test_dates_and_records_are_made_of_their_json(tmp_path: Path) -> None:
    path = tmp_path / "functions.py"
    path.write_text(
        "from dataclasses import dataclass\n"
        "from datetime import date\n"
        "@dataclass\n"
        "class Guest:\n"
        "    name: str\n"
        "    born: date\n"
        "def greet(guests: list[Guest]) -> date:\n"
        '    """Greet."""\n'
        "    return max(guest.born for guest in guests)\n"
    )
    source = open_python(path)
    (greet,) = source.described
    assert "Guest" in greet.function.parameters["$defs"]
    told = [{"name": "A", "born": "1999-01-01"}, {"name": "B", "born": "2001-02-03"}]
    assert source.call("greet", {"guests": told}, 1) == "2001-02-03"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(a) -> int:\n    'F.'", "function 'f': the parameter 'a' has no type"),
        ("def f(a: int):\n    pass", "function 'f' has no docstring"),
        ("def f(*a: int):\n    'F.'", "the parameter 'a' cannot be given by name"),
        ("def f(a: int, /):\n    'F.'", "the parameter 'a' cannot be given by name"),
        ("def f(a: 'Missing'):\n    'F.'", "a type that is not there"),
        ("def f(a: int):\n    'F.\\n\\nArgs:\\n    b: two.'", "documents 'b'"),
        ("async def f():\n    'F.'", "not a plain function"),
        ("READ_ONLY = {'g'}\ndef f():\n    'F.'", "READ_ONLY names 'g'"),
        ("READ_ONLY = 'f'\ndef f():\n    'F.'", "not a set of names"),
        ("from json import dumps", "defines no function"),
        ("import nowhere_at_all", "functions.py:1 cannot be loaded"),
        ("def f(a: 'object()'):\n    'F.'", "'f': the parameter 'a' has a type"),
        ("class A:\n    pass\ndef f(a: A):\n    'F.'", "a type that JSON cannot hold"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_says_where(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "functions.py"
    path.write_text(text)
    with pytest.raises(TaskError) as told:
        open_python(path)
    assert message in told.value.message
    assert told.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"no file 'functions\.py'"):
        open_python(tmp_path / "functions.py")
