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
from odd_schemas import HUGE, NAMES, VALUES, schemas
from serving import fake_models

from stepladder.database import open_database
from stepladder.fake_live import FakeEngine
from stepladder.serve.app import create_app
from stepladder.serve.server import assemble
from stepladder.serve.settings import ServeSettings

Post = Callable[[str, Any], httpx.Response]


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


MANY = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])


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
