"""OpenAI's chat format, to and from an input and an expected answer; and messages as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..core import Example, Input, Json, Message, Part
from .chat import (
    CALL,
    RESULT,
    Malformed,
    Role,
    as_text,
    calls_of,
    conversation,
    json_part,
    kept,
    media_type_of,
    part_kind,
    plain,
    split_off_answer,
)  # fmt: skip

__all__ = ["from_openai", "messages_from_json", "messages_to_json", "to_openai"]

OWN_KEYS = {"kind", "text", "uri", "media_type"}
PART_KINDS = {"text", "image", "audio", "video", "document"}
ROLES: dict[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant",
    "tool": "user", "function": "user",
}  # fmt: skip


def from_openai(row: Mapping[str, Json]) -> tuple[Input, Json, dict[str, Json]]:
    """Input, expected and what else the row has, from OpenAI's chat format."""
    turns = row.get("messages")
    if not isinstance(turns, list) or not turns:
        raise Malformed("'messages' has to be a list of turns")
    messages = _messages(turns)
    rest = {key: value for key, value in row.items() if key != "messages"}
    return (*split_off_answer(messages), rest)


def to_openai(example: Example) -> dict[str, Json]:
    """The row that `from_openai` reads as this example."""
    turns = _turns(conversation(example))
    calls = calls_of(example.expected)
    if calls:
        answer: dict[str, Json] = {
            "role": "assistant",
            "tool_calls": _tool_calls(calls, len(turns)),
        }
    else:
        answer = {"role": "assistant", "content": as_text(example.expected)}
    return {"messages": [*turns, answer], **kept(example, ("tools", "parallel_tool_calls"))}


def messages_from_json(turns: Sequence[Json]) -> tuple[Message, ...]:
    """Turns in our own or in OpenAI's form, as messages; raises Malformed."""
    return _messages(turns)


def messages_to_json(messages: Sequence[Message]) -> list[Json]:
    """Messages as JSON, nothing lost; `messages_from_json` reads them back."""
    return [
        {"role": message.role, "content": _own_content(message.content)} for message in messages
    ]


def _messages(turns: Sequence[Json]) -> tuple[Message, ...]:
    names: dict[str, str] = {}  # of the functions called, by the id of the call
    messages = []
    for number, turn in enumerate(turns, 1):
        messages.append(_message(turn, number, names))
        for call in turn.get("tool_calls") or ():
            names[str(call.get("id"))] = str(call.get("function", call).get("name"))
    return tuple(messages)


def _message(turn: Any, number: int, names: Mapping[str, str]) -> Message:
    role = ROLES.get(str(turn.get("role"))) if isinstance(turn, dict) else None
    if role is None:
        raise Malformed(f"turn {number} needs a 'role': one of {', '.join(ROLES)}")
    content = turn.get("content")
    if turn["role"] in {"tool", "function"}:
        name = turn.get("name") or names.get(str(turn.get("tool_call_id")), "function")
        result = {"name": name, "response": _response(content)}
        return Message(role, (json_part(RESULT, result),))
    parts = _parts(content, number)
    calls = turn.get("tool_calls") or _legacy_call(turn)
    if not isinstance(calls, list):
        raise Malformed(f"'tool_calls' of turn {number} is not a list")
    parts += [json_part(CALL, _call(call, number)) for call in calls]
    if not parts:
        raise Malformed(f"turn {number} has neither 'content' nor 'tool_calls'")
    return Message(role, plain(parts))


def _response(content: Json) -> Json:
    """A function's result as the object it is, or as the text it is."""
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    try:
        value = json.loads(content) if isinstance(content, str) else content
    except ValueError:
        return content
    return value if isinstance(value, dict) else content


def _parts(content: Any, number: int) -> list[Part]:
    if content is None:
        return []
    if isinstance(content, str):
        return [Part("text", content)]
    if not isinstance(content, list):
        raise Malformed(f"'content' of turn {number} is neither text nor a list of parts")
    return [_part(part, number) for part in content]


