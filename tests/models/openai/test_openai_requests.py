"""What is sent: the real SDK's bodies for each kind of request, and what is refused before."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai_wire import KEY, NOWHERE, Wire, api_over

from stepladder.catalogue import ModelFacts
from stepladder.core import Call, Function, Message, Part, Request
from stepladder.data.chat import CALL, RESULT, json_part
from stepladder.errors import ModelError
from stepladder.models.openai.body import chat_body, served_name
from stepladder.models.openai.endpoints import load_endpoints
from stepladder.models.openai.strict import allows_strict
from stepladder.models.openai.turns import turns

ENDPOINTS = load_endpoints(NOWHERE)
OPENAI = ENDPOINTS["openai"]
ASKED = (Message("system", "Be brief."), Message("user", "Is it?"))
CLOSED = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
PNG = base64.b64decode("iVBORw0KGgo=")


def body(request: Request, name: str = "openai", model: str = "gpt-4o-mini", **more: Any) -> Any:
    return chat_body(ENDPOINTS[name], model, request, **more)


def facts(model: str, thinking: Any, least: str | None = None) -> ModelFacts:
    return ModelFacts(model, date(2026, 11, 1), "test", thinking=thinking, least_thinking=least)


def test_a_plain_request_as_the_sdk_posts_it() -> None:
    wire = Wire()
    api_over(wire).send("gpt-4o-mini", Request(ASKED, 10, 0.5, seed=3, stop=("END",)), None)
    assert str(wire.sent[0].url) == "https://api.openai.com/v1/chat/completions"
    assert wire.sent[0].headers["authorization"] == f"Bearer {KEY}"
    assert wire.body == {
        "model": "gpt-4o-mini",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Is it?"},
        ],
        "max_completion_tokens": 10,
        "temperature": 0.5,
        "seed": 3,
        "stop": ["END"],
    }


def test_a_failed_call_is_not_sent_again_by_the_sdk() -> None:
    wire = Wire(lambda request: httpx2.Response(500, json={}))
    with pytest.raises(Exception, match="500"):
        api_over(wire).send("m", Request(ASKED), None)
    assert len(wire.sent) == 1


@pytest.mark.parametrize("name", sorted(ENDPOINTS))
def test_the_longest_answer_is_called_as_the_endpoint_calls_it(name: str) -> None:
    sent = body(Request(ASKED, 10), name)
    assert sent[ENDPOINTS[name].output_limit] == 10
    assert len({"max_tokens", "max_completion_tokens"} & sent.keys()) == 1


def test_of_a_tuned_model_the_tuned_one_is_asked() -> None:
    assert served_name("gpt-4o-mini@ft:gpt-4o-mini:us::1") == "ft:gpt-4o-mini:us::1"
    assert served_name("gpt-4o-mini") == "gpt-4o-mini"
    assert served_name("@cf/meta/llama") == "@cf/meta/llama"
    assert body(Request(ASKED), model="b@ft:b::1")["model"] == "ft:b::1"


def test_a_schema_goes_out_unaltered_and_strict_where_it_can_be() -> None:
    for schema, strict in ((CLOSED, True), ({"type": "object", "title": "open"}, False)):
        form = body(Request(ASKED, schema=schema))["response_format"]
        assert form["type"] == "json_schema"
        assert form["json_schema"] == {"name": "answer", "schema": schema, "strict": strict}


def test_a_tuned_model_of_openai_is_held_to_fewer_words_strictly() -> None:
    bounded = {**CLOSED, "properties": {"a": {"type": "integer", "minimum": 0}}}
    request = Request(ASKED, schema=bounded)
    assert body(request)["response_format"]["json_schema"]["strict"] is True
    tuned = body(request, model="gpt-4o-mini@ft:gpt-4o-mini::1")
    assert tuned["response_format"]["json_schema"]["strict"] is False


def test_choices_are_a_schema_with_room_to_write_it() -> None:
    sent = body(Request(ASKED, 10, choices=("yes", "no")))
    schema = sent["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["label"] == {"type": "string", "enum": ["yes", "no"]}
    assert sent["response_format"]["json_schema"]["strict"] is True
    assert sent["max_completion_tokens"] > 10


def test_vllm_is_given_the_choices_themselves() -> None:
    wire = Wire()
    api_over(wire, "vllm").send("qwen3", Request(ASKED, 10, choices=("yes", "no")), None)
    assert wire.body["structured_outputs"] == {"choice": ["yes", "no"]}
    assert "response_format" not in wire.body
    assert wire.body["max_tokens"] == 10


def test_a_schema_and_choices_at_once_are_refused() -> None:
    with pytest.raises(ModelError, match="both"):
        body(Request(ASKED, schema=CLOSED, choices=("a",)))


def test_openrouter_is_told_to_leave_out_who_ignores_what_is_asked() -> None:
    insisted = {"require_parameters": True}
    for request in (
        Request(ASKED, schema=CLOSED),
        Request(ASKED, choices=("a", "b")),
        Request(ASKED, functions=(Function("f"),)),
        Request(ASKED, logprob=True),
    ):
        wire = Wire()
        api_over(wire, "openrouter").send("m", request, None)
        assert wire.body["provider"] == insisted
        assert "seed" not in wire.body
    assert "provider" not in body(Request(ASKED), "openrouter")


def test_functions_are_tools() -> None:
    functions = (Function("book", "Books it.", CLOSED), Function("stop"))
    assert body(Request(ASKED, functions=functions))["tools"] == [
        {
            "type": "function",
            "function": {"name": "book", "description": "Books it.", "parameters": CLOSED},
        },
        {"type": "function", "function": {"name": "stop"}},
    ]


def test_log_probabilities_are_asked_for_in_the_endpoints_way() -> None:
    assert body(Request(ASKED, logprob=True))["logprobs"] is True
    assert body(Request(ASKED, logprob=True), "together")["logprobs"] == 1
    assert "logprobs" not in body(Request(ASKED))


# --- thinking -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wished", "effort"),
    [(0, "minimal"), (1, "low"), (2048, "low"), (2049, "medium"), (8192, "medium"), (9000, "high")],
)
def test_a_bound_on_thinking_is_an_effort(wished: int, effort: str) -> None:
    known = facts("openai:gpt-5", "level", "minimal")
    sent = body(Request(ASKED, 100, thinking_tokens=wished), facts=known)
    assert sent["reasoning_effort"] == effort
    assert sent["max_completion_tokens"] == 100 + wished
    assert "temperature" not in sent


def test_no_wish_is_no_word() -> None:
    sent = body(Request(ASKED), facts=facts("openai:gpt-5", "level", "none"))
    assert "reasoning_effort" not in sent


def test_a_model_that_does_not_think_keeps_any_bound() -> None:
    for wished in (0, 5000):
        sent = body(Request(ASKED, thinking_tokens=wished), facts=facts("openai:gpt-4o", "none"))
        assert "reasoning_effort" not in sent
        assert sent["temperature"] == 0.0


def test_a_model_that_thinks_takes_no_temperature() -> None:
    known = facts("openai:gpt-5", "level", "minimal")
    assert "temperature" not in body(Request(ASKED, temperature=1.0), facts=known)
    with pytest.raises(ModelError, match="takes no temperature"):
        body(Request(ASKED, temperature=0.7), facts=known)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("together", {"reasoning": {"enabled": False}}),
        ("openrouter", {"reasoning": {"effort": "none"}}),
        ("ollama", {"reasoning_effort": "none"}),
        ("llamacpp", {"reasoning_effort": "none"}),
        ("vllm", {"chat_template_kwargs": {"enable_thinking": False}}),
    ],
)
def test_an_unknown_model_is_kept_from_thinking_in_the_servers_way(name: str, told: Any) -> None:
    wire = Wire()
    api_over(wire, name).send("some-model", Request(ASKED, thinking_tokens=0), None)
    assert told.items() <= wire.body.items()


def test_a_wish_that_nothing_is_known_to_fulfil_is_refused() -> None:
    with pytest.raises(ModelError, match="how to keep it from thinking"):
        body(Request(ASKED, thinking_tokens=0))
    mute = replace(OPENAI, effort=False)
    with pytest.raises(ModelError, match="how to bound its thinking"):
        chat_body(mute, "m", Request(ASKED, thinking_tokens=100))


# --- what an endpoint cannot do -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("feature", "request_"),
    [
        ("logprobs", Request(ASKED, logprob=True)),
        ("functions", Request(ASKED, functions=(Function("f"),))),
        ("schema", Request(ASKED, schema=CLOSED)),
        ("schema", Request(ASKED, choices=("a",))),
        ("stop", Request(ASKED, stop=("x",))),
    ],
)
def test_what_an_endpoint_refuses_is_refused_before_it_is_sent(
    feature: Any, request_: Request
) -> None:
    with pytest.raises(ModelError, match=feature):
        chat_body(replace(OPENAI, refuses=(feature,)), "m", request_)
    chat_body(replace(OPENAI, refuses=()), "m", request_)


def test_what_a_model_is_known_not_to_have_is_refused() -> None:
    bare = replace(facts("openai:o", "none"), schema=False)
    for request in (
        Request(ASKED, logprob=True),
        Request(ASKED, schema=CLOSED),
        Request(ASKED, choices=("a",)),
    ):
        with pytest.raises(ModelError, match="'openai:o' has no"):
            body(request, facts=bare)
        body(request, facts=replace(bare, schema=True, logprobs=True))


def test_given_answers_are_not_scored() -> None:
    with pytest.raises(ModelError, match="cannot score"):
        body(Request(ASKED, choices=("a", "b"), score_choices=True))


def test_a_seed_is_left_out_where_there_is_none() -> None:
    assert "seed" not in chat_body(replace(OPENAI, leaves_out=("seed",)), "m", Request(ASKED))


# --- messages -----------------------------------------------------------------------------------


def test_calls_and_results_keep_their_ids() -> None:
    call = Call("weather", {"city": "Köln"}, id="call_abc")
    said = turns(
        (
            Message("user", "Rain?"),
            Message("assistant", calls=(call,)),
            Message("function", '{"rain": true}', result_of=call),
        ),
        OPENAI,
        None,
    )
    assert said[1] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_abc",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city": "Köln"}'},
            }
        ],
    }
    assert said[2] == {"role": "tool", "tool_call_id": "call_abc", "content": '{"rain": true}'}


def test_calls_without_ids_are_told_apart() -> None:
    calls = (Call("f", {"n": 1}), Call("f", {"n": 2}))
    said = turns(
        (
            Message("assistant", "Both.", calls=calls),
            Message("function", "one", result_of=calls[0]),
            Message("function", "two", result_of=calls[1]),
        ),
        OPENAI,
        None,
    )
    ids = [call["id"] for call in said[0]["tool_calls"]]
    assert len(set(ids)) == 2
    assert [turn["tool_call_id"] for turn in said[1:]] == ids
    assert said[0]["content"] == "Both."


def test_a_conversation_from_data_goes_out_as_calls_and_results() -> None:
    said = turns(
        (
            Message("user", "Rain?"),
            Message("assistant", (json_part(CALL, {"name": "f", "arguments": {"a": 1}}),)),
            Message("user", (json_part(RESULT, {"name": "f", "response": {"rain": True}}),)),
            Message("user", "So?"),
        ),
        OPENAI,
        None,
    )
    assert [turn["role"] for turn in said] == ["user", "assistant", "tool", "user"]
    assert said[1]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a": 1}'}
    assert said[2]["tool_call_id"] == said[1]["tool_calls"][0]["id"]
    assert json.loads(said[2]["content"]) == {"rain": True}


def test_a_result_without_its_call_is_refused() -> None:
    with pytest.raises(ModelError, match="answers no call"):
        turns((Message("function", "x", result_of=Call("f", id="c1")),), OPENAI, None)
    with pytest.raises(ModelError, match="which call"):
        turns((Message("function", "x"),), OPENAI, None)


def test_an_image_in_the_task_folder_is_sent_as_content(tmp_path: Path) -> None:
    (tmp_path / "dot.png").write_bytes(PNG)
    parts = (Part("text", "What?"), Part("image", uri="dot.png"))
    said = turns((Message("user", parts),), OPENAI, tmp_path)
    assert said[0]["content"] == [
        {"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    ]


def test_an_image_on_the_web_is_named_where_the_service_fetches_it() -> None:
    message = Message("user", (Part("image", uri="https://x.org/a.png"),))
    said = turns((message,), OPENAI, None)
    assert said[0]["content"][0]["image_url"] == {"url": "https://x.org/a.png"}
    with pytest.raises(ModelError, match="not by address"):
        turns((message,), ENDPOINTS["ollama"], None)


@pytest.mark.parametrize(
    "uri",
    ["/etc/passwd", "../../.ssh/id_rsa", "file:///etc/passwd", "http://10.0.0.1/x.png", "gs://b/x"],
)
@pytest.mark.parametrize("kind", ["image", "audio", "document"])
def test_a_hostile_address_is_not_sent(uri: str, kind: Any, tmp_path: Path) -> None:
    message = Message("user", (Part(kind, uri=uri, media_type="image/png"),))
    with pytest.raises(ModelError):
        turns((message,), OPENAI, tmp_path)


def test_sound_and_documents_are_content(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    sound = Part("audio", uri="a.wav", media_type="audio/wav")
    paper = Part("document", uri="a.pdf", media_type="application/pdf")
    said = turns((Message("user", (sound, paper)),), OPENAI, tmp_path)
    assert said[0]["content"] == [
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {
            "type": "file",
            "file": {
                "filename": "document.pdf",
                "file_data": "data:application/pdf;base64,JVBERg==",
            },
        },
    ]


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (Part("video", uri="data:video/mp4;base64,AAAA"), "openai"),
        (Part("audio", uri="data:audio/flac;base64,AAAA"), "openai"),
        (Part("audio", uri="data:audio/wav;base64,AAAA"), "ollama"),
        (Part("document", uri="data:application/pdf;base64,AAAA"), "llamacpp"),
    ],
)
def test_what_an_endpoint_does_not_take_is_refused(part: Part, name: str) -> None:
    with pytest.raises(ModelError):
        turns((Message("user", (part,)),), ENDPOINTS[name], None)


# --- properties ---------------------------------------------------------------------------------

texts = st.text(max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=6,
)
calls = st.builds(Call, st.sampled_from(["f", "g"]), st.dictionaries(texts, values, max_size=2))


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """Turns of a user and an assistant, in which every call gets its result."""
    made = [Message("system", draw(texts)), Message("user", draw(texts))]
    for _ in range(draw(st.integers(0, 3))):
        asked = tuple(draw(st.lists(calls, max_size=3)))
        made.append(Message("assistant", draw(texts), calls=asked))
        made += [Message("function", draw(texts), result_of=call) for call in asked]
        made.append(Message("user", draw(texts)))
    return tuple(made)


@given(conversations())
def test_nothing_of_a_conversation_is_lost(messages: tuple[Message, ...]) -> None:
    said = turns(messages, OPENAI, None)
    roles = {"function": "tool"}
    assert [turn["role"] for turn in said] == [roles.get(m.role, m.role) for m in messages]
    assert [turn["content"] or "" for turn in said] == [m.content for m in messages]
    ids = [call["id"] for turn in said for call in turn.get("tool_calls", ())]
    assert len(set(ids)) == len(ids)
    assert [turn["tool_call_id"] for turn in said if turn["role"] == "tool"] == ids
    arguments = [
        json.loads(call["function"]["arguments"])
        for turn in said
        for call in turn.get("tool_calls", ())
    ]
    assert arguments == [call.arguments for message in messages for call in message.calls]


@given(conversations(), st.integers(1, 500), st.lists(texts, max_size=3, unique=True))
def test_every_body_is_json_and_leaves_the_request_as_it_was(
    messages: tuple[Message, ...], most: int, choices: list[str]
) -> None:
    request = Request(messages, most, choices=tuple(choices))
    before = repr(request)
    for name in ENDPOINTS:
        sent = body(request, name)
        assert json.loads(json.dumps(sent)) == sent
        assert sent[ENDPOINTS[name].output_limit] >= most
    assert repr(request) == before


# --- strict schemas -----------------------------------------------------------------------------

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
