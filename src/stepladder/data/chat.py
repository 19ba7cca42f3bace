"""Conversations in OpenAI's and Gemini's JSON lines, to and from an input and an expected answer.

The last turn of the assistant is what is expected; everything before it is the input. Function
calls and their results inside a conversation become text parts that carry their JSON, marked by
media type, so that they survive the way out again.
"""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

from ..core import Example, Input, Json, Message, Part

__all__ = ["CALL", "RESULT", "Malformed", "from_gemini", "from_openai", "to_gemini", "to_openai"]

CALL = "application/vnd.stepladder.function-call+json"
RESULT = "application/vnd.stepladder.function-response+json"

OWN_KEYS = {"kind", "text", "uri", "media_type"}
PART_KINDS = {"text", "image", "audio", "video", "document"}
Role = Literal["system", "user", "assistant"]
OPENAI_ROLES: dict[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant",
    "tool": "user", "function": "user",
}  # fmt: skip
GEMINI_ROLES: dict[str, Role] = {
    "system": "system", "user": "user", "model": "assistant", "function": "user",
}  # fmt: skip
GEMINI_KEYS = {"contents", "systemInstruction", "system_instruction", "completions", "references"}


class Malformed(Exception):
    """A conversation of the wrong form; the message names the turn."""


def from_openai(row: Mapping[str, Json]) -> tuple[Input, Json, dict[str, Json]]:
    """Input, expected and what else the row has, from OpenAI's chat format."""
    turns = row.get("messages")
    if not isinstance(turns, list) or not turns:
        raise Malformed("'messages' has to be a list of turns")
    messages = _openai_messages(turns)
    rest = {key: value for key, value in row.items() if key != "messages"}
    return (*_split_off_answer(messages), rest)


def from_gemini(row: Mapping[str, Json]) -> tuple[Input, Json, dict[str, Json]]:
    """Input, expected and what else the row has, from Gemini's tuning format.

    In a preference row the best-scored completion is expected; in a reinforcement row the
    references are.
    """
    turns = row.get("contents")
    if not isinstance(turns, list) or not turns:
        raise Malformed("'contents' has to be a list of turns")
    messages = [_gemini_message(turn, f"turn {n}") for n, turn in enumerate(turns, 1)]
    system = row.get("systemInstruction", row.get("system_instruction"))
    if system is not None:
        system = {"parts": [{"text": system}]} if isinstance(system, str) else system
        message = _gemini_message(system, "systemInstruction")
        messages.insert(0, Message("system", message.content))
    rest = {key: value for key, value in row.items() if key not in GEMINI_KEYS}
    if completions := row.get("completions"):
        rest["completions"] = completions
        return simplify(tuple(messages)), _answer(_preferred(completions)), rest
    if (references := row.get("references")) is not None:
        only = isinstance(references, dict) and len(references) == 1
        return (
            simplify(tuple(messages)),
            next(iter(references.values())) if only else references,
            rest,
        )
    return (*_split_off_answer(tuple(messages)), rest)


def to_openai(example: Example) -> dict[str, Json]:
    """The row that `from_openai` reads as this example."""
    turns = _openai_turns(_conversation(example))
    calls = _calls(example.expected)
    if calls:
        answer: dict[str, Json] = {
            "role": "assistant",
            "tool_calls": _tool_calls(calls, len(turns)),
        }
    else:
        answer = {"role": "assistant", "content": as_text(example.expected)}
    return {"messages": [*turns, answer], **_kept(example, ("tools", "parallel_tool_calls"))}


def to_gemini(example: Example) -> dict[str, Json]:
    """The row that `from_gemini` reads as this example."""
    messages = _conversation(example)
    system = [part for m in messages if m.role == "system" for part in _gemini_parts(m)]
    contents: list[Json] = [
        {"role": "model" if m.role == "assistant" else "user", "parts": _gemini_parts(m)}
        for m in messages
        if m.role != "system"
    ]
    calls = _calls(example.expected)
    if calls:
        parts: list[Json] = [
            {"functionCall": {"name": call["name"], "args": call["arguments"]}} for call in calls
        ]
    else:
        parts = [{"text": as_text(example.expected)}]
    contents.append({"role": "model", "parts": parts})
    head = {"systemInstruction": {"role": "system", "parts": system}} if system else {}
    return {**head, "contents": contents, **_kept(example, ("tools", "generationConfig"))}


def simplify(messages: tuple[Message, ...]) -> Input:
    """A lone user turn of plain text is that text."""
    if len(messages) == 1 and messages[0].role == "user" and isinstance(messages[0].content, str):
        return messages[0].content
    return messages


def as_text(value: Json) -> str:
    """An answer as the words a model would say."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def messages_from_json(turns: Sequence[Json]) -> tuple[Message, ...]:
    """Turns in our own or in OpenAI's form, as messages; raises Malformed."""
    return _openai_messages(turns)


