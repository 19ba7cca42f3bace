"""Forms of proto3 JSON: both spellings, strict about all else, and no documented field missed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from contract.specs import Spec
from contract.vendors import developer, vertex
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Json
from stepladder.serve import Refusal
from stepladder.serve.bodies import read_json
from stepladder.serve.gemini.embed import EMBED
from stepladder.serve.gemini.forms import (
    Form,
    data,
    decimal,
    duration,
    each,
    flag,
    long,
    mapped,
    message,
    moment,
    one_of,
    struct,
    text,
    whole,
)  # fmt: skip
from stepladder.serve.gemini.request_forms import COMPUTE, CONTENT, COUNT, GENERATE
from stepladder.serve.gemini.spelling import camel_case, camel_keys, snake_case

NAMES = st.from_regex(r"[a-z][a-z0-9]{0,6}(_[a-z][a-z0-9]{0,5}){0,3}", fullmatch=True)


@given(NAMES)
def test_a_name_comes_back_from_the_other_spelling(name: str) -> None:
    assert snake_case(camel_case(name)) == name
    assert camel_case(camel_case(name)) == camel_case(name)


def test_keys_of_data_keep_their_spelling() -> None:
    given = {
        "system_instruction": {"parts": [{"inline_data": {"mime_type": "a"}}]},
        "labels": {"my_team": "x"},
        "function_call": {"args": {"city_name": "x"}},
        "parameters_json_schema": {"min_items": 1},
        "response_schema": {"properties": {"drug_name": {"max_items": 1}}},
    }
    assert camel_keys(given) == {
        "systemInstruction": {"parts": [{"inlineData": {"mimeType": "a"}}]},
        "labels": {"my_team": "x"},
        "functionCall": {"args": {"city_name": "x"}},
        "parametersJsonSchema": {"min_items": 1},
        "responseSchema": {"properties": {"drug_name": {"maxItems": 1}}},
    }


PERSON = message({"fullName": text, "age": whole, "tags": each(text)}, required=("fullName",))


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ([], ""), ("x", ""), ({}, "fullName"), ({"full_name": 1}, "full_name"),
        ({"fullName": "a", "full_name": "b"}, "full_name"),
        ({"fullName": "a", "agee": 1}, "agee"), ({"fullName": "a", "tags": "b"}, "tags"),
        ({"fullName": "a", "tags": ["b", 1]}, "tags[1]"), ({"fullName": None}, "fullName"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_its_place(value: Json, place: str) -> None:
    with pytest.raises(Refusal) as raised:
        PERSON(value, "")
    assert raised.value.reason == "invalid"
    assert raised.value.param == place


def test_a_near_name_is_offered() -> None:
    with pytest.raises(Refusal) as raised:
        PERSON({"fulName": "a"}, "person")
    assert "fullName" in raised.value.hint
    assert raised.value.param == "person.fulName"


def test_both_spellings_and_null_are_taken() -> None:
    assert PERSON({"full_name": "a", "age": None, "tags": ["x"]}, "") == {
        "fullName": "a", "tags": ["x"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        (whole, [(5, 5), (5.0, 5), ("-5", -5)], [True, 5.5, 2**31, "x", "", "1" * 30, [], None]),
        (long, [("9007199254740993", 9007199254740993)], [2**63, "5.5", {}]),
        (decimal, [(1, 1.0), ("0.5", 0.5)], [True, "NaN", "inf", 10**400, "", None, []]),
        (flag, [(True, True)], [1, "true", None]),
        (data, [("aGk=", b"hi"), ("aGk", b"hi"), ("-_8", b"\xfb\xff")], ["a", "ä", 5, "*"]),
        (duration, [("3600s", 3600.0), ("0.5s", 0.5)], ["5", 5, "s", "1m", "٣s"]),
        (moment, [("2026-01-01T00:00:00Z",) * 2], ["2026-01-01", 5]),
        (one_of("LOW", "HIGH"), [("LOW", "LOW"), ("high", "HIGH")], ["MID", 1, None, []]),
        (struct, [({"a_b": 1}, {"a_b": 1})], [[], "x"]),
        (mapped(text), [({"a_b": "x"}, {"a_b": "x"})], [{"a": 1}, []]),
        (each(whole), [([1, "2"], [1, 2])], [[None], 5]),
    ],
)  # fmt: skip
def test_values_are_read_as_proto3_json_has_them(
    form: Form, good: list[tuple[Json, Json]], bad: list[Json]
) -> None:
    for value, read in good:
        assert form(value, "x") == read
    for value in bad:
        with pytest.raises(Refusal) as raised:
            form(value, "x")
        assert (raised.value.param or "").startswith("x")


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10,
))  # fmt: skip
def test_no_value_makes_a_form_fail_otherwise(value: Json) -> None:
    for form in (PERSON, GENERATE, COUNT, COMPUTE, EMBED, CONTENT):
        for body in (value, {"contents": value, "content": value, "generationConfig": value}):
            with suppress(Refusal):
                form(body, "")


@pytest.mark.parametrize(
    ("form", "definition"),
    [
        (GENERATE, "GenerateContentRequest"), (COUNT, "CountTokensRequest"),
        (COMPUTE, "ComputeTokensRequest"), (EMBED, "EmbedContentRequest"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("spec", [developer, vertex], ids=["developer", "vertex"])
def test_every_documented_field_is_known(
    form: Form, definition: str, spec: Callable[[], Spec]
) -> None:
    """It is read, or refused with a reason of its own; never called unknown."""
    document = spec()
    name = next(
        (one for one in document.definitions["request"] if re.fullmatch(
            rf"(GoogleCloudAiplatformV1beta1)?{definition}", one)), None
    )  # fmt: skip
    if name is None:
        pytest.skip("the document has no such request")
    unknown = []
    for path in fields_of(document, document.definitions["request"][name]):
        try:
            form(nested(path), "")
        except Refusal as refusal:
            if "no field is called" in refusal.message:
                unknown.append(".".join(map(str, path)))
    assert unknown == []


# what hangs below fields that are refused or taken as they are is not looked at
CLOSED = {
    "speechConfig", "imageConfig", "routingConfig", "modelConfig", "translationConfig",
    "audioTranscriptionConfig", "modelArmorConfig", "outputConfig", "mediaResolution", "audio",
    "image", "video", "executableCode", "codeExecutionResult", "toolCall", "toolResponse",
    "audioTranscription", "speechMetadata", "videoMetadata", "partialArgs", "retrievalConfig",
    "googleSearch", "googleSearchRetrieval", "enterpriseWebSearch", "exaAiSearch", "mcpServers",
    "parallelAiSearch", "urlContext", "googleMaps", "retrieval", "fileSearch", "codeExecution",
    "computerUse",
}  # fmt: skip


def fields_of(
    spec: Spec, schema: Json, way: tuple[Any, ...] = (), seen: tuple[str, ...] = ()
) -> Iterator[tuple[Any, ...]]:
    """Every field below a definition, as the keys on the way to it; [0] is an item of a list."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        if name in seen:
            return
        seen = (*seen, name)
        schema = spec.definitions["request"][name]
    if schema.get("type") == "array":
        yield from fields_of(spec, schema["items"], (*way, 0), seen)
    is_list_of_functions = way[-2:] == ("parts", 0) and "functionResponse" in way
    if is_list_of_functions:
        return
    for key, inner in schema.get("properties", {}).items():
        yield (*way, key)
        if key not in CLOSED:
            yield from fields_of(spec, inner, (*way, key), seen)


def nested(path: tuple[Any, ...]) -> Json:
    value: Json = "?"
    for key in reversed(path):
        value = [value] if key == 0 else {key: value}
    return value


@pytest.mark.parametrize("raw", [b"{", b"\xff", b"[NaN]", b"[1e999]", b'["\\ud800"]'])
def test_what_cannot_be_written_again_is_no_body(raw: bytes) -> None:
    with pytest.raises(Refusal):
        read_json(raw)


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])), inner), max_leaves=10,
))  # fmt: skip
def test_whole_json_is_read_as_it_is(value: Json) -> None:
    assert read_json(json.dumps(value).encode()) == value


def test_deep_json_is_refused_and_that_of_the_limit_is_not() -> None:
    assert read_json(b"[" * 100 + b"]" * 100)
    with pytest.raises(Refusal, match="deeper"):
        read_json(b"[" * 101 + b"]" * 101)
