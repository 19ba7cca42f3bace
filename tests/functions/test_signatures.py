"""Functions in a few words: what is kept, what is shortened, what stays schema."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Function
from stepladder.functions.calls import in_order
from stepladder.functions.signatures import signature


def parameters(needed: list[str] | None = None, **properties: object) -> dict:
    return {"type": "object", "properties": properties, "required": needed or []}


def test_a_function_is_a_line_and_a_line_for_each_parameter() -> None:
    told = parameters(
        ["city"],
        city={"type": "string", "description": "where\n to"},
        stars={"anyOf": [{"enum": [1, 2]}, {"type": "null"}], "default": None},
        kind={"enum": ["a", "b"], "default": "a"},
        names={"type": "array", "items": {"type": "integer"}},
        anything={},
    )
    assert signature(Function("find", "Finds\nit.", told)).splitlines() == [
        "find: Finds it.",
        "  city: string (where to)",
        "  stars?: 1 | 2",
        '  kind?: "a" | "b" = "a"',
        "  names?: [integer]",
        "  anything?: any",
    ]


def test_null_is_told_of_a_parameter_that_has_to_be_there() -> None:
    told = parameters(["x"], x={"anyOf": [{"type": "string"}, {"type": "null"}]})
    assert "x: string | null" in signature(Function("f", "", told))


def test_what_has_no_short_form_is_left_as_schema() -> None:
    told = parameters(x={"type": "string", "pattern": "^a"}, y={"$ref": "#/$defs/p"}) | {
        "$defs": {"p": {"type": "object", "properties": {"z": {"type": "integer"}}}}
    }
    text = signature(Function("f", "", told))
    assert '"pattern": "^a"' in text
    assert '"$ref": "#/$defs/p"' in text
    assert '"z": {"type": "integer"}' in text


WORDS = st.text(alphabet="abcxyz", min_size=1, max_size=4)


@given(st.dictionaries(WORDS, st.integers(), max_size=5), st.lists(WORDS, unique=True))
def test_ordering_changes_no_value(value: dict, names: list[str]) -> None:
    schema = parameters(**{name: {"type": "integer"} for name in names})
    ordered = in_order(value, schema)
    assert ordered == value
    assert [one for one in ordered if one in names] == [one for one in names if one in value]


def test_ordering_goes_into_objects_and_lists() -> None:
    inner = parameters(a={"type": "integer"}, b={"type": "integer"})
    schema = parameters(rows={"type": "array", "items": inner}, one=inner)
    value = {"one": {"b": 1, "a": 2}, "rows": [{"b": 3, "a": 4}], "more": 5}
    said = json.dumps(in_order(value, schema))
    assert said == '{"rows": [{"a": 4, "b": 3}], "one": {"a": 2, "b": 1}, "more": 5}'