def messages_to_json(messages: Sequence[Message]) -> list[Json]:
    """Messages as JSON, nothing lost; `messages_from_json` reads them back."""
    return [
        {"role": message.role, "content": _own_content(message.content)} for message in messages
    ]


def _split_off_answer(messages: tuple[Message, ...]) -> tuple[Input, Json]:
    if messages[-1].role != "assistant":
        raise Malformed("the last turn is not the assistant's, so nothing is expected")
    if len(messages) < 2:
        raise Malformed("there is no turn before the answer")
    return simplify(messages[:-1]), _answer(messages[-1])


def _answer(message: Message) -> Json:
    if isinstance(message.content, str):
        return message.content
    calls = [json.loads(part.text) for part in message.content if part.media_type == CALL]
    if calls:
        return calls
    return "".join(part.text for part in message.content)


def _preferred(completions: Json) -> Message:
    try:
        best = max(completions, key=lambda completion: float(completion["score"]))
        return _gemini_message(best["completion"], "completions")
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed("each of 'completions' needs 'score' and 'completion'") from error


def _openai_messages(turns: Sequence[Json]) -> tuple[Message, ...]:
    names: dict[str, str] = {}  # of the functions called, by the id of the call
    messages = []
    for number, turn in enumerate(turns, 1):
        messages.append(_openai_message(turn, number, names))
        for call in turn.get("tool_calls") or ():
            names[str(call.get("id"))] = str(call.get("function", call).get("name"))
    return tuple(messages)


def _openai_message(turn: Any, number: int, names: Mapping[str, str]) -> Message:
    if not isinstance(turn, dict) or turn.get("role") not in OPENAI_ROLES:
        raise Malformed(f"turn {number} needs a 'role': one of {', '.join(OPENAI_ROLES)}")
    role = OPENAI_ROLES[turn["role"]]
    content = turn.get("content")
    if turn["role"] in {"tool", "function"}:
        name = turn.get("name") or names.get(str(turn.get("tool_call_id")), "function")
        result = {"name": name, "response": _response(content)}
        return Message(role, (_json_part(RESULT, result),))
    parts = _openai_parts(content, number)
    calls = turn.get("tool_calls") or _legacy_call(turn)
    if not isinstance(calls, list):
        raise Malformed(f"'tool_calls' of turn {number} is not a list")
    parts += [_json_part(CALL, _openai_call(call, number)) for call in calls]
    if not parts:
        raise Malformed(f"turn {number} has neither 'content' nor 'tool_calls'")
    return Message(role, _plain(parts))


def _response(content: Json) -> Json:
    """A function's result as the object it is, or as the text it is."""
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    try:
        value = json.loads(content) if isinstance(content, str) else content
    except ValueError:
        return content
    return value if isinstance(value, dict) else content


def _openai_parts(content: Any, number: int) -> list[Part]:
    if content is None:
        return []
    if isinstance(content, str):
        return [Part("text", content)]
    if not isinstance(content, list):
        raise Malformed(f"'content' of turn {number} is neither text nor a list of parts")
    return [_openai_part(part, number) for part in content]


def _openai_part(part: Any, number: int) -> Part:
    if isinstance(part, dict) and part.keys() == OWN_KEYS and part["kind"] in PART_KINDS:
        return Part(**part)
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in {"text", "input_text", "output_text"} and isinstance(part.get("text"), str):
        return Part("text", part["text"])
    if kind == "image_url":
        image = part.get("image_url")
        uri = image.get("url") if isinstance(image, dict) else image
        if isinstance(uri, str):
            return Part("image", uri=uri, media_type=part.get("media_type") or _media_type(uri))
    if kind == "input_audio" and isinstance(part.get("input_audio"), dict):
        audio = part["input_audio"]
        media_type = f"audio/{audio.get('format', 'wav')}"
        return Part(
            "audio", uri=f"data:{media_type};base64,{audio.get('data')}", media_type=media_type
        )
    if kind == "file" and isinstance(part.get("file"), dict):
        file = part["file"]
        uri = str(file.get("file_data") or file.get("file_id") or "")
        media_type = part.get("media_type") or _media_type(str(file.get("filename") or uri))
        return Part(_part_kind(media_type), uri=uri, media_type=media_type)
    raise Malformed(f"turn {number} has a part of an unknown form: {str(part)[:80]!r}")


def _openai_call(call: Any, number: int) -> dict[str, Json]:
    function = call.get("function", call) if isinstance(call, dict) else {}
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


def _openai_turns(messages: Sequence[Message]) -> list[Json]:
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
    said = [_openai_part_out(p) for p in message.content if p.media_type not in {CALL, RESULT}]
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


def _openai_part_out(part: Part) -> dict[str, Json]:
    if part.kind == "text":
        return {"type": "text", "text": part.text}
    if part.kind == "image":
        return {"type": "image_url", "image_url": {"url": part.uri}, **_said(part)}
    return {"type": "file", "file": {"file_data": part.uri}, **_said(part)}


