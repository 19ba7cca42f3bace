"""Which schemas the engine enforces, what it is given for them, and the check of what came out."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.models.local.bounds import whole_ranges
from stepladder.models.local.schemas import Unenforced, pattern_size, read_schema


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


@pytest.mark.parametrize(
    ("bounds", "shown"),
    [
        ({"minimum": 0.5, "maximum": 7.5}, {"minimum": 1, "maximum": 7}),
        ({"minimum": 6}, {"minimum": 6, "maximum": 10**18 - 1}),
        ({"minimum": 18}, {"minimum": 18}),
        (
            {"exclusiveMinimum": -(2**63), "maximum": 2**80},
            {"minimum": 1 - 10**18, "maximum": 10**18 - 1},
        ),
        ({"exclusiveMinimum": -203, "exclusiveMaximum": -200}, {"minimum": -202, "maximum": -201}),
        ({"minimum": 2010, "maximum": 2039}, {"minimum": 2010, "maximum": 2039}),
        ({"minimum": -55, "maximum": 71638}, {"minimum": -55, "maximum": 71638}),
    ],
)
def test_bounds_of_whole_numbers_are_given_as_the_engine_keeps_to_them(
    bounds: dict[str, Any], shown: dict[str, Any]
) -> None:
    assert read_schema({"type": "integer", **bounds}).engine == {"type": "integer", **shown}
    either = read_schema({"type": ["integer", "null"], **bounds})
    assert either.engine == {"type": ["integer", "null"], **shown}
    either.check(None)


def ranges(schema: Any) -> list[tuple[int, int]]:
    """What the alternatives of a schema refer to."""
    names = [one["$ref"].rpartition("/")[2] for one in schema["anyOf"] if "$ref" in one]
    return [(schema["$defs"][name]["minimum"], schema["$defs"][name]["maximum"]) for name in names]


@pytest.mark.parametrize(
    ("low", "high", "parts"),
    [
        (2000, 2030, [(2000, 2029), (2030, 2030)]),
        (34, 71638, [(34, 99), (100, 71638)]),
        (0, 150, [(0, 99), (100, 149), (150, 150)]),
        (-1050, 3, [(-1050, -1050), (-1049, -1000), (-999, -1), (0, 3)]),
        (955, 1000, [(955, 959), (960, 999), (1000, 1000)]),
        (45123, 45209, [(45123, 45129), (45130, 45199), (45200, 45209)]),
        (-2030, -2000, [(-2030, -2030), (-2029, -2000)]),
        (-(10**18) + 1, -55, [(-(10**18) + 1, -100), (-99, -55)]),
    ],
)
def test_a_range_that_the_engine_gets_wrong_is_cut_into_named_ones(
    low: int, high: int, parts: list[tuple[int, int]]
) -> None:
    bounds = {"minimum": low, "maximum": high}
    checked = read_schema({"type": "integer", "description": "d", **bounds})
    assert ranges(checked.engine) == parts
    assert checked.engine.keys() == {"description", "anyOf", "$defs"}
    either = read_schema({"type": ["integer", "string"], "maxLength": 3, **bounds})
    assert either.engine["anyOf"][-1] == {"type": ["string"], "maxLength": 3}
    assert ranges(either.engine) == parts


def test_the_names_of_ranges_are_of_the_whole_schema_and_nobody_elses() -> None:
    years = {"type": "integer", "minimum": 2000, "maximum": 2030}
    taken = {"whole_2000_2029": {"type": "null"}}
    schema = {"type": "array", "items": {"properties": {"year": years}}, "$defs": taken}
    engine = read_schema(schema).engine
    names = {"whole_2000_2029", "whole_2000_2029_", "whole_2030_2030"}
    assert engine["$defs"].keys() == names
    assert engine["$defs"]["whole_2000_2029"] == {"type": "null"}
    named = engine["items"]["properties"]["year"]["anyOf"]  # type: ignore[index]
    assert named[0] == {"$ref": "#/$defs/whole_2000_2029_"}


def test_a_range_of_too_many_parts_is_widened_and_checked_afterwards() -> None:
    checked = read_schema({"type": "integer", "minimum": 2345678, "maximum": 2876543})
    assert checked.engine == {"type": "integer", "minimum": 2_000_000, "maximum": 2_999_999}
    checked.check(2345678)
    with pytest.raises(ValueError, match="less than the minimum"):
        checked.check(2345677)


@given(st.integers(-(10**18) + 1, 10**18 - 1), st.integers(0, 10**7))
def test_ranges_are_the_whole_without_a_gap(low: int, more: int) -> None:
    high = min(low + more, 10**18 - 1)
    parts = whole_ranges({"minimum": low, "maximum": high})
    assert len(parts) <= 2 * 132
    ends = [(a, b) for a, b in parts if a is not None and b is not None]
    assert len(ends) == len(parts)
    assert all(a <= b for a, b in ends)
    assert all(before[1] + 1 == after[0] for before, after in pairwise(ends))
    widened = ends[0][0] < low or ends[-1][1] > high
    assert ends[0][0] <= low <= high <= ends[-1][1]
    assert not widened or more > 10_000


def test_bounds_that_leave_no_number_are_refused_by_name() -> None:
    bounds = {"minimum": 5, "maximum": 3}
    with pytest.raises(Unenforced, match="'minimum' and 'maximum': no number"):
        read_schema({"type": "integer", **bounds})
    assert read_schema({"type": "integer", **bounds}, strict=False).engine == {"type": "integer"}


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


def test_names_by_pattern_are_the_engines_affair() -> None:
    for strict in (True, False):
        checked = read_schema(
            {"patternProperties": {"^(a+)+$": {"type": "null"}}, "additionalProperties": False},
            strict=strict,
        )
        checked.check({"a" * 40 + "!": 1})
        for more in ({"properties": {"b": {}}}, {"unevaluatedProperties": False}):
            with pytest.raises(Unenforced, match="patternProperties"):
                read_schema({"patternProperties": {"^a": {}}, **more}, strict=strict)


def test_multiples_are_those_of_decimals_however_large() -> None:
    checked = read_schema({"type": "number", "multipleOf": 0.1}, strict=False)
    for value in (0.7, -1.1, 10**400):
        checked.check(value)
    with pytest.raises(ValueError, match="multiple"):
        checked.check(0.75)


def test_a_schema_of_itself_is_no_endless_check() -> None:
    with pytest.raises(ValueError, match="deep"):
        read_schema({"$ref": "#"}).check(1)


def test_named_values_may_be_bound_by_a_reference() -> None:
    one = {"enum": [1, "a"], "anyOf": [{"$ref": "#/$defs/x"}]}
    schema = {"properties": {"a": one}, "$defs": {"x": {"type": "string"}}}
    assert read_schema(schema, strict=False).engine["properties"] == {"a": {"enum": ["a"]}}


def test_a_reference_that_another_id_leads_astray_is_told() -> None:
    inner = {"$id": "http://other.test/", "$ref": "#/$defs/x"}
    checked = read_schema({"properties": {"a": inner}, "$defs": {"x": {}}})
    with pytest.raises(ValueError, match="leads nowhere"):
        checked.check({"a": 1})


# --- what would keep everybody waiting -----------------------------------------------------------


def doubling(kind: str, levels: int) -> dict[str, Any]:
    """Two ways at every level to the same place: nothing to write down, for ever to go through."""
    last: dict[str, Any] = {"$defs": {"d0": {"type": "integer"}}, "$ref": f"#/$defs/d{levels}"}
    for level in range(1, levels + 1):
        way = {"$ref": f"#/$defs/d{level - 1}"}
        last["$defs"][f"d{level}"] = {kind: [way, {**way, "description": "the same"}]}
    return last


def test_a_schema_that_is_long_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 100000"):
        read_schema({"enum": [f"value {n}" for n in range(10_000)]})


def test_many_named_values_are_read_in_one_go() -> None:
    values = [{"n": n} for n in range(7_000)]  # compared each with each, this would take minutes
    assert read_schema({"type": "object", "enum": values}).engine == {"enum": values}


def test_a_value_has_to_be_among_those_named_beside_it() -> None:
    assert read_schema({"const": 1, "enum": [1, 2]}).engine == {"enum": [1]}
    with pytest.raises(Unenforced, match="no value"):
        read_schema({"const": 3, "enum": [1, 2]})


def test_references_that_branch_end_the_check() -> None:
    checked = read_schema(doubling("oneOf", 60))
    with pytest.raises(ValueError, match="branch too often"):
        checked.check(1)
    with pytest.raises(ValueError, match="branch too often"):
        checked.check("no number")
    small = read_schema(doubling("anyOf", 5))
    small.check(1)
    small.check(1)


@pytest.mark.parametrize(
    ("pattern", "places"),
    [
        ("", 0),
        ("abc", 3),
        (r"\{9}", 3),
        ("[]a{9}]{4}", 4),
        ("[0-9]{3}-[0-9]{2,4}", 8),
        ("((a{10}b){10}c){10}", 1110),
        ("a{2,}", 2),
        ("a{0}", 1),
        ("[" * 100_000, 1),
        ("a{99999999999}", 99999999999),
    ],
)
def test_the_size_of_a_pattern_is_that_of_it_written_out(pattern: str, places: int) -> None:
    assert pattern_size(pattern) == places


def test_what_the_engine_would_compile_for_minutes_is_refused() -> None:
    with pytest.raises(Unenforced, match="repeats too much"):
        read_schema({"items": {"type": "string", "pattern": "^(((a{100}){100}){100})$"}})
    many = {"type": "object", "properties": {f"p{n}": {"type": "null"} for n in range(301)}}
    with pytest.raises(Unenforced, match="301 of its properties are not required"):
        read_schema(many)
    read_schema({**many, "required": [f"p{n}" for n in range(301)]})
