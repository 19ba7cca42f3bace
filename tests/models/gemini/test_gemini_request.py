"""What a request asks for is what the SDK sends; what cannot be had is refused, never dropped."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from gemini_calls import ENDPOINT, Wire, developer, ok, vertex
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Call, Function, Message, Part, Request
from stepladder.errors import ModelError
from stepladder.models.hosted.api import PrefixCache

WIRE = Wire()
API = developer(WIRE)
ASKED = Request((Message("system", "Sort."), Message("user", "hi")), max_output_tokens=16)
SCHEMA = {
    "type": "object",
    "properties": {"drug_name": {"type": ["string", "null"]}, "n": {"$ref": "#/$defs/n"}},
    "$defs": {"n": {"type": "integer", "minimum": 0}},
    "additionalProperties": False,
}


def sent(request: Request, model: str = "plain") -> dict[str, Any]:
    API.send(model, request, None)
    return WIRE.body


def test_a_plain_request_is_the_prompt_and_its_limits() -> None:
    assert sent(ASKED) == {
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "systemInstruction": {"role": "user", "parts": [{"text": "Sort."}]},
        "generationConfig": {"temperature": 0.0, "maxOutputTokens": 16, "seed": 0},
    }
    assert WIRE.path == "/v1/models/plain:generateContent" or WIRE.path.startswith("/v1beta/")


@given(
    st.integers(1, 10_000), st.floats(0, 2), st.integers(0, 2**31 - 1),
    st.lists(st.text(min_size=1, max_size=5), max_size=5),
)  # fmt: skip
def test_every_setting_arrives(tokens: int, heat: float, seed: int, stop: list[str]) -> None:
    config = sent(Request(ASKED.messages, tokens, heat, seed, tuple(stop)))["generationConfig"]
    assert config.pop("stopSequences", []) == stop
    assert config == {"maxOutputTokens": tokens, "temperature": heat, "seed": seed}


def test_a_seed_of_any_size_is_one_the_service_takes() -> None:
    seeds = [sent(replace(ASKED, seed=s))["generationConfig"]["seed"] for s in (2**40 + 5, -1)]
    assert seeds == [5, 2**31 - 1]


def test_a_schema_arrives_as_it_is() -> None:
    config = sent(replace(ASKED, schema=SCHEMA))["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"] == SCHEMA


def test_choices_are_an_enum_in_their_order() -> None:
    config = sent(replace(ASKED, choices=("b c", "ä\n", "a")))["generationConfig"]
    assert config["responseMimeType"] == "text/x.enum"
    assert config["responseSchema"] == {"type": "STRING", "enum": ["b c", "ä\n", "a"]}


def test_functions_are_declared_and_never_called_by_the_sdk() -> None:
    functions = (Function("look_up", "finds it", SCHEMA), Function("now"))
    WIRE.answer = lambda request: {
        "candidates": [{"content": {"parts": [{"functionCall": {"name": "now", "args": {}}}]}}]
    }
    try:
        before = len(WIRE.requests)
        body = sent(replace(ASKED, functions=functions))
    finally:
        WIRE.answer = ok
    assert len(WIRE.requests) == before + 1
    [tool] = body["tools"]
    assert tool["functionDeclarations"] == [
        {"name": "look_up", "description": "finds it", "parameters_json_schema": SCHEMA},
        {"name": "now", "description": "now"},
    ]


def test_log_probabilities_are_asked_for_only_when_wanted() -> None:
    assert sent(replace(ASKED, logprob=True), "confident")["generationConfig"]["responseLogprobs"]
    assert "responseLogprobs" not in sent(ASKED, "confident")["generationConfig"]
    assert sent(replace(ASKED, logprob=True), "unheard-of")["generationConfig"]["responseLogprobs"]


def test_a_kept_prefix_takes_the_place_of_its_turns() -> None:
    API.send("plain", ASKED, PrefixCache("cachedContents/c1", 1, 5000))
    assert WIRE.body["cachedContent"] == "cachedContents/c1"
    assert WIRE.body["contents"] == [{"role": "user", "parts": [{"text": "hi"}]}]
    assert "systemInstruction" not in WIRE.body


def test_a_tuned_model_is_asked_at_its_endpoint_with_as_little_thinking_as_it_can() -> None:
    wire = Wire()
    vertex(wire).send(f"base@{ENDPOINT}", ASKED, None)
    assert wire.path == f"/v1beta1/{ENDPOINT}:generateContent"
    assert wire.body["generationConfig"]["thinkingConfig"] == {"thinking_level": "MINIMAL"}
    vertex(wire).send("base", ASKED, None)
    assert wire.path == (
        "/v1beta1/projects/p-1/locations/us-central1/publishers/google/models/base:generateContent"
    )
    assert "thinkingConfig" not in wire.body["generationConfig"]


@pytest.mark.parametrize(
    ("words", "model", "request_"),
    [
        ("did not generate", "plain", replace(ASKED, choices=("a",), score_choices=True)),
        ("schema and choices", "plain", replace(ASKED, choices=("a",), schema=SCHEMA)),
        ("response schema", "formless", replace(ASKED, schema=SCHEMA)),
        ("response schema", "formless", replace(ASKED, choices=("a",))),
        ("log-probabilities", "plain", replace(ASKED, logprob=True)),
        ("how .* thinks", "unheard-of", replace(ASKED, thinking_tokens=0)),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_is_sent(
    words: str, model: str, request_: Request
) -> None:
    before = len(WIRE.requests)
    with pytest.raises(ModelError, match=words) as caught:
        API.send(model, request_, None)
    assert caught.value.hint
    assert len(WIRE.requests) == before


def test_a_kept_prefix_goes_with_neither_functions_nor_a_later_system_turn() -> None:
    cache = PrefixCache("cachedContents/c1", 1, 5000)
    with pytest.raises(ModelError, match="functions"):
        API.send("plain", replace(ASKED, functions=(Function("f"),)), cache)
    with pytest.raises(ModelError, match="system turn"):
        API.send("plain", replace(ASKED, messages=(*ASKED.messages, ASKED.messages[0])), cache)


@given(st.integers(0, 100_000) | st.none())
def test_thoughts_never_take_the_share_of_the_answer(tokens: int | None) -> None:
    for model, least in (("budget", 0), ("pro", 128)):
        config = sent(replace(ASKED, thinking_tokens=tokens), model)["generationConfig"]
        budget = config.get("thinkingConfig", {}).get("thinking_budget")
        assert budget == (None if tokens is None else max(tokens, least))
        room = config["maxOutputTokens"]
        assert room == 65_536 or room >= 16 + (budget or 0)


@pytest.mark.parametrize(
    ("model", "tokens", "level"),
    [
        ("level", None, None), ("level", 0, "MINIMAL"), ("level", 1023, "MINIMAL"),
        ("level", 1024, "LOW"), ("level", 8191, "LOW"), ("level", 8192, "MEDIUM"),
        ("level", 50_000, "HIGH"), ("low", 0, "LOW"), ("plain", 0, None), ("plain", 500, None),
    ],
)  # fmt: skip
def test_a_level_takes_no_more_than_the_tokens_allowed(
    model: str, tokens: int | None, level: str | None
) -> None:
    config = sent(replace(ASKED, thinking_tokens=tokens), model)["generationConfig"]
    assert config.get("thinkingConfig") == (level and {"thinking_level": level})


def test_the_whole_request_is_json_whatever_it_holds() -> None:
    request = Request(
        (
            Message("user", (Part("text", "„“"), Part("audio", uri="gs://b/a.mp3"))),
            Message("assistant", calls=(Call("f", {"a": [1, None]}, "c1", "c2ln"),)),
            Message("function", "[1]", result_of=Call("f", id="c1")),
        ),
        functions=(Function("f"),),
        stop=("\n",),
        thinking_tokens=0,
    )
    json.dumps(sent(request, "level"), allow_nan=False)
