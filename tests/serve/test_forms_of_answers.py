"""Whatever form is asked for and whatever a model says in it: an answer that fits, or a refusal.

The engine here enforces nothing, which is worse than any real one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import httpx2 as httpx
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from serving import fake_models

from stepladder.database import open_database
from stepladder.fake_live import FakeEngine
from stepladder.serve.app import create_app
from stepladder.serve.server import assemble
from stepladder.serve.settings import ServeSettings

Post = Callable[[str, Any], httpx.Response]

HUGE = 10**400  # a whole number that is no float
NAMES = st.sampled_from(["a", "b", "aa"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 2050)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([HUGE, 0.5, "a", "aab", "", "\ud800", "2026-11-22"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.just("\ud800"), inner, max_size=3)
    ),
    max_leaves=5,
)
BOUNDS = st.integers(-9, 9) | st.sampled_from([0.5, 2000, HUGE])
COUNTS = st.integers(0, 3)
PATTERNS = st.sampled_from(["^a+$", "(?i)B", "(?P<x>a)", "^(a+)+$", "[0-9]{2}"])


KINDS = ("object", "array", "string", "integer", "number", "boolean", "null")


def keywords(inner: st.SearchStrategy[Any]) -> dict[str, dict[str, st.SearchStrategy[Any]]]:
    """What a schema may say of each kind of value, and of any; `inner` are schemas, too."""
    several = st.lists(inner, min_size=1, max_size=2)
    named = st.dictionaries(NAMES, inner, max_size=2)
    names = st.lists(NAMES, max_size=2, unique=True)
    rest = inner | st.booleans()
    of_numbers = {
        **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), BOUNDS),
        "multipleOf": st.sampled_from([2, 0.1, 1e-300, HUGE]),
    }
    return {
        "object": {
            "properties": named,
            "patternProperties": st.dictionaries(PATTERNS, inner, max_size=2),
            "required": names,
            "dependentRequired": st.dictionaries(NAMES, names, max_size=1),
            **dict.fromkeys(("minProperties", "maxProperties"), COUNTS),
            **dict.fromkeys(("additionalProperties", "unevaluatedProperties"), rest),
            "propertyNames": inner,
        },
        "array": {
            "items": inner,
            "prefixItems": several,
            "contains": inner,
            "uniqueItems": st.booleans(),
            "unevaluatedItems": rest,
            **dict.fromkeys(("minItems", "maxItems", "minContains", "maxContains"), COUNTS),
        },
        "string": {
            "pattern": PATTERNS,
            "format": st.sampled_from(["date", "email", "uuid", "of my own"]),
            **dict.fromkeys(("minLength", "maxLength"), COUNTS),
        },
        "integer": of_numbers,
        "number": of_numbers,
        "any": {
            "enum": st.lists(VALUES, min_size=1, max_size=3),
            "const": VALUES,
            **dict.fromkeys(("allOf", "anyOf", "oneOf"), several),
            **dict.fromkeys(("not", "if", "then"), inner),
            "$ref": st.sampled_from(
                ["#", "#/$defs/a", "#/properties/a", "#nowhere", "http://a.test/"]
            ),
            "$defs": st.dictionaries(st.just("a"), inner, max_size=1),
            "$id": st.just("http://a.test/"),
            "description": st.text(st.characters(codec="utf-8"), max_size=3),
        },
    }


@st.composite
def schemas(draw: st.DrawFn, kinds: tuple[str, ...] = KINDS, depth: int = 2) -> Any:
    """Schemas of one or two kinds of value, with a few keywords, which may be of another kind."""
    if not depth:
        return draw(st.sampled_from([{}, {"type": "string"}, {"type": "integer"}, True, False]))
    kind = draw(st.sampled_from(kinds))
    known = keywords(schemas(depth=depth - 1))
    own, other = known.get(kind, {}), known[draw(st.sampled_from(sorted(known)))]
    made: dict[str, Any] = {"type": draw(st.sampled_from([kind, kind, [kind, "null"]]))}
    if draw(st.integers(0, 5)) == 0:
        del made["type"]
    for names, most in ((own, 3), (other, 1)):
        if names:
            chosen = draw(st.lists(st.sampled_from(sorted(names)), max_size=most, unique=True))
            made |= {name: draw(names[name]) for name in chosen}
    return made


@pytest.fixture(scope="module")
def post(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Post]:
    """Sends a body to a server whose model says the last user's turn back, whatever the form."""
    database = open_database(f"sqlite:///{tmp_path_factory.mktemp('forms') / 'serve.db'}")
    engine = FakeEngine(enforces=False)
    server = assemble(ServeSettings(), fake_models(engine), database)
    with start_blocking_portal() as portal:
        transport = httpx.ASGITransport(create_app(server), raise_app_exceptions=False)
        client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")
        yield lambda path, body: portal.call(
            partial(client.post, path, content=json.dumps(body).encode())
        )
        portal.call(client.aclose)
    engine.close()
    database.close()


