"""Which schemas the engine enforces, what it is given for them, and the check of what came out."""

from __future__ import annotations

from typing import Any

import pytest

from stepladder.models.local.schemas import Unenforced, read_schema


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"type": "integer", "multipleOf": 5}, "multipleOf"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "array", "contains": {"const": 1}}, "contains"),
        ({"not": {"const": 2}}, "not"),
        ({"if": {"const": 1}, "then": {"const": 1}}, "if"),
        ({"type": "object", "dependentRequired": {"a": ["b"]}}, "dependentRequired"),
        ({"type": "object", "propertyNames": {"pattern": "a"}}, "propertyNames"),
        ({"allOf": [{"type": "integer"}, {"maximum": 3}]}, "allOf"),
        ({"type": "object", "anyOf": [{"required": ["b"]}]}, "anyOf"),
        ({"type": "string", "pattern": "^a+$", "maxLength": 3}, "a length beside"),
        ({"patternProperties": {"^a": {}}, "properties": {"b": {}}}, "patternProperties"),
    ],
)
def test_what_the_engine_would_leave_out_is_refused_by_name(
    schema: dict[str, Any], keyword: str
) -> None:
    with pytest.raises(Unenforced, match=keyword):
        read_schema(schema)
    nested = {"type": "object", "properties": {"x": {"items": schema}}}
    with pytest.raises(Unenforced, match=r"^/properties/x/items: "):
        read_schema(nested)
    read_schema(schema, strict=False)


@pytest.mark.parametrize(
    "reference", ["http://127.0.0.1/x", "other.json", "#/$defs/nowhere", "#anchor"]
)
def test_a_reference_leads_nowhere_but_into_the_schema(reference: str) -> None:
    for strict in (True, False):
        with pytest.raises(Unenforced, match="not in the schema"):
            read_schema({"$ref": reference}, strict=strict)


def test_what_describes_changes_nothing() -> None:
    schema = {
        "$ref": "#/$defs/a",
        "description": "d",
        "x-order": 1,
        "$defs": {"a": {"type": "null"}},
    }
    assert read_schema(schema).engine == schema


def test_bounds_of_fractions_are_left_to_the_check() -> None:
    checked = read_schema({"type": "number", "minimum": 0, "maximum": 1})
    assert checked.engine == {"type": "number"}
    checked.check(0.5)
    with pytest.raises(ValueError, match="greater than the maximum"):
        checked.check(1.5)
    whole = {"type": "integer", "minimum": 0, "maximum": 1}
    assert read_schema(whole).engine == whole


def test_only_one_of_is_left_to_the_check() -> None:
    checked = read_schema({"oneOf": [{"type": "integer"}, {"const": 3}]})
    assert checked.engine == {"anyOf": [{"type": "integer"}, {"enum": [3]}]}
    with pytest.raises(ValueError, match="valid under each"):
        checked.check(3)


def test_named_values_are_those_that_the_rest_allows() -> None:
    assert read_schema({"type": "string", "enum": ["a", 1]}).engine == {"enum": ["a"]}
    with pytest.raises(Unenforced, match="no value"):
        read_schema({"type": "string", "const": 1})


def test_a_required_property_that_is_not_named_is_not_forgotten() -> None:
    checked = read_schema({"type": "object", "properties": {"a": {}}, "required": ["a", "z"]})
    assert checked.engine["properties"] == {"a": {}, "z": {}}


def test_what_is_no_schema_is_told_with_its_place() -> None:
    with pytest.raises(ValueError, match="properties/a/type"):
        read_schema({"type": "object", "properties": {"a": {"type": "string!"}}})


def test_a_pattern_cannot_hold_up_the_check() -> None:
    checked = read_schema({"type": "string", "pattern": "^(a+)+$"})
    checked.check("a" * 40 + "!")  # with Python's own matching, this would take years


def test_a_schema_of_itself_is_no_endless_check() -> None:
    with pytest.raises(ValueError, match="deep"):
        read_schema({"$ref": "#"}).check(1)
