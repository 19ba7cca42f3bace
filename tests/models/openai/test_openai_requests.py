"""What is sent: the real SDK's bodies for each kind of request, and what is refused before."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import date
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai_conversations import conversations, texts
from openai_wire import KEY, NOWHERE, Wire, api_over

from stepladder.catalogue import ModelFacts
from stepladder.core import Function, Message, Request
from stepladder.errors import ModelError
from stepladder.models.openai.body import chat_body, served_name
from stepladder.models.openai.endpoints import load_endpoints

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
    on_or_off = replace(ENDPOINTS["vllm"], effort=False)
    with pytest.raises(ModelError, match="how to bound its thinking"):
        chat_body(on_or_off, "m", Request(ASKED, thinking_tokens=100))


@pytest.mark.parametrize("wished", [0, 100])
def test_where_no_model_thinks_any_bound_is_kept(wished: int) -> None:
    mute = replace(OPENAI, effort=False)
    sent = chat_body(mute, "m", Request(ASKED, thinking_tokens=wished))
    assert sent.keys() == chat_body(mute, "m", Request(ASKED)).keys()


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