def looked_at(response: httpx.Response) -> Any:
    """The answer; None where the call was refused."""
    assert response.status_code < 500, response.text
    if response.status_code == 200:
        return response.json()
    assert response.status_code == 400, response.text
    assert response.json()["error"]["message"]
    return None


def fits(value: Any, schema: Mapping[str, Any]) -> None:
    """But for patterns, the engine's affair, and for the validator's own idea of multiples."""
    if not any(name in json.dumps(schema) for name in ("attern", "multipleOf")):
        Draft202012Validator(schema).validate(value)


MANY = settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])


@MANY
@given(schema=schemas(), value=VALUES)
@example(schema={"enum": [HUGE], "multipleOf": 0.1}, value=HUGE)
def test_an_answer_under_any_schema_fits_or_is_refused(post: Post, schema: Any, value: Any) -> None:
    said = json.dumps(value)
    chat = {
        "model": "fake",
        "messages": [{"role": "user", "content": said}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
    }
    if told := looked_at(post("/v1/chat/completions", chat)):
        fits(json.loads(told["choices"][0]["message"]["content"]), schema)
    config = {"responseMimeType": "application/json", "responseJsonSchema": schema}
    asked = {"contents": [{"parts": [{"text": said}]}], "generationConfig": config}
    if told := looked_at(post("/v1beta/models/fake:generateContent", asked)):
        fits(json.loads(told["candidates"][0]["content"]["parts"][0]["text"]), schema)


@MANY
@given(schema=schemas(kinds=("object",)), value=st.dictionaries(NAMES, VALUES, max_size=3))
@example(schema={"properties": {"a": {"enum": [HUGE], "multipleOf": 0.1}}}, value={"a": HUGE})
@example(schema={"patternProperties": {"a": {}, "(?i)b": {}}}, value={"c": 1})
def test_calls_of_any_function_fit_or_are_refused(post: Post, schema: Any, value: Any) -> None:
    schema = {**schema, "type": "object"}
    said = json.dumps([{"name": "f", "arguments": value}])
    function = {"name": "f", "parameters": schema}
    chat = {
        "model": "fake",
        "messages": [{"role": "user", "content": said}],
        "tools": [{"type": "function", "function": function}],
        "tool_choice": "required",
    }
    if told := looked_at(post("/v1/chat/completions", chat)):
        (call,) = told["choices"][0]["message"]["tool_calls"]
        fits(json.loads(call["function"]["arguments"]), schema)
    asked = {
        "contents": [{"parts": [{"text": said}]}],
        "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": schema}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
    }
    if told := looked_at(post("/v1beta/models/fake:generateContent", asked)):
        fits(told["candidates"][0]["content"]["parts"][0]["functionCall"].get("args", {}), schema)


SAID = st.text(max_size=20) | st.sampled_from(
    [
        "[" * 5000,
        '{"a":' * 3000,
        "9" * 5000,
        "1e999",
        "NaN",
        "{}",
        "[]",
        "[1]",
        '[{"name": "f"}]',
        '[{"name": "g", "arguments": {}}]',
        '[{"name": "f", "arguments": {"a": "\\ud800"}}]',
        '[{"name": "f", "arguments": {"a": 1e999}}]',
    ]
)


@MANY
@given(said=SAID)
def test_what_is_no_answer_in_the_form_is_refused(post: Post, said: str) -> None:
    turn = {"role": "user", "content": said}
    tool = {"type": "function", "function": {"name": "f"}}
    forms: list[dict[str, Any]] = [
        {"response_format": {"type": "json_object"}},
        {"tools": [tool], "tool_choice": "required"},
        {"tools": [tool], "messages": [{**turn, "content": f"<tool_call>{said}"}]},
    ]
    for form in forms:
        for stream in (False, True):
            body = {"model": "fake", "messages": [turn], **form, "stream": stream}
            response = post("/v1/chat/completions", body)
            assert response.status_code < 500, response.text
            assert "server_error" not in response.text


@pytest.mark.parametrize("odd", ['"\\ud800"', "[" * 5000, "NaN", "1e999", '{"a":' * 150 + "1"])
def test_what_a_function_gave_may_be_any_text(post: Post, odd: str) -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    turns = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "1", "content": odd},
        {"role": "user", "content": "and now?"},
    ]
    assert post("/v1/chat/completions", {"model": "fake", "messages": turns}).status_code == 200
    calls[0]["function"] = {"name": "f", "arguments": f'{{"a": {odd}}}'}
    refused = post("/v1/chat/completions", {"model": "fake", "messages": turns})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "messages[1].tool_calls[0].function.arguments"
