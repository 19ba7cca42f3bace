"""Gemini's schemas mean the same as JSON Schema."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Json
from stepladder.serve import Refusal
from stepladder.serve.gemini.schema import SCHEMA, checked_schema, to_json_schema


def convert(schema: Json) -> Json:
    return to_json_schema(SCHEMA(schema, "s"), "s")


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "STRING"}, ["x"], [1, None]),
        ({"type": "string"}, ["x"], [1]),
        ({"type": "INTEGER", "nullable": True}, [1, None], ["1"]),
        ({"type": "NUMBER", "minimum": 0, "maximum": 1}, [0.5], [2]),
        ({"type": "STRING", "enum": ["a", "b"], "format": "enum"}, ["a"], ["c"]),
        ({"type": "STRING", "enum": ["a"], "nullable": True}, ["a", None], ["b"]),
        ({"type": "INTEGER", "enum": ["1", "2"]}, [1], [3, "1"]),
        ({"type": "BOOLEAN", "enum": ["true"]}, [True], [False]),
        ({"type": "ARRAY", "items": {"type": "STRING"}, "min_items": "1"}, [["a"]], [[], [1]]),
        ({"anyOf": [{"type": "STRING"}, {"type": "NULL"}]}, ["x", None], [1]),
        ({"type": "OBJECT"}, [{}, {"a": 1}], [[]]),
        (
            {"type": "OBJECT", "properties": {"a_b": {"type": "STRING"}}, "required": ["a_b"]},
            [{"a_b": "x"}],
            [{}, {"a_b": 1}, {"a_b": "x", "c": 1}],
        ),
        (
            {"type": "OBJECT", "properties": {}, "additionalProperties": {"type": "integer"}},
            [{"x": 1}],
            [{"x": "y"}],
        ),
        (
            {
                "ref": "#/defs/Tree",
                "defs": {
                    "Tree": {
                        "type": "OBJECT",
                        "properties": {"next": {"ref": "#/defs/Tree"}},
                    }
                },
            },
            [{}, {"next": {"next": {}}}],
            [{"next": 1}],
        ),
        ({}, [1, "x", None], []),
        ({"type": "STRING", "pattern": "^a+$", "maxLength": 2}, ["aa"], ["aaa", "b"]),
    ],
)
def test_it_accepts_and_refuses_the_same(schema: Json, good: list[Any], bad: list[Any]) -> None:
    validator = jsonschema.Draft202012Validator(convert(schema))
    assert [one for one in good if not validator.is_valid(one)] == []
    assert [one for one in bad if validator.is_valid(one)] == []


def test_properties_stand_in_the_order_asked_for() -> None:
    names = {name: {"type": "STRING"} for name in ("a", "b", "c")}
    found = convert({"type": "OBJECT", "properties": names, "property_ordering": ["c", "a"]})
    assert list(found["properties"]) == ["c", "a", "b"]


def test_what_describes_is_kept_and_formats_of_numbers_are_not() -> None:
    given_one = {"type": "STRING", "description": "d", "title": "t", "format": "date-time",
                 "example": "e", "default": "x"}  # fmt: skip
    assert convert(given_one) == {
        "type": "string", "description": "d", "title": "t", "format": "date-time",
        "examples": ["e"], "default": "x",
    }  # fmt: skip
    assert convert({"type": "INTEGER", "format": "int32"}) == {"type": "integer"}


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"type": "OBJECT", "properties": {}, "required": ["a"]}, "s.required"),
        ({"type": "OBJECT", "propertyOrdering": ["a"]}, "s.propertyOrdering"),
        ({"type": "INTEGER", "enum": ["x"]}, "s.enum"),
        ({"enum": []}, "s.enum"),
        ({"anyOf": []}, "s.anyOf"),
        ({"type": "THING"}, "s.type"),
        ({"type": "OBJECT", "properties": {"a": {"typ": "STRING"}}}, "s.properties['a'].typ"),
        ({"items": {"items": {"type": 5}}}, "s.items.items.type"),
    ],
)
def test_what_contradicts_itself_is_refused_by_place(schema: Json, place: str) -> None:
    with pytest.raises(Refusal) as raised:
        convert(schema)
    assert raised.value.param == place


TYPES = st.sampled_from(["STRING", "NUMBER", "INTEGER", "BOOLEAN", "NULL"])
SCHEMAS: st.SearchStrategy[Json] = st.recursive(
    st.fixed_dictionaries({"type": TYPES}, optional={"nullable": st.booleans()}),
    lambda inner: (
        st.fixed_dictionaries(
            {"type": st.just("ARRAY"), "items": inner},
            optional={"nullable": st.booleans(), "maxItems": st.integers(0, 3)},
        )
        | st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=2)})
        | st.dictionaries(st.text(max_size=4), inner, max_size=3).map(
            lambda properties: {"type": "OBJECT", "properties": properties}
        )
    ),
    max_leaves=6,
)


@given(SCHEMAS)
def test_what_comes_out_is_a_schema(schema: Json) -> None:
    assert checked_schema(convert(schema), "s")


@pytest.mark.parametrize("schema", ["x", [], {"type": "OBJECT"}, {"anyOf": []}, {"minimum": "a"}])
def test_what_is_no_json_schema_is_refused(schema: Json) -> None:
    with pytest.raises(Refusal) as raised:
        checked_schema(schema, "here")
    assert raised.value.param == "here"
