"""Messages as turns: calls and their results, media, and what is not sent anywhere."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from openai_conversations import conversations
from openai_wire import NOWHERE

from stepladder.core import Call, Message, Part
from stepladder.data.chat import CALL, RESULT, json_part
from stepladder.errors import ModelError
from stepladder.models.openai.endpoints import load_endpoints
from stepladder.models.openai.turns import turns

ENDPOINTS = load_endpoints(NOWHERE)
OPENAI = ENDPOINTS["openai"]
PNG = base64.b64decode("iVBORw0KGgo=")


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


def test_a_result_is_text() -> None:
    call = Call("f", id="c1")
    asked = Message("assistant", calls=(call,))
    texts = Message("function", (Part("text", "a"), Part("text", "b")), result_of=call)
    assert turns((asked, texts), OPENAI, None)[1]["content"] == "ab"
    shown = Message("function", (Part("image", uri="https://x.org/a.png"),), result_of=call)
    with pytest.raises(ModelError, match="only be text"):
        turns((asked, shown), OPENAI, None)


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


@pytest.mark.parametrize("ids", [("c1", "c2"), ("", "")])
def test_results_in_any_order_find_their_calls(ids: tuple[str, str]) -> None:
    one, two = (Call("f", {"n": n}, id=id) for n, id in enumerate(ids))
    said = turns(
        (
            Message("assistant", calls=(one, two)),
            Message("function", "of two", result_of=two),
            Message("function", "of one", result_of=one),
        ),
        OPENAI,
        None,
    )
    first, second = (call["id"] for call in said[0]["tool_calls"])
    assert [turn["tool_call_id"] for turn in said[1:]] == [second, first]


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
