"""Messages arrive at the service whole and in order: read back from what the real SDK sent."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from gemini_calls import KNOWN, Wire, developer
from hypothesis import assume, given
from hypothesis import strategies as st

from stepladder.core import Call, Message, Part, Request
from stepladder.data.chat import CALL, RESULT, json_part
from stepladder.errors import ModelError

WIRE = Wire()
API = developer(WIRE)

Item = tuple[Any, ...]
Turns = tuple[list[Item], list[tuple[str, list[Item]]]]  # the system's items, and the others' turns


def sent(*messages: Message, model: str = "plain") -> dict[str, Any]:
    API.send(model, Request(messages), None)
    return WIRE.body


# --- the same, said of messages and of what was sent ----------------------------------------------


def meant(messages: Sequence[Message]) -> Turns:
    system = [item for m in messages if m.role == "system" for item in items(m)]
    turns: list[tuple[str, list[Item]]] = []
    results = False
    for message in messages:
        if message.role == "function":
            if results:
                turns[-1][1].extend(items(message))
            else:
                turns.append(("user", items(message)))
        elif message.role != "system":
            turns.append(("model" if message.role == "assistant" else "user", items(message)))
        if message.role != "system":
            results = message.role == "function"
    return system, turns


def items(message: Message) -> list[Item]:
    if message.result_of is not None:
        call = message.result_of
        return [("result", call.id, call.name, result_value(message.content))]
    if isinstance(message.content, str):
        said: list[Item] = (
            [("text", message.content)] if message.content or not message.calls else []
        )
    else:
        said = [part_item(part) for part in message.content]
    return said + [("call", c.id, c.name, c.arguments, c.signature) for c in message.calls]


def part_item(part: Part) -> Item:
    if part.kind == "text":
        return ("text", part.text)
    if part.uri.startswith("data:"):
        return ("data", part.media_type, base64.b64decode(part.uri.partition(",")[2]))
    return ("file", part.media_type, part.uri)


def result_value(content: str | tuple[Part, ...]) -> Any:
    text = content if isinstance(content, str) else "".join(part.text for part in content)
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False)
    except ValueError:
        value = text
    return value if isinstance(value, dict) else {"result": value}


def arrived(body: dict[str, Any]) -> Turns:
    system = [wire_item(part) for part in body.get("systemInstruction", {}).get("parts", [])]
    return system, [
        (turn["role"], [wire_item(part) for part in turn["parts"]]) for turn in body["contents"]
    ]


def wire_item(part: dict[str, Any]) -> Item:
    if "text" in part:
        return ("text", part["text"])
    if call := part.get("functionCall"):
        signature = part.get("thoughtSignature", "")
        return ("call", call.get("id", ""), call["name"], call["args"], signature)
    if result := part.get("functionResponse"):
        return ("result", result.get("id", ""), result["name"], result["response"])
    if blob := part.get("inlineData"):
        return (
            "data",
            either(blob, "mimeType", "mime_type"),
            base64.urlsafe_b64decode(blob["data"]),
        )
    file = part["fileData"]
    return ("file", either(file, "mimeType", "mime_type"), either(file, "fileUri", "file_uri"))


def either(known: dict[str, Any], *names: str) -> Any:
    """Google reads both spellings; which one the SDK writes depends on how it is asked."""
    (value,) = [known[name] for name in names if name in known]
    return value


# --- anything that messages can hold --------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
signatures = st.binary(max_size=9).map(lambda raw: base64.urlsafe_b64encode(raw).decode())
calls = st.builds(
    Call, names, st.dictionaries(texts, values, max_size=3), id=names | st.just(""),
    signature=signatures,
)  # fmt: skip
text_parts = st.builds(Part, st.just("text"), texts)
blobs = st.binary(max_size=9).map(
    lambda raw: Part(
        "image",
        uri=f"data:image/png;base64,{base64.b64encode(raw).decode()}",
        media_type="image/png",
    )
)
files = st.builds(
    Part,
    st.just("document"),
    uri=names.map("gs://bucket/{}".format) | names.map("https://example.org/{}".format),
    media_type=st.just("application/pdf"),
)
contents = texts | st.lists(text_parts | blobs | files, min_size=1, max_size=3).map(tuple)
results = texts | values.map(json.dumps) | st.lists(text_parts, min_size=1, max_size=2).map(tuple)
messages = st.one_of(
    st.builds(Message, st.just("system"), texts),
    st.builds(Message, st.just("user"), contents),
    st.builds(Message, st.just("assistant"), contents, st.lists(calls, max_size=2).map(tuple)),
    st.builds(Message, st.just("function"), results, result_of=calls),
)


@given(st.lists(messages, min_size=1, max_size=6))
def test_nothing_that_messages_hold_is_lost_or_moved(turns: list[Message]) -> None:
    assume(any(message.role != "system" for message in turns))
    assert arrived(sent(*turns)) == meant(turns)


@given(st.lists(messages, min_size=1, max_size=5), st.data())
def test_a_kept_prefix_is_not_sent_again(turns: list[Message], data: st.DataObject) -> None:
    from stepladder.models.hosted.api import PrefixCache

    kept = data.draw(st.integers(0, len(turns) - 1))
    rest = turns[kept:]
    assume(all(message.role != "system" for message in rest))
    API.send("plain", Request(tuple(turns)), PrefixCache("cachedContents/c1", kept, 5000))
    assert WIRE.body["cachedContent"] == "cachedContents/c1"
    assert arrived(WIRE.body) == meant(rest)


# --- what has a form of its own -------------------------------------------------------------------


def test_calls_and_results_of_data_files_are_calls_and_results() -> None:
    body = sent(
        Message("user", "weather?"),
        Message("assistant", (json_part(CALL, {"name": "look", "arguments": {"at": "sky"}}),)),
        Message("user", (json_part(RESULT, {"name": "look", "response": {"sky": "blue"}}),)),
    )
    assert body["contents"][1]["parts"] == [
        {"functionCall": {"name": "look", "args": {"at": "sky"}}}
    ]
    assert body["contents"][2]["parts"] == [
        {"functionResponse": {"name": "look", "response": {"sky": "blue"}}}
    ]


def test_a_call_that_gemini_3_did_not_make_is_marked_as_such() -> None:
    """It answers 400 to a call without a signature; only the first of a turn is looked at."""
    calls = (Call("f"), Call("g"))
    talk = (Message("user", "?"), Message("assistant", calls=calls))
    signatures = [
        part.get("thoughtSignature") for part in sent(*talk, model="level")["contents"][1]["parts"]
    ]
    assert signatures == ["skip_thought_signature_validator", None]
    own = Message("assistant", calls=(Call("f", signature="c2ln"),))
    [part] = sent(talk[0], own, model="level")["contents"][1]["parts"]
    assert part["thoughtSignature"] == "c2ln"
    assert "thoughtSignature" not in json.dumps(sent(*talk, model="budget"))


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}', "1e999"])
def test_a_result_that_is_no_json_to_the_service_goes_as_text(text: str) -> None:
    body = sent(Message("user", "?"), Message("function", text, result_of=Call("f")))
    [part] = body["contents"][1]["parts"]
    assert part["functionResponse"]["response"] == {"result": text}
    json.dumps(body, allow_nan=False)


def test_a_file_of_the_task_is_sent_with_the_request(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG-\xff")
    wire = Wire()
    api = developer(wire, KNOWN, tmp_path)
    api.send("plain", Request((Message("user", (Part("image", uri="a.png"),)),)), None)
    [part] = wire.body["contents"][0]["parts"]
    assert wire_item(part) == ("data", "image/png", b"\x89PNG-\xff")


def refused() -> Iterator[tuple[str, Message]]:
    call = Call("f")
    yield "holds function calls", Message("user", "x", calls=(call,))
    yield "result_of=None", Message("function", "x")
    yield "result_of=Call", Message("user", "x", result_of=call)
    yield "has text as well", Message("user", (Part("image", "look", "gs://b/a.png", "image/png"),))
    yield "holds image", Message("function", (Part("image", uri="gs://b/a"),), result_of=call)
    yield "signature", Message("assistant", calls=(Call("f", signature="ä"),))
    for text in ("{", "[]", '{"name": "f"}', '{"name": 1, "arguments": {}}', '"x"'):
        yield "function-call", Message("user", (Part("text", text, media_type=CALL),))
    yield "function-response", Message("user", (Part("text", "{}", media_type=RESULT),))
    yield "'file:' addresses", Message("user", (Part("image", uri="file:///etc/passwd"),))
    yield "no task folder", Message("user", (Part("image", uri="/etc/passwd"),))


@pytest.mark.parametrize(("words", "message"), [*refused()])
def test_what_has_no_form_is_refused_before_anything_is_sent(words: str, message: Message) -> None:
    before = len(WIRE.requests)
    with pytest.raises(ModelError, match=words):
        API.send("plain", Request((message,)), None)
    assert len(WIRE.requests) == before


def test_a_request_of_nothing_but_a_system_turn_is_refused() -> None:
    with pytest.raises(ModelError, match="no turn but the system's"):
        API.send("plain", Request((Message("system", "x"),)), None)
