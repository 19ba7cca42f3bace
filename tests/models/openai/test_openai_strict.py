"""Which schemas OpenAI's strict mode takes as they are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.models.openai.strict import allows_strict

texts = st.text(max_size=20)
CLOSED = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
leaves = st.sampled_from(
    [{"type": "string"}, {"type": ["integer", "null"]}, {"enum": ["a", 1]}, {"const": 3}]
)


def closed(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": fields,
        "required": sorted(fields),
        "additionalProperties": False,
    }


strict = st.recursive(
    leaves,
    lambda inner: (
        st.dictionaries(texts, inner, max_size=3).map(closed)
        | inner.map(lambda items: {"type": "array", "items": items})
        | st.lists(inner, min_size=1, max_size=2).map(lambda some: {"anyOf": some})
    ),
    max_leaves=5,
)


@given(st.dictionaries(texts, strict, min_size=1, max_size=3).map(closed), st.data())
def test_a_closed_schema_is_strict_until_one_thing_is_opened(
    schema: dict[str, Any], data: st.DataObject
) -> None:
    assert allows_strict(schema)
    field = data.draw(st.sampled_from(sorted(schema["properties"])))
    opened = data.draw(
        st.sampled_from(
            [
                {**schema, "additionalProperties": True},
                {**schema, "required": []},
                {**schema, "allOf": []},
                {**schema, "type": ["object", "null"]},
                {**schema, "properties": {**schema["properties"], field: {"type": "object"}}},
                {**schema, "properties": {**schema["properties"], field: {}}},
                {**schema, "properties": {**schema["properties"], field: {"uniqueItems": True}}},
                {**schema, "properties": {**schema["properties"], field: {"type": "tuple"}}},
            ]
        )
    )
    assert not allows_strict(opened)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "string"},
        {"type": "array", "items": CLOSED},
        {"type": "object", "anyOf": [CLOSED]},
        {**CLOSED, "properties": [1]},
        {**CLOSED, "required": "a"},
        {**CLOSED, "$defs": {"x": {"type": "object"}}},
        {**CLOSED, "properties": {"a": True}},
        {**CLOSED, "required": ["a", "a"]},
    ],
)
def test_other_schemas_are_not_strict(schema: Any) -> None:
    assert not allows_strict(schema)


def test_a_schema_that_is_too_deep_is_not_strict() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(12):
        schema = closed({"a": schema})
    assert not allows_strict(schema)
