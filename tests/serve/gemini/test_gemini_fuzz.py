"""Whatever comes, the answer is one of the protocol's, and never a failure of the server."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from google_calls import DEVELOPER, PROJECT, VERTEX, Caller, calling
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepladder.core import Json
from stepladder.serve.server import Server

EXPECTED = {200, 400, 403, 404, 409, 413}
EVERYTHING: Json = {
    "contents": [
        {"role": "user", "parts": [{"text": "hi"}, {"inlineData": {
            "mimeType": "text/plain", "data": "aGk="}}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"b": []}}}]},
    ],
    "systemInstruction": {"parts": [{"text": "Be terse."}]},
    "tools": [{"functionDeclarations": [
        {"name": "f", "parameters": {"type": "OBJECT", "properties": {"a": {"type": "INTEGER"}}}},
        {"name": "g", "parametersJsonSchema": {"type": "object"}},
    ]}],
    "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
    "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}],
    "generationConfig": {
        "temperature": 0.5, "topP": 0.9, "topK": 40, "candidateCount": 2, "maxOutputTokens": 8,
        "stopSequences": ["x"], "presencePenalty": 0.1, "frequencyPenalty": 0.1, "seed": 7,
        "responseLogprobs": True, "logprobs": 2,
        "thinkingConfig": {"thinkingBudget": 0, "includeThoughts": False},
    },
}  # fmt: skip
WITH_SCHEMA: Json = {
    "contents": [{"parts": [{"text": "hi"}]}],
    "generationConfig": {
        "responseMimeType": "application/json",
        "responseSchema": {
            "type": "OBJECT",
            "properties": {
                "a": {"type": "STRING", "nullable": True, "enum": ["x", "y"]},
                "b": {"type": "ARRAY", "items": {"type": "INTEGER"}, "maxItems": "3"},
            },
            "propertyOrdering": ["b", "a"], "required": ["a", "b"],
        },
    },
}  # fmt: skip
EMBED: Json = {"content": {"parts": [{"text": "a"}]}, "taskType": "CLUSTERING", "title": "t",
               "outputDimensionality": 2}  # fmt: skip
CALLS: tuple[tuple[str, Json], ...] = (
    (f"{DEVELOPER}:generateContent", EVERYTHING),
    (f"{VERTEX}:generateContent", WITH_SCHEMA),
    (f"{VERTEX}:streamGenerateContent?alt=sse", EVERYTHING),
    (f"{DEVELOPER}:streamGenerateContent", WITH_SCHEMA),
    (f"{DEVELOPER}:countTokens", {"generateContentRequest": EVERYTHING}),
    (f"{VERTEX}:countTokens", {"contents": EVERYTHING["contents"]}),
    (f"{VERTEX}:computeTokens", {"contents": [{"role": "user", "parts": [{"text": "ab"}]}]}),
    ("/v1/models/fake-encoder:embedContent", EMBED),
    ("/v1/models/fake-encoder:batchEmbedContents", {"requests": [EMBED, EMBED]}),
    (f"{PROJECT}/publishers/google/models/fake-encoder:predict",
     {"instances": [{"content": "a"}], "parameters": {"outputDimensionality": 2}}),
)  # fmt: skip

_scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12)
    | st.sampled_from(["STRING", "ANY", "-1", "1e9", "models/fake", "gs://b/x", "\ud800", "\0"])
)  # fmt: skip
_whole_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=8
)  # fmt: skip


def places(value: Json, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place within, as the keys on the way."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(one, (*path, key))


@st.composite
def spoiled(draw: st.DrawFn) -> tuple[str, Json]:
    """A good call in which up to three places are something else, gone, or in company."""
    path, good = draw(st.sampled_from(CALLS))
    body = copy.deepcopy(good)
    for _ in range(draw(st.integers(1, 3))):
        found = [*places(body)]
        if not found:
            break
        *way, last = draw(st.sampled_from(found))
        holder = body
        for key in way:
            holder = holder[key]
        change = draw(st.sampled_from(("replace", "remove", "add")))
        if change == "replace":
            holder[last] = draw(_values)
        elif change == "remove":
            del holder[last]
        elif isinstance(holder, dict):
            holder[draw(st.text(max_size=8))] = draw(_values)
    return path, body


@pytest.fixture
def caller(server: Server) -> Iterator[Caller]:
    with calling(server) as found:
        yield found


def check(status: int, text: str) -> None:
    assert status in EXPECTED, (status, text)


FUZZ = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(call=spoiled())
def test_spoiled_bodies_are_refused_or_answered(caller: Caller, call: tuple[str, Json]) -> None:
    path, body = call
    response = caller.send("POST", path, content=json.dumps(body).encode("utf-8"))
    check(response.status_code, response.text)
    if response.status_code != 200:
        error = response.json()["error"]
        assert error["code"] == response.status_code
        assert error["message"]
        assert error["status"].isupper()


@FUZZ
@given(raw=st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_bodies_that_are_no_json_are_refused(caller: Caller, raw: bytes) -> None:
    for path in (f"{DEVELOPER}:generateContent", f"{VERTEX}:countTokens"):
        response = caller.send("POST", path, content=raw)
        check(response.status_code, response.text)


@FUZZ
@given(name=_whole_text, size=_whole_text)
def test_names_and_pages_are_found_or_not(caller: Caller, name: str, size: str) -> None:
    safe, asked = quote(name, safe=""), quote(size, safe="")
    for path in (
        f"/v1beta/models/{safe}", f"/v1beta/tunedModels/{safe}",
        f"/v1beta/models?pageSize={asked}&pageToken={safe}", f"{PROJECT}/models/{safe}",
        f"/v1beta/tunedModels?pageToken={safe}", f"{PROJECT}/models?filter={safe}",
    ):  # fmt: skip
        response = caller.send("GET", path)
        assert response.status_code in {*EXPECTED, 405}, (path, response.text)


NO_JSON: tuple[bytes, ...] = (
    b"[" * 50_000, b'{"contents":' * 5000, b'{"a": NaN}', b'{"a": 1e999}', b"\xff\xfe",
    b'{"contents": [{"parts": [{"text": "\\ud800"}]}]}', b'{"a": ' + b"9" * 5000 + b"}",
    b"[]", b'"x"', b"7", b"null",
)  # fmt: skip


def test_json_that_no_parser_likes_is_refused(caller: Caller) -> None:
    for raw in NO_JSON:
        response = caller.send("POST", f"{DEVELOPER}:generateContent", content=raw)
        assert response.status_code == 400, raw[:20]
        assert response.json()["error"]["status"] == "INVALID_ARGUMENT"
