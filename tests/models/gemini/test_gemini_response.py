"""What the service says becomes an answer, an error in words, and a bill without guesses."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from gemini_calls import Wire, developer, vertex
from google.genai.errors import UnknownApiResponseError
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Call, Message, Part, Request, Response, Usage
from stepladder.models.gemini.request import can_go_on

WIRE = Wire()
API = developer(WIRE)
NAME = "gemini:confident"
NEEDS_CONTINUATION = pytest.mark.skipif(not can_go_on(), reason="the SDK came to it with 3.x")


def answered(answer: Any, **request: Any) -> Response:
    return answered_by(lambda _: answer, **request)


def answered_by(answer: Any, **request: Any) -> Response:
    WIRE.answer = answer
    asked = {"messages": (Message("user", "x"),), "logprob": True, **request}
    return API.send("confident", Request(**asked), None)


def candidate(*parts: Any, **fields: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, **fields}]}


def usage(**counts: Any) -> Usage:
    return answered({**candidate({"text": "a"}), "usageMetadata": counts}).usage


def test_the_text_is_what_was_said_and_not_what_was_thought() -> None:
    answer = candidate({"text": "hmm", "thought": True}, {"text": "a"}, {"text": "b"})
    response = answered(answer | {"modelVersion": "x"})
    assert (response.text, response.finish, response.error) == ("ab", "stop", None)


def test_calls_keep_what_goes_back_to_the_service() -> None:
    call = {
        "functionCall": {"id": "c1", "name": "f", "args": {"a": [1]}},
        "thoughtSignature": "-_8=",
    }
    response = answered(candidate(call, {"functionCall": {"name": "g"}}, finishReason="STOP"))
    assert response.calls == (Call("f", {"a": [1]}, "c1", "-_8="), Call("g"))
    again = (Message("user", "x"), Message("assistant", calls=response.calls))
    WIRE.answer = lambda _: candidate({"text": "done"})
    API.send("confident", Request(again), None)
    assert WIRE.body["contents"][1]["parts"][0] == call


@pytest.mark.parametrize(
    ("said", "logprob"),
    [
        ({"logProbabilitySum": -0.5, "chosenCandidates": [{"logProbability": -9.0}]}, -0.5),
        ({"chosenCandidates": [{"logProbability": -0.25}, {"logProbability": -1.0}]}, -1.25),
        ({"chosenCandidates": [{"logProbability": -0.25}, {"token": "x"}]}, None),
        ({}, None),
    ],
)
def test_the_log_probability_is_the_sum_or_unknown(said: Any, logprob: float | None) -> None:
    answer = candidate({"text": "a"}, logprobsResult=said)
    assert answered(answer).logprob == logprob
    assert answered(answer, logprob=False).logprob is None


def test_output_is_billed_with_its_thoughts_and_input_with_what_was_cached() -> None:
    assert usage(
        promptTokenCount=12, candidatesTokenCount=3, thoughtsTokenCount=10,
        cachedContentTokenCount=4, toolUsePromptTokenCount=2, totalTokenCount=27,
        promptTokensDetails=[
            {"modality": "TEXT", "tokenCount": 5}, {"modality": "AUDIO", "tokenCount": 7},
        ],
    ) == Usage(NAME, 14, 13, 4, thinking_tokens=10, audio_tokens=7)  # fmt: skip


def test_a_counter_left_out_is_zero_and_a_report_left_out_unknown() -> None:
    assert usage(promptTokenCount=3, totalTokenCount=3) == Usage(
        NAME, 3, 0, 0, thinking_tokens=0, audio_tokens=0
    )
    assert usage(promptTokenCount=3).output_tokens is None
    assert usage(candidatesTokenCount=3) == Usage(NAME)
    assert answered(candidate({"text": "a"})).usage == Usage(NAME)


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_what_is_billed_adds_up_to_the_total(read: int, written: int, thought: int) -> None:
    total = read + written + thought
    counts = {"promptTokenCount": read, "totalTokenCount": total}
    counts |= {"candidatesTokenCount": written} if written else {}
    counts |= {"thoughtsTokenCount": thought} if thought else {}
    found = usage(**counts)
    assert (found.input_tokens or 0) + (found.output_tokens or 0) == total


def test_audio_is_unknown_where_it_was_sent_and_not_reported() -> None:
    answer = {**candidate({"text": "a"}), "usageMetadata": {"promptTokenCount": 3}}
    sound = Message("user", (Part("audio", uri="gs://b/a.mp3", media_type="audio/mpeg"),))
    assert answered(answer, messages=(sound,)).usage.audio_tokens is None


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({}, "no answer and no reason"),
        ({"candidates": []}, "no answer and no reason"),
        ({"promptFeedback": {"blockReason": "SAFETY"}}, r"blocked the prompt \(SAFETY\)"),
        (
            {"promptFeedback": {"blockReason": "OTHER", "blockReasonMessage": "why"}},
            r"\(OTHER\): why",
        ),
        (candidate(finishReason="SAFETY"), r"withheld the answer \(SAFETY\)"),
        (candidate({"text": "half"}, finishReason="RECITATION"), r"\(RECITATION\)"),
        (candidate(finishReason="MALFORMED_FUNCTION_CALL"), "MALFORMED_FUNCTION_CALL"),
        (candidate(finishReason="STOP"), "the model said nothing"),
        ({"candidates": [{}]}, "the model said nothing"),
        (candidate(finishReason="MAX_TOKENS"), "cut at the limit .* before it began$"),
        (
            candidate(finishReason="MAX_TOKENS")
            | {"usageMetadata": {"promptTokenCount": 1, "thoughtsTokenCount": 16}},
            "thinking took 16 of them",
        ),
    ],
)
def test_what_is_no_answer_says_why(answer: Any, error: str) -> None:
    response = answered(answer)
    assert (response.text, response.finish, response.calls) == ("", "error", ())
    assert re.search(error, response.error or "")


def test_vertex_says_more_of_why_it_withheld_an_answer() -> None:
    wire = Wire(lambda _: candidate(finishReason="OTHER", finishMessage="why"))
    response = vertex(wire).send("base", Request((Message("user", "x"),)), None)
    assert response.error == "the service withheld the answer (OTHER): why"


def test_a_blocked_prompt_is_billed_as_reported() -> None:
    report = {"promptTokenCount": 3, "totalTokenCount": 3}
    response = answered({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": report})
    assert (response.usage.input_tokens, response.usage.output_tokens) == (3, 0)


def test_an_answer_cut_at_the_limit_is_still_an_answer() -> None:
    response = answered(candidate({"text": "hal"}, finishReason="MAX_TOKENS"))
    assert (response.text, response.finish, response.error) == ("hal", "length", None)


def test_a_reason_that_is_new_is_not_taken_for_success() -> None:
    response = answered(candidate({"text": "a"}, finishReason="BRAND_NEW_REASON"))
    assert "BRAND_NEW_REASON" in (response.error or "")


@NEEDS_CONTINUATION
def test_an_answer_in_pieces_is_put_together_and_billed_for_all_of_them() -> None:
    report = {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7}
    pieces = [
        candidate({"text": "one "}, finishReason="CONTINUATION", continuationToken="dG9r"),
        candidate({"text": "two"}, finishReason="STOP"),
    ]
    rest = iter(pieces)
    WIRE.answer = lambda _: {**next(rest), "usageMetadata": report}
    response = API.send("confident", Request((Message("user", "x"),)), None)
    assert (response.text, response.finish) == ("one two", "stop")
    assert response.usage.output_tokens == 4


def test_fields_newer_than_this_program_are_passed_over() -> None:
    content = {"parts": [{"text": "a", "newer": 1}], "newer": {}}
    answer = {"candidates": [{"content": content, "newer": [2]}], "newer": True}
    response = answered(answer | {"usageMetadata": {"promptTokenCount": 3, "newer": {"a": 1}}})
    assert (response.text, response.usage.input_tokens, response.error) == ("a", 3, None)


def test_a_counter_may_come_as_text() -> None:
    assert usage(promptTokenCount="3", candidatesTokenCount="2").output_tokens == 2


@pytest.mark.parametrize(
    "answer",
    [
        [], "text", 3, None,
        {"candidates": {"content": 1}},
        {"candidates": ["text"]},
        {"candidates": [{"content": {"parts": ["text"]}}]},
        {"candidates": [{"content": {"parts": [{"text": 3}]}}]},
        {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": 3}}]}}]},
        candidate({"text": "a"}) | {"usageMetadata": {"promptTokenCount": True}},
        candidate({"text": "a"}) | {"usageMetadata": {"promptTokenCount": "many"}},
        candidate({"text": "a"}) | {"usageMetadata": [1]},
    ],
)  # fmt: skip
def test_what_is_not_of_the_form_of_an_answer_is_refused(answer: Any) -> None:
    with pytest.raises(UnknownApiResponseError, match="not"):
        answered(answer)


@NEEDS_CONTINUATION
def test_the_rest_of_an_answer_is_asked_for_with_the_token_that_came() -> None:
    pieces = iter(
        [
            candidate({"text": "one "}, finishReason="CONTINUATION", continuationToken="-_8="),
            candidate({"text": "two "}, finishReason="CONTINUATION", continuationToken="dG9r"),
            candidate({"text": "three"}, finishReason="MAX_TOKENS"),
        ]
    )
    WIRE.requests.clear()
    response = answered_by(lambda _: next(pieces))
    assert (response.text, response.finish) == ("one two three", "length")
    tokens = [json.loads(sent.content).get("continuationToken") for sent in WIRE.requests]
    assert tokens == [None, "-_8=", "dG9r"]


@pytest.mark.parametrize(
    ("told", "tier"),
    [
        ({}, "standard"),
        ({"trafficType": "ON_DEMAND"}, "standard"),
        ({"serviceTier": "standard"}, "standard"),
        ({"trafficType": "PROVISIONED_THROUGHPUT"}, "other"),
        ({"trafficType": "ON_DEMAND_PRIORITY"}, "other"),
        ({"serviceTier": "flex"}, "other"),
    ],
)
def test_a_tier_that_a_project_is_set_to_is_not_taken_for_the_standard_one(
    told: dict[str, str], tier: str
) -> None:
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4, **told}
    content = {"parts": [{"text": "yes"}]}
    said = {"candidates": [{"content": content, "finishReason": "STOP"}], "usageMetadata": usage}
    assert answered(said).usage.tier == tier
