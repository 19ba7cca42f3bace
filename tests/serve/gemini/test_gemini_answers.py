"""What is told of an answer, whole and in chunks, is the same and as the documents say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from contract.specs import Spec
from contract.vendors import developer, vertex
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Call, Citation, Json, Usage
from stepladder.serve import End, Event, Piece, Spoken, Totals
from stepladder.serve.answering import Candidate, Whole
from stepladder.serve.gemini.answers import Api, Chunks, Frame, as_json, to_response

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
USAGE = Usage("fake", 10, 7, cached_tokens=4, thinking_tokens=2)
TOTALS = Totals(USAGE)
SPECS: dict[Api, tuple[Callable[[], Spec], str]] = {
    "gemini": (developer, ""), "vertex": (vertex, "GoogleCloudAiplatformV1beta1"),
}  # fmt: skip
APIS = pytest.mark.parametrize("api", SPECS)


def frame(api: Api) -> Frame:
    return Frame(api, "r1", "fake@1", AT)


def spoken(text: str, logprob: float, top: int = 0) -> Spoken:
    others = tuple(Spoken(n, f"{text}{n}", b"", logprob - n) for n in range(top))
    return Spoken(5, text, text.encode(), logprob, others)


def faults(api: Api, message: Json) -> list[str]:
    spec, prefix = SPECS[api]
    return spec().faults(f"{prefix}GenerateContentResponse", message, "response")


def whole(*candidates: Candidate) -> Whole:
    return Whole(candidates, TOTALS)


@APIS
def test_a_whole_answer(api: Api) -> None:
    told = to_response(whole(Candidate("hello", (), (), "length")), frame(api))
    assert faults(api, told) == []
    (candidate,) = told["candidates"]
    assert candidate["content"] == {"role": "model", "parts": [{"text": "hello"}]}
    assert candidate["finishReason"] == "MAX_TOKENS"
    assert (told["modelVersion"], told["responseId"]) == ("fake@1", "r1")
    assert told.get("createTime") == ("2026-11-22T12:00:00.000000Z" if api == "vertex" else None)


@APIS
def test_usage_adds_up(api: Api) -> None:
    usage = to_response(whole(Candidate("a", (), (), "stop")), frame(api))["usageMetadata"]
    assert usage["totalTokenCount"] == 17
    assert usage["totalTokenCount"] == sum(
        usage[name] for name in ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount")
    )
    assert usage["cachedContentTokenCount"] == 4
    assert usage["promptTokensDetails"] == [{"modality": "TEXT", "tokenCount": 10}]


def test_what_is_not_known_is_not_told() -> None:
    told = to_response(
        Whole((Candidate("a", (), (), "stop"),), Totals(Usage("m"))), frame("gemini")
    )
    assert told["usageMetadata"] == {}


@APIS
def test_calls_follow_the_text_and_keep_what_is_theirs(api: Api) -> None:
    calls = (Call("f", {"a": 1}), Call("g", {}, "c2", "c2ln"))
    told = to_response(whole(Candidate("", (), calls, "calls")), frame(api))
    assert faults(api, told) == []
    assert told["candidates"][0]["content"]["parts"] == [
        {"functionCall": {"name": "f", "args": {"a": 1}}},
        {"functionCall": {"name": "g", "args": {}, "id": "c2"}, "thoughtSignature": "c2ln"},
    ]
    assert told["candidates"][0]["finishReason"] == "STOP"


@APIS
def test_log_probabilities(api: Api) -> None:
    tokens = (spoken("he", -0.5, 2), spoken("llo", float("-inf"), 2))
    told = to_response(whole(Candidate("hello", tokens, (), "stop")), frame(api))
    assert faults(api, told) == []
    as_json(told)  # an infinity is no JSON
    result = told["candidates"][0]["logprobsResult"]
    assert [one["token"] for one in result["chosenCandidates"]] == ["he", "llo"]
    assert [len(one["candidates"]) for one in result["topCandidates"]] == [2, 2]
    assert ("logProbabilitySum" in result) is (api == "gemini")


def test_without_others_only_the_chosen_are_told() -> None:
    told = to_response(whole(Candidate("he", (spoken("he", -0.5),), (), "stop")), frame("gemini"))
    assert told["candidates"][0]["avgLogprobs"] == -0.5
    assert told["candidates"][0]["logprobsResult"] == {
        "chosenCandidates": [{"token": "he", "tokenId": 5, "logProbability": -0.5}],
        "logProbabilitySum": -0.5,
    }


PIECES = st.builds(
    Piece,
    st.integers(0, 1),
    st.text(min_size=1, max_size=5),
    st.sampled_from([(), (spoken("a", -0.5),), (spoken("a", -0.5, 2), spoken("b", -1.0, 2))]),
    st.sampled_from([(), (Call("f", {"a": 1}),)]),
)


@APIS
@given(pieces=st.lists(PIECES, max_size=6), ends=st.permutations((0, 1)))
def test_chunks_together_are_the_whole(api: Api, pieces: list[Piece], ends: list[int]) -> None:
    events: list[Event] = [*pieces, *(End(index, "stop") for index in ends), TOTALS]
    chunks = Chunks(frame(api))
    told = [message for event in events if (message := chunks.tell(event)) is not None]
    assert [fault for message in told for fault in faults(api, message)] == []
    texts, calls, finished = ["", ""], [0, 0], []
    for message in told:
        for candidate in message["candidates"]:
            index = candidate["index"]
            for part in candidate["content"]["parts"]:
                texts[index] += part.get("text", "")
                calls[index] += "functionCall" in part
            if "finishReason" in candidate:
                finished.append(index)
    for index in (0, 1):
        own = [piece for piece in pieces if piece.index == index]
        assert texts[index] == "".join(piece.text for piece in own)
        assert calls[index] == sum(len(piece.calls) for piece in own)
    assert finished == list(ends)
    assert ["usageMetadata" in message for message in told] == [False] * (len(told) - 1) + [True]


def test_the_average_of_a_stream_is_that_of_the_whole() -> None:
    chunks = Chunks(frame("vertex"))
    for piece in (Piece(0, "a", (spoken("a", -1.0),)), Piece(0, "b", (spoken("b", -2.0),))):
        chunks.tell(piece)
    assert chunks.tell(End(0, "stop")) is None
    last = chunks.tell(TOTALS)
    assert last is not None
    assert last["candidates"][0]["avgLogprobs"] == -1.5


CITED = (
    Citation("hand book#2", "rules/hand book.pdf", "Pay day is the last.", "Hand book"),
    Citation("b#0", "b.md", "Ünd leave."),
)


@APIS
def test_passages_that_an_answer_cites_are_its_grounding(api: Api) -> None:
    told = to_response(whole(Candidate("ünd", (), (), "stop", CITED)), frame(api))
    assert faults(api, told) == []
    grounding = told["candidates"][0]["groundingMetadata"]
    assert grounding["groundingChunks"][0]["retrievedContext"] == {
        "uri": "rules/hand%20book.pdf#hand%20book%232",
        "title": "Hand book",
        "text": "Pay day is the last.",
    }
    (support,) = grounding["groundingSupports"]
    assert support == {"segment": {"endIndex": 4, "text": "ünd"}, "groundingChunkIndices": [0, 1]}


@APIS
def test_a_stream_ends_with_the_same_grounding(api: Api) -> None:
    chunks = Chunks(frame(api))
    events = (Piece(0, "ü"), Piece(0, "nd"), End(0, "stop", CITED), TOTALS)
    told = [message for event in events if (message := chunks.tell(event)) is not None]
    assert not [fault for message in told for fault in faults(api, message)]
    whole_one = to_response(whole(Candidate("ünd", (), (), "stop", CITED)), frame(api))
    last = told[-1]["candidates"][0]
    assert last["groundingMetadata"] == whole_one["candidates"][0]["groundingMetadata"]