def _said(part: Part) -> dict[str, Json]:
    """The media type, where the address does not tell it already."""
    told = _media_type(part.uri) == part.media_type
    return {} if told else {"media_type": part.media_type}


def _own_content(content: str | tuple[Part, ...]) -> Json:
    return content if isinstance(content, str) else [asdict(part) for part in content]


def _gemini_message(turn: Any, where: str) -> Message:
    parts = turn.get("parts") if isinstance(turn, dict) else None
    parts = [parts] if isinstance(parts, dict) else parts
    if not isinstance(parts, list) or not parts:
        raise Malformed(f"{where} needs 'parts'")
    role = turn.get("role", "user")  # a function's response comes without a role
    if role not in GEMINI_ROLES:
        raise Malformed(f"{where} has the role {role!r}; known: {', '.join(GEMINI_ROLES)}")
    return Message(GEMINI_ROLES[role], _plain([_gemini_part(part, where) for part in parts]))


def _gemini_part(part: Any, where: str) -> Part:
    part = part if isinstance(part, dict) else {}
    if isinstance(part.get("text"), str):
        return Part("text", part["text"])
    if file := part.get("fileData", part.get("file_data")):
        uri = str(file.get("fileUri", file.get("file_uri", "")))
        media_type = str(file.get("mimeType", file.get("mime_type", ""))) or _media_type(uri)
        return Part(_part_kind(media_type), uri=uri, media_type=media_type)
    if blob := part.get("inlineData", part.get("inline_data")):
        media_type = str(blob.get("mimeType", blob.get("mime_type", "")))
        uri = f"data:{media_type};base64,{blob.get('data', '')}"
        return Part(_part_kind(media_type), uri=uri, media_type=media_type)
    if call := part.get("functionCall", part.get("function_call")):
        arguments = call.get("args") or {}
        return _json_part(CALL, {"name": call.get("name", ""), "arguments": arguments})
    if result := part.get("functionResponse", part.get("function_response")):
        response = result.get("response")
        return _json_part(RESULT, {"name": result.get("name", ""), "response": response})
    raise Malformed(f"{where} has a part of an unknown form: {str(part)[:80]!r}")


def _gemini_parts(message: Message) -> list[Json]:
    if isinstance(message.content, str):
        return [{"text": message.content}]
    return [_gemini_part_out(part) for part in message.content]


def _gemini_part_out(part: Part) -> dict[str, Json]:
    if part.media_type == CALL:
        call = json.loads(part.text)
        return {"functionCall": {"name": call["name"], "args": call["arguments"]}}
    if part.media_type == RESULT:
        result = json.loads(part.text)
        response = result["response"]
        response = response if isinstance(response, dict) else {"result": response}
        return {"functionResponse": {"name": result["name"], "response": response}}
    if part.kind == "text":
        return {"text": part.text}
    head, comma, data = part.uri.partition(";base64,")
    if comma and head.startswith("data:"):
        return {"inlineData": {"mimeType": part.media_type, "data": data}}
    return {"fileData": {"mimeType": part.media_type, "fileUri": part.uri}}


def _conversation(example: Example) -> tuple[Message, ...]:
    if isinstance(example.input, tuple):
        return example.input
    return (Message("user", as_text(example.input)),)


def _calls(expected: Json) -> list[dict[str, Json]]:
    calls = expected if isinstance(expected, list) else [expected]
    is_call = [isinstance(c, dict) and c.keys() == {"name", "arguments"} for c in calls]
    return calls if calls and all(is_call) else []


def _tool_calls(calls: Sequence[Mapping[str, Json]], turn: int) -> list[Json]:
    return [
        {"id": f"call_{turn}_{number}", "type": "function", "function": _function(call)}
        for number, call in enumerate(calls, 1)
    ]


def _function(call: Mapping[str, Json]) -> dict[str, Json]:
    arguments = json.dumps(call["arguments"], ensure_ascii=False)
    return {"name": call["name"], "arguments": arguments}


def _json_part(media_type: str, value: Json) -> Part:
    return Part("text", json.dumps(value, ensure_ascii=False), media_type=media_type)


def _plain(parts: list[Part]) -> str | tuple[Part, ...]:
    if len(parts) == 1 and parts[0].kind == "text" and not parts[0].media_type:
        return parts[0].text
    return tuple(parts)


def _part_kind(media_type: str) -> Literal["image", "audio", "video", "document"]:
    family = media_type.partition("/")[0]
    return family if family in {"image", "audio", "video"} else "document"  # type: ignore[return-value]


def _media_type(uri: str) -> str:
    if uri.startswith("data:"):
        return uri[5:].partition(";")[0]
    return mimetypes.guess_type(uri)[0] or "application/octet-stream"


def _kept(example: Example, keys: Sequence[str]) -> dict[str, Json]:
    return {key: example.metadata[key] for key in keys if key in example.metadata}
