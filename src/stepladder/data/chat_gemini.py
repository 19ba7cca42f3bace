"""Gemini's tuning format, to and from an input and an expected answer.

Supervised, preference and reinforcement rows are read; supervised rows are written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..core import Example, Input, Json, Message, Part
from .chat import (
    CALL,
    RESULT,
    Malformed,
    Role,
    answer_of,
    as_text,
    calls_of,
    conversation,
    json_part,
    kept,
    media_type_of,
    part_kind,
    plain,
    simplify,
    split_off_answer,
)  # fmt: skip

__all__ = ["from_gemini", "to_gemini"]

ROLES: dict[str, Role] = {
    "system": "system", "user": "user", "model": "assistant", "function": "user",
}  # fmt: skip
OWN_KEYS = {"contents", "systemInstruction", "system_instruction", "completions", "references"}


def from_gemini(row: Mapping[str, Json]) -> tuple[Input, Json, dict[str, Json]]:
    """Input, expected and what else the row has, from Gemini's tuning format.

    In a preference row the best-scored completion is expected; in a reinforcement row the
    references are.
    """
    turns = row.get("contents")
    if not isinstance(turns, list) or not turns:
        raise Malformed("'contents' has to be a list of turns")
    messages = [_message(turn, f"turn {n}") for n, turn in enumerate(turns, 1)]
    system = row.get("systemInstruction", row.get("system_instruction"))
    if system is not None:
        system = {"parts": [{"text": system}]} if isinstance(system, str) else system
        message = _message(system, "systemInstruction")
        messages.insert(0, Message("system", message.content))
    rest = {key: value for key, value in row.items() if key not in OWN_KEYS}
    if completions := row.get("completions"):
        rest["completions"] = completions
        return simplify(tuple(messages)), answer_of(_preferred(completions)), rest
    if (references := row.get("references")) is not None:
        only = isinstance(references, dict) and len(references) == 1
        return (
            simplify(tuple(messages)),
            next(iter(references.values())) if only else references,
            rest,
        )
    return (*split_off_answer(tuple(messages)), rest)


def to_gemini(example: Example) -> dict[str, Json]:
    """The row that `from_gemini` reads as this example."""
    messages = _results_together(conversation(example))
    system = [part for m in messages if m.role == "system" for part in _parts(m)]
    contents: list[Json] = [
        {"role": "model" if m.role == "assistant" else "user", "parts": _parts(m)}
        for m in messages
        if m.role != "system"
    ]
    calls = calls_of(example.expected)
    if calls:
        parts: list[Json] = [
            {"functionCall": {"name": call["name"], "args": call["arguments"]}} for call in calls
        ]
    else:
        parts = [{"text": as_text(example.expected)}]
    contents.append({"role": "model", "parts": parts})
    head = {"systemInstruction": {"role": "system", "parts": system}} if system else {}
    return {**head, "contents": contents, **kept(example, ("tools", "generationConfig"))}


def _results_together(messages: Sequence[Message]) -> list[Message]:
    """Results that follow each other are one turn: the service wants all of a turn's calls so."""
    turns: list[Message] = []
    for message in messages:
        if turns and _only_results(message) and _only_results(turns[-1]):
            turns[-1] = replace(turns[-1], content=(*turns[-1].content, *message.content))
        else:
            turns.append(message)
    return turns


def _only_results(message: Message) -> bool:
    parts = message.content
    return not isinstance(parts, str) and all(one.media_type == RESULT for one in parts)


def _preferred(completions: Json) -> Message:
    try:
        best = max(completions, key=lambda completion: float(completion["score"]))
        return _message(best["completion"], "completions")
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed("each of 'completions' needs 'score' and 'completion'") from error


def _message(turn: Any, where: str) -> Message:
    parts = turn.get("parts") if isinstance(turn, dict) else None
    parts = [parts] if isinstance(parts, dict) else parts
    if not isinstance(parts, list) or not parts:
        raise Malformed(f"{where} needs 'parts'")
    role = str(turn.get("role", "user"))  # a function's response comes without a role
    if role not in ROLES:
        raise Malformed(f"{where} has the role {role!r}; known: {', '.join(ROLES)}")
    return Message(ROLES[role], plain([_part(part, where) for part in parts]))


def _part(part: Any, where: str) -> Part:
    part = part if isinstance(part, dict) else {}
    if isinstance(part.get("text"), str):
        return Part("text", part["text"])
    for name, read in READ_PART.items():
        value = part.get(name, part.get(SNAKE[name]))
        if isinstance(value, dict):
            return read(value)
    raise Malformed(f"{where} has a part of an unknown form: {str(part)[:80]!r}")


def _file(value: Mapping[str, Json]) -> Part:
    uri = str(value.get("fileUri", value.get("file_uri", "")))
    media_type = str(value.get("mimeType", value.get("mime_type", ""))) or media_type_of(uri)
    return Part(part_kind(media_type), uri=uri, media_type=media_type)


def _blob(value: Mapping[str, Json]) -> Part:
    media_type = str(value.get("mimeType", value.get("mime_type", "")))
    uri = f"data:{media_type};base64,{value.get('data', '')}"
    return Part(part_kind(media_type), uri=uri, media_type=media_type)


def _call(value: Mapping[str, Json]) -> Part:
    call = {"name": str(value.get("name", "")), "arguments": value.get("args") or {}}
    return json_part(CALL, call)


def _result(value: Mapping[str, Json]) -> Part:
    result = {"name": str(value.get("name", "")), "response": value.get("response")}
    return json_part(RESULT, result)


READ_PART = {
    "fileData": _file, "inlineData": _blob, "functionCall": _call, "functionResponse": _result,
}  # fmt: skip
SNAKE = {
    "fileData": "file_data", "inlineData": "inline_data", "functionCall": "function_call",
    "functionResponse": "function_response",
}  # fmt: skip


def _parts(message: Message) -> list[Json]:
    if isinstance(message.content, str):
        return [{"text": message.content}]
    return [_part_out(part) for part in message.content]


def _part_out(part: Part) -> dict[str, Json]:
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
