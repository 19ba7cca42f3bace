"""What comes back: answers, calls, probabilities, usage, and what is no answer."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai_wire import NOWHERE, Wire, api_over, completion

from stepladder.core import Call, Message, Part, Request, Response
from stepladder.models.openai.answer import NotACompletion, read_answer
from stepladder.models.openai.endpoints import load_endpoints

ENDPOINTS = load_endpoints(NOWHERE)
ASKED = (Message("user", "Is it?"),)
SOUND = (Message("user", (Part("audio", uri="data:audio/wav;base64,AAAA"),)),)


def answer(body: Any, request: Request | None = None, name: str = "openai") -> Response:
    return read_answer(body, f"{name}:m", request or Request(ASKED), ENDPOINTS[name])


def with_choice(**changed: Any) -> dict[str, Any]:
    body = completion()
    body["choices"][0] |= changed
    return body


def test_the_answer_through_the_sdk() -> None:
    response = api_over(Wire()).send("gpt-4o-mini", Request(ASKED), None)
    assert (response.text, response.finish, response.error) == ("yes", "stop", None)
    assert response.usage.model == "openai:gpt-4o-mini"
    assert response.usage.seconds is None


def test_usage_is_what_was_reported() -> None:
    usage = answer(completion(), Request(SOUND)).usage
    assert (usage.input_tokens, usage.output_tokens) == (12, 5)
    assert (usage.cached_tokens, usage.thinking_tokens, usage.audio_tokens) == (4, 3, 2)
    assert usage.tier == "standard"
    assert usage.cache_write_tokens == 0


@pytest.mark.parametrize(
    ("name", "told", "tier"),
    [
        ("openai", "default", "standard"),
        ("openai", "priority", "other"),
        ("azure", "flex", "other"),
        ("together", "on_demand", "standard"),  # whose words are not OpenAI's
    ],
)
def test_a_tier_that_a_project_is_set_to_is_not_taken_for_the_standard_one(
    name: str, told: str, tier: str
) -> None:
    assert answer({**completion(), "service_tier": told}, name=name).usage.tier == tier


def test_tokens_that_a_service_wrote_into_its_cache_are_counted() -> None:
    body = completion()
    body["usage"]["prompt_tokens_details"]["cache_write_tokens"] = 7
    assert answer(body).usage.cache_write_tokens == 7


def test_what_was_not_reported_is_unknown_but_there_is_no_sound_where_none_was_sent() -> None:
    bare = {**completion(), "usage": {"prompt_tokens": 3, "completion_tokens": 1}}
    usage = answer(bare).usage
    assert (usage.input_tokens, usage.output_tokens) == (3, 1)
    assert (usage.cached_tokens, usage.thinking_tokens) == (None, None)
    assert usage.audio_tokens == 0
    assert answer(bare, Request(SOUND)).usage.audio_tokens is None
    unreported = answer({**completion(), "usage": None}).usage
    assert (unreported.input_tokens, unreported.output_tokens) == (None, None)


def test_an_answer_held_to_choices_comes_back_as_the_choice() -> None:
    request = Request(ASKED, choices=("yes", "no"))
    assert answer(completion('{"label": "no"}'), request).text == "no"
    assert answer(completion("no"), request, "vllm").text == "no"


@pytest.mark.parametrize("text", ['{"label": "n', "no", "[1]", "null", '{"label": 3}', '{"a": 1}'])
def test_what_was_said_past_the_choices_is_left_to_the_parser(text: str) -> None:
    assert answer(completion(text), Request(ASKED, choices=("yes", "no"))).text == text


def test_an_answer_held_to_a_schema_is_the_json_itself() -> None:
    request = Request(ASKED, schema={"type": "object"})
    assert answer(completion('{"label": "yes"}'), request).text == '{"label": "yes"}'


@given(st.lists(st.text(), min_size=1, max_size=4, unique=True))
def test_every_choice_comes_back_whole(choices: list[str]) -> None:
    request = Request(ASKED, choices=tuple(choices))
    for choice in choices:
        said = json.dumps({"label": choice})
        assert answer(completion(said), request).text == choice


def test_calls_come_back_with_their_ids() -> None:
    said = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    response = answer(completion(None, "tool_calls", tool_calls=[said]))
    assert response.calls == (Call("f", {"a": 1}, id="call_1"),)
    assert (response.text, response.finish, response.error) == ("", "stop", None)


@pytest.mark.parametrize("arguments", [{"a": 1}, '{"a":1}'])
def test_arguments_may_come_as_an_object(arguments: Any) -> None:
    said = {"type": "function", "function": {"name": "f", "arguments": arguments}}
    response = answer(completion(None, tool_calls=[said]), name="ollama")
    assert response.calls == (Call("f", {"a": 1}),)


@pytest.mark.parametrize("arguments", ["", None])
def test_a_call_may_have_no_arguments(arguments: Any) -> None:
    said = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    assert answer(completion(None, tool_calls=[said])).calls == (Call("f", {}, id="c"),)


@pytest.mark.parametrize("arguments", ["{", "[1]", "3"])
def test_damaged_arguments_are_an_error_of_the_model_that_is_paid_for(arguments: str) -> None:
    said = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    response = answer(completion(None, tool_calls=[said]))
    assert response.error is not None
    assert "'f'" in response.error
    assert response.usage.output_tokens == 5


def test_probabilities_are_summed_in_either_form() -> None:
    request = Request(ASKED, logprob=True)
    openai = {"content": [{"token": "y", "logprob": -0.5}, {"token": "es", "logprob": -0.25}]}
    together = {"tokens": ["y", "es"], "token_logprobs": [-0.5, -0.25]}
    assert answer(with_choice(logprobs=openai), request).logprob == -0.75
    assert answer(with_choice(logprobs=together), request, "together").logprob == -0.75
    assert answer(completion(), request).logprob is None
    assert answer(with_choice(logprobs=openai)).logprob is None


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (completion(None, "content_filter"), "content filter"),
        (completion("half of", "content_filter"), "content filter"),
        (completion(None, refusal="I cannot do that."), "I cannot do that."),
        (completion("", "length"), "used up by thinking"),
        (completion(""), "empty"),
        (completion(None), "empty"),
        (completion("x", "error"), "with an error"),
    ],
)
def test_what_was_withheld_refused_or_left_empty_is_an_error(body: Any, told: str) -> None:
    response = answer(body)
    assert response.error is not None
    assert told in response.error
    assert (response.text, response.finish) == ("", "error")
    assert response.usage.input_tokens == 12


def test_an_answer_that_was_cut_says_so() -> None:
    response = answer(completion("yes but", "length"))
    assert (response.text, response.finish, response.error) == ("yes but", "length", None)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("<think>\nIs it? It is.\n</think>\n\nyes", "yes"),
        ("\n<think></think>yes", "yes"),
        ("say <think>no</think>", "say <think>no</think>"),
        ("<think>a</think><think>b</think>", "<think>b</think>"),
    ],
)
def test_thoughts_that_a_server_leaves_before_the_answer_are_not_the_answer(
    said: str, text: str
) -> None:
    assert answer(completion(said), name="vllm").text == text


def test_thoughts_that_were_cut_are_no_answer() -> None:
    response = answer(completion("<think>Is it? Let me", "length"), name="vllm")
    assert response.error is not None
    assert "used up by thinking" in response.error


def test_text_in_parts_is_put_together() -> None:
    parts = [{"type": "text", "text": "ye"}, {"type": "text", "text": "s"}]
    assert answer(with_choice(message={"role": "assistant", "content": parts})).text == "yes"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choices": []},
        {"choices": None},
        {"choices": [{}]},
        {"choices": [{"message": None}]},
        {"error": {"message": "upstream failed"}},
        [],
        "<html>",
        None,
    ],
)
def test_what_is_no_completion_is_said_so(body: Any) -> None:
    with pytest.raises(NotACompletion):
        answer(body)


def test_a_page_in_the_place_of_json_is_no_completion() -> None:
    page = Wire(lambda request: httpx2.Response(200, text="<html>Sign in</html>"))
    with pytest.raises(NotACompletion):
        api_over(page).send("m", Request(ASKED), None)


def test_an_error_that_comes_as_a_success_is_told() -> None:
    error = {"error": {"message": "the provider returned an error", "code": 502}}
    with pytest.raises(NotACompletion, match="the provider returned an error"):
        api_over(Wire(error), "openrouter").send("m", Request(ASKED), None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "content", "usage", "tool_calls", "function"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(json_values)
def test_an_answer_is_not_lost_to_a_report_beside_it_that_cannot_be_read(report: Any) -> None:
    body = with_choice(logprobs={"content": report})
    response = answer({**body, "usage": report}, Request(SOUND, logprob=True))
    assert (response.text, response.error) == ("yes", None)


@given(json_values)
def test_whatever_comes_is_an_answer_or_said_to_be_none(body: Any) -> None:
    for candidate in (body, {"choices": [{"message": body}]}, {**completion(), "usage": body}):
        with suppress(NotACompletion):
            assert isinstance(answer(candidate, Request(SOUND, logprob=True)), Response)
