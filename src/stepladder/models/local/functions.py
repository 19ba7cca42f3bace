"""Functions for models that have no form of their own for them: how they are shown, asked, read.

Declarations, calls and results become plain text of a conversation, and a call is made under a JSON
schema, so that any model can make one. The served and the measured model render alike through this
place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...core import Call, Function, Json, Message, Part
from ...strict_json import read_strictly
from .schemas import Checked, read_schema

__all__ = ["OPENING", "calls_schema", "parse_calls", "plain_messages"]

OPENING = "<tool_call>"  # what follows is JSON, under `calls_schema`
_CLOSING = "</tool_call>"
_FRAME = re.compile(r"<(?=/?tool_(?:call|response))", re.IGNORECASE)
_MOST_CALLS = 16  # at once; a small model would otherwise go on until its room is used up


def plain_messages(
    messages: Sequence[Message],
    functions: Sequence[Function] = (),
    *,
    required: bool = False,
    parallel: bool = True,
) -> tuple[Message, ...]:
    """The conversation in system, user and assistant turns of text only.

    The declarations follow what the system says. Results that follow each other are one user turn,
    since templates want turns that alternate.
    """
    turns: list[Message] = []
    for message in messages:
        if message.result_of is None and message.role != "function":
            turns.append(_with_calls(message))
        elif turns and turns[-1].result_of is not None:
            turns[-1] = replace(turns[-1], content=f"{turns[-1].content}\n{_result(message)}")
        else:
            turns.append(Message("user", _result(message), result_of=message.result_of or Call("")))
    told = [replace(turn, result_of=None) for turn in turns]
    if not functions:
        return tuple(told)
    shown = _declarations(functions, required=required, parallel=parallel)
    if told and told[0].role == "system":
        return (_with_text(told[0], f"\n\n{shown}"), *told[1:])
    return (Message("system", shown), *told)


def calls_schema(functions: Sequence[Function], *, parallel: bool = True) -> Mapping[str, Json]:
    """The JSON schema of an array of calls of these functions: one call, or with `parallel` more.

    A reference within a function's parameters still leads to where it led. Raises ValueError where
    a function's parameters are no schema.
    """
    calls: list[Json] = []
    definitions: dict[str, Json] = {}
    for place, function in enumerate(functions):
        arguments = _arguments(function).engine
        if _has_references(arguments):
            name = f"arguments_{place}"
            definitions[name] = _moved(arguments, f"#/$defs/{name}")
            arguments = {"$ref": f"#/$defs/{name}"}
        calls.append(
            {
                "type": "object",
                "properties": {"name": {"enum": [function.name]}, "arguments": arguments},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    schema: dict[str, Json] = {
        "type": "array",
        "items": calls[0] if len(calls) == 1 else {"anyOf": calls},
        "minItems": 1,
        "maxItems": _MOST_CALLS if parallel else 1,
    }
    return {**schema, "$defs": definitions} if definitions else schema


def parse_calls(
    text: str, functions: Sequence[Function], new_id: Callable[[int], str]
) -> tuple[Call, ...]:
    """The calls in what was said under `calls_schema`; `new_id(place)` names each.

    Raises ValueError where it is cut off or does not fit a function's parameters.
    """
    known = {function.name: function for function in functions}
    calls: list[Call] = []
    for place, (name, arguments) in enumerate(_said_calls(text)):
        if name not in known:
            raise ValueError(f"there is no function {name!r}")
        try:
            _arguments(known[name]).check(arguments)
        except ValueError as error:
            raise ValueError(f"the arguments of {name!r}: {error}") from error
        calls.append(Call(name, arguments, new_id(place)))
    return tuple(calls)


def _said_calls(text: str) -> list[tuple[str, Json]]:
    """Names and arguments; an engine that enforces less than `calls_schema` may say anything."""
    said = read_strictly(text)
    if not isinstance(said, list) or not said:
        raise ValueError("there is no list of calls")
    if any(not isinstance(one, dict) or {"name", "arguments"} - one.keys() for one in said):
        raise ValueError("a call has a name and arguments")
    return [(str(one["name"]), one["arguments"]) for one in said]


def _arguments(function: Function) -> Checked:
    """The schema of a function's arguments; what the engine does not enforce is checked later."""
    parameters = dict(function.parameters) or {"properties": {}, "additionalProperties": False}
    parameters.setdefault("type", "object")
    try:
        return read_schema(parameters, strict=False)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the parameters of {function.name!r}: {error}") from error


# --- as text ------------------------------------------------------------------------------------


def _declarations(functions: Sequence[Function], *, required: bool, parallel: bool) -> str:
    lines = [
        _as_data(
            {
                "name": function.name,
                "description": function.description,
                "parameters": function.parameters,
            }
        )
        for function in functions
    ]
    many = "one function or several" if parallel else "one function"
    form = f'{OPENING}[{{"name": "...", "arguments": {{...}}}}]{_CLOSING}'
    when = f"Call {many} now" if required else f"To call {many}"
    return "\n".join(
        ["These functions can be called:", *lines, f"{when}, by answering in this form:", form]
    )


def _with_calls(message: Message) -> Message:
    if not message.calls:
        return message
    calls = [{"name": call.name, "arguments": call.arguments} for call in message.calls]
    return replace(_with_text(message, f"{OPENING}{_json(calls)}{_CLOSING}"), calls=())


def _result(message: Message) -> str:
    name = message.result_of.name if message.result_of else ""
    said = message.content
    text = said if isinstance(said, str) else "".join(part.text for part in said)
    try:
        result = read_strictly(text)
    except ValueError:
        result = text
    told = _as_data({"name": name, "result": result})
    return f"<tool_response>{told}</tool_response>"


def _with_text(message: Message, after: str) -> Message:
    if isinstance(message.content, str):
        return replace(message, content=message.content + after)
    return replace(message, content=(*message.content, Part("text", after)))


def _as_data(value: Any) -> str:
    """JSON in which nothing passes for a call, or for the end of what it stands in."""
    return _FRAME.sub(r"\\u003c", _json(value))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


# --- references ---------------------------------------------------------------------------------


def _has_references(schema: Json) -> bool:
    if isinstance(schema, Mapping):
        return "$ref" in schema or any(map(_has_references, schema.values()))
    return isinstance(schema, list) and any(map(_has_references, schema))


def _moved(schema: Json, root: str) -> Json:
    """The schema with its references led to where it now is."""
    if isinstance(schema, list):
        return [_moved(each, root) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    moved = {name: _moved(value, root) for name, value in schema.items()}
    reference = moved.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = root + reference.removeprefix("#")
    return moved