def _part(part: Any, number: int) -> Part:
    if isinstance(part, dict) and part.keys() == OWN_KEYS and part["kind"] in PART_KINDS:
        return Part(**part)
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in {"text", "input_text", "output_text"} and isinstance(part.get("text"), str):
        return Part("text", part["text"])
    if kind == "image_url":
        image = part.get("image_url")
        uri = image.get("url") if isinstance(image, dict) else image
        if isinstance(uri, str):
            return Part("image", uri=uri, media_type=part.get("media_type") or media_type_of(uri))
    if kind == "input_audio" and isinstance(part.get("input_audio"), dict):
        audio = part["input_audio"]
        media_type = f"audio/{audio.get('format', 'wav')}"
        return Part(
            "audio", uri=f"data:{media_type};base64,{audio.get('data')}", media_type=media_type
        )
    if kind == "file" and isinstance(part.get("file"), dict):
        file = part["file"]
        uri = str(file.get("file_data") or file.get("file_id") or "")
        media_type = part.get("media_type") or media_type_of(str(file.get("filename") or uri))
        return Part(part_kind(media_type), uri=uri, media_type=media_type)
    raise Malformed(f"turn {number} has a part of an unknown form: {str(part)[:80]!r}")


def _call(call: Any, number: int) -> dict[str, Json]:
    function = call.get("function", call) if isinstance(call, dict) else {}
    if not isinstance(function, dict):
        raise Malformed(f"'function' of a call in turn {number} is not an object")
    arguments = function.get("arguments", "{}")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError as error:
            raise Malformed(f"the arguments of a call in turn {number} are not JSON") from error
    if not isinstance(function.get("name"), str) or not isinstance(arguments, dict):
        raise Malformed(f"a call in turn {number} needs 'name' and 'arguments'")
    return {"name": function["name"], "arguments": arguments}


def _legacy_call(turn: Mapping[str, Json]) -> list[Json]:
    call = turn.get("function_call")
    return [] if call is None else [call]


def _turns(messages: Sequence[Message]) -> list[Json]:
    turns: list[Json] = []
    waiting: list[tuple[str, str]] = []  # (function, id) of calls without a result so far
    for message in messages:
        for turn in _turns_of(message, len(turns)):
            calls = turn.get("tool_calls", ())
            waiting += [(call["function"]["name"], call["id"]) for call in calls]
            if turn["role"] == "tool":
                _answer_call(turn, waiting)
            turns.append(turn)
    return turns


def _turns_of(message: Message, number: int) -> list[dict[str, Json]]:
    if isinstance(message.content, str):
        return [{"role": message.role, "content": message.content}]
    results = [json.loads(p.text) for p in message.content if p.media_type == RESULT]
    turns: list[dict[str, Json]] = [
        {"role": "tool", "name": r["name"], "content": as_text(r["response"])} for r in results
    ]
    calls = [json.loads(p.text) for p in message.content if p.media_type == CALL]
    said = [_part_out(p) for p in message.content if p.media_type not in {CALL, RESULT}]
    if said or calls:
        turn: dict[str, Json] = {"role": message.role}
        if said:
            turn["content"] = said
        if calls:
            turn["tool_calls"] = _tool_calls(calls, number)
        turns.append(turn)
    return turns


def _answer_call(turn: dict[str, Json], waiting: list[tuple[str, str]]) -> None:
    """Give a tool's turn the id of the first open call of its function, as the API asks."""
    for call in waiting:
        if call[0] == turn["name"]:
            turn["tool_call_id"] = call[1]
            waiting.remove(call)
            return


def _part_out(part: Part) -> dict[str, Json]:
    if part.kind == "text":
        return {"type": "text", "text": part.text}
    if part.kind == "image":
        return {"type": "image_url", "image_url": {"url": part.uri}, **_said(part)}
    return {"type": "file", "file": {"file_data": part.uri}, **_said(part)}


def _said(part: Part) -> dict[str, Json]:
    """The media type, where the address does not tell it already."""
    told = media_type_of(part.uri) == part.media_type
    return {} if told else {"media_type": part.media_type}


def _own_content(content: str | tuple[Part, ...]) -> Json:
    return content if isinstance(content, str) else [asdict(part) for part in content]


def _tool_calls(calls: Sequence[Mapping[str, Json]], turn: int) -> list[Json]:
    return [
        {"id": f"call_{turn}_{number}", "type": "function", "function": _function(call)}
        for number, call in enumerate(calls, 1)
    ]


def _function(call: Mapping[str, Json]) -> dict[str, Json]:
    arguments = json.dumps(call["arguments"], ensure_ascii=False)
    return {"name": call["name"], "arguments": arguments}
