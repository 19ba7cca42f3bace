"""Conversations as vendors write them: every documented row; rubbish is Malformed, no more."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.core import Message, Part
from stepladder.data.chat import CALL, RESULT, Malformed
from stepladder.data.chat_gemini import from_gemini
from stepladder.data.chat_openai import from_openai, messages_from_json

from .strategies import JSON

MODEL = {"role": "model", "parts": [{"text": "card_blocked"}]}
USER = {"role": "user", "parts": [{"text": "My card is blocked"}]}


@pytest.mark.parametrize("key", ["systemInstruction", "system_instruction"])
@pytest.mark.parametrize(
    "value",
    [{"role": "system", "parts": [{"text": "Label."}]}, {"parts": {"text": "Label."}}, "Label."],
)
def test_gemini_system_instruction_in_every_spelling(key: str, value: Any) -> None:
    answered, expected, rest = from_gemini({key: value, "contents": [USER, MODEL]})
    assert answered == (Message("system", "Label."), Message("user", "My card is blocked"))
    assert (expected, rest) == ("card_blocked", {})


def test_gemini_single_turn_is_text() -> None:
    assert from_gemini({"contents": [USER, MODEL]})[:2] == ("My card is blocked", "card_blocked")


def test_gemini_multi_turn_keeps_the_earlier_answers() -> None:
    answered, expected, _ = from_gemini({"contents": [USER, MODEL, USER, MODEL]})
    assert [m.role for m in answered if isinstance(m, Message)] == ["user", "assistant", "user"]
    assert expected == "card_blocked"


def test_gemini_files_become_parts() -> None:
    parts = [
        {"fileData": {"mimeType": "image/jpeg", "fileUri": "gs://b/1.jpg"}},
        {"file_data": {"mime_type": "audio/wav", "file_uri": "gs://b/1.wav"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "aGk="}},
        {"text": "Describe"},
    ]
    answered, _, rest = from_gemini(
        {"contents": [{"role": "user", "parts": parts}, MODEL], "generationConfig": {"x": 1}}
    )
    (message,) = answered
    assert isinstance(message, Message)
    assert message.content == (
        Part("image", uri="gs://b/1.jpg", media_type="image/jpeg"),
        Part("audio", uri="gs://b/1.wav", media_type="audio/wav"),
        Part("document", uri="data:application/pdf;base64,aGk=", media_type="application/pdf"),
        Part("text", "Describe"),
    )
    assert rest == {"generationConfig": {"x": 1}}


def test_gemini_functions_are_called_and_answered() -> None:
    call = {"role": "model", "parts": [{"functionCall": {"name": "w", "args": {"city": "Paris"}}}]}
    result = {"parts": [{"functionResponse": {"name": "w", "response": {"temp": 20}}}]}
    answered, expected, _ = from_gemini({"contents": [USER, call, result, MODEL], "tools": []})
    called, told = answered[1], answered[2]
    assert isinstance(called, Message)
    assert isinstance(told, Message)
    assert (called.role, told.role, expected) == ("assistant", "user", "card_blocked")
    (part,) = called.content
    assert isinstance(part, Part)
    assert part.media_type == CALL
    assert json.loads(part.text) == {"name": "w", "arguments": {"city": "Paris"}}
    assert told.content[0].media_type == RESULT  # type: ignore[union-attr]
    expected = from_gemini({"contents": [USER, call]})[1]
    assert expected == [{"name": "w", "arguments": {"city": "Paris"}}]


def test_gemini_says_what_is_wrong() -> None:
    for row, said in [
        ({"contents": []}, "list of turns"),
        ({"contents": [{"role": "user"}]}, "turn 1 needs 'parts'"),
        ({"contents": [{"role": "robot", "parts": [{"text": "a"}]}]}, "'robot'"),
        ({"contents": [{"parts": [{"smell": 1}]}]}, "unknown form"),
        ({"contents": [USER], "completions": [{"score": 1}]}, "'completion'"),
        ({"contents": [USER], "systemInstruction": 3}, "systemInstruction needs"),
    ]:
        with pytest.raises(Malformed, match=said):
            from_gemini(row)


def test_gemini_preference_and_reinforcement_rows() -> None:
    bad = {"score": 0, "completion": {"role": "model", "parts": [{"text": "bad"}]}}
    good = {"score": 1, "completion": {"role": "model", "parts": [{"text": "good"}]}}
    answered, expected, rest = from_gemini({"contents": [USER], "completions": [bad, good]})
    assert (answered, expected) == ("My card is blocked", "good")
    assert rest == {"completions": [bad, good]}
    assert from_gemini({"contents": [USER], "references": {"answer": "42"}})[1] == "42"
    two = {"answer": "42", "unit": "m"}
    assert from_gemini({"contents": [USER], "references": two})[1] == two


def test_openai_rows() -> None:
    turns = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
            {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}},
        ]},
        {"role": "assistant", "content": "A cat."},
    ]  # fmt: skip
    answered, expected, rest = from_openai({"messages": turns, "n": 1})
    assert answered == (
        Message("system", "Be brief."),
        Message(
            "user",
            (
                Part("text", "What is it?"),
                Part("image", uri="https://example.org/a.png", media_type="image/png"),
                Part("audio", uri="data:audio/mp3;base64,aGk=", media_type="audio/mp3"),
            ),
        ),
    )
    assert (expected, rest) == ("A cat.", {"n": 1})


def test_openai_files_and_tool_texts() -> None:
    turns = [
        {"role": "user", "content": [
            {"type": "file", "file": {"file_id": "file-1", "filename": "a.pdf"}},
            {"type": "text", "text": "Read."},
        ]},
        {"role": "tool", "tool_call_id": "gone", "content": [{"type": "text", "text": "20 C"}]},
        {"role": "assistant", "content": [
            {"type": "text", "text": "It"}, {"type": "text", "text": " is."},
        ]},
    ]  # fmt: skip
    answered, expected, _ = from_openai({"messages": turns})
    file = Part("document", uri="file-1", media_type="application/pdf")
    result = Part("text", '{"name": "function", "response": "20 C"}', media_type=RESULT)
    assert answered == (
        Message("user", (file, Part("text", "Read."))),
        Message("user", (result,)),
    )
    assert expected == "It is."


def test_openai_calls_old_and_new() -> None:
    function = {"name": "f", "arguments": '{"a": 1}'}
    user = {"role": "user", "content": "go"}
    new = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": function}]}
    old = {"role": "assistant", "function_call": function}
    for answer in (new, old):
        assert from_openai({"messages": [user, answer]})[1] == [
            {"name": "f", "arguments": {"a": 1}}
        ]


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        ([], "list of turns"),
        ([{"role": "user", "content": "a"}], "last turn"),
        ([{"role": "assistant", "content": "a"}], "no turn before"),
        ([{"role": "robot", "content": "a"}], "turn 1 needs a 'role'"),
        ([{"role": "user"}, {"role": "assistant", "content": "a"}], "turn 1 has neither"),
        ([{"role": "user", "content": 3}], "'content' of turn 1"),
        ([{"role": "user", "content": [{"type": "smell"}]}], "unknown form"),
        ([{"role": "assistant", "function_call": {"name": "f", "arguments": "{"}}], "JSON"),
        ([{"role": "assistant", "tool_calls": [{"function": 3}]}], "not an object"),
        ([{"role": "assistant", "tool_calls": {"a": 1}}], "not a list"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_turn_is_said(turns: list[Any], said: str) -> None:
    with pytest.raises(Malformed, match=said):
        from_openai({"messages": turns})


KEYS = st.sampled_from(
    ["role", "content", "parts", "text", "tool_calls", "function", "function_call", "name",
     "arguments", "functionCall", "functionResponse", "fileData", "inlineData", "type",
     "image_url", "input_audio", "file", "args", "response", "id", "tool_call_id"]
)  # fmt: skip
WORDS = st.sampled_from(
    ["user", "assistant", "model", "tool", "system", "text", "image_url", "{}", ""]
)
RUBBISH = st.recursive(
    JSON | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=15,
)


@given(
    turns=st.lists(RUBBISH, max_size=3) | RUBBISH,
    more=st.dictionaries(
        st.sampled_from(["systemInstruction", "completions", "references"]), RUBBISH, max_size=1
    ),
)
@settings(deadline=None, max_examples=150)
def test_rubbish_is_malformed_and_never_a_crash(turns: Any, more: dict[str, Any]) -> None:
    for read, key in ((from_openai, "messages"), (from_gemini, "contents")):
        with suppress(Malformed):
            read({key: turns, **more})
    if isinstance(turns, list):
        with suppress(Malformed):
            messages_from_json(turns)
