"""What conversations of every vendor share: parts, calls, and where the answer is.

The last turn of the assistant is what is expected; everything before it is the input. Function
calls and their results inside a conversation become text parts that carry their JSON, marked by
media type, so that they survive the way out again. The formats themselves are in `chat_openai.py`
and `chat_gemini.py`.
"""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from ..core import Call, Example, Input, Json, Message, Part

__all__ = [
    "CALL", "RESULT", "Malformed", "answer_of", "as_text", "calls_of", "conversation", "json_part",
    "kept", "media_type_of", "part_kind", "plain", "simplify", "split_off_answer", "with_calls",
]  # fmt: skip

CALL = "application/vnd.stepladder.function-call+json"
RESULT = "application/vnd.stepladder.function-response+json"

Role = Literal["system", "user", "assistant"]
FileKind = Literal["image", "audio", "video", "document"]
KINDS: dict[str, FileKind] = {"image": "image", "audio": "audio", "video": "video"}


class Malformed(Exception):
    """A conversation of the wrong form; the message names the turn."""


def simplify(messages: tuple[Message, ...]) -> Input:
    """A lone user turn of plain text is that text."""
    if len(messages) == 1 and messages[0].role == "user" and isinstance(messages[0].content, str):
        return messages[0].content
    return messages


def as_text(value: Json) -> str:
    """An answer as the words a model would say."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def split_off_answer(messages: tuple[Message, ...]) -> tuple[Input, Json]:
    """What comes before the last turn, and what that turn says; raises Malformed."""
    if messages[-1].role != "assistant":
        raise Malformed("the last turn is not the assistant's, so nothing is expected")
    if len(messages) < 2:
        raise Malformed("there is no turn before the answer")
    return simplify(messages[:-1]), answer_of(messages[-1])


def answer_of(message: Message) -> Json:
    """The functions a turn calls, or else its text."""
    if isinstance(message.content, str):
        return message.content
    calls = [json.loads(part.text) for part in message.content if part.media_type == CALL]
    if calls:
        return calls
    return "".join(part.text for part in message.content)


def conversation(example: Example) -> tuple[Message, ...]:
    """The input as messages, calls and results as parts; text and fields become a user turn."""
    if isinstance(example.input, tuple):
        return tuple(_with_parts(message) for message in example.input)
    return (Message("user", as_text(example.input)),)


def with_calls(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages with calls and results in the form that models are asked in, not as parts.

    A result belongs to the first call of its function that has none so far.
    """
    turns: list[Message] = []
    waiting: list[Call] = []
    for number, message in enumerate(messages):
        if isinstance(message.content, str):
            turns.append(message)
            continue
        said = [one for one in message.content if one.media_type not in (CALL, RESULT)]
        told = [json.loads(p.text) for p in message.content if p.media_type == CALL]
        calls = tuple(
            Call(one["name"], one["arguments"], f"call_{number}_{place}")
            for place, one in enumerate(told, 1)
        )
        results = [json.loads(p.text) for p in message.content if p.media_type == RESULT]
        turns += [_result(one, waiting) for one in results]
        if said or calls:
            turns.append(replace(message, content=plain(said) if said else "", calls=calls))
        waiting += calls
    return tuple(turns)


def _result(told: Mapping[str, Json], waiting: list[Call]) -> Message:
    call = next((one for one in waiting if one.name == told["name"]), Call(told["name"]))
    if call in waiting:
        waiting.remove(call)
    return Message("function", as_text(told["response"]), result_of=call)


def _with_parts(message: Message) -> Message:
    """Calls and a result as parts; results keep the shape of a record where they have one."""
    if message.result_of is not None:
        said = message.content
        text = said if isinstance(said, str) else "".join(part.text for part in said)
        try:
            response = json.loads(text)
        except ValueError:
            response = text
        told = {"name": message.result_of.name, "response": response}
        return Message("user", (json_part(RESULT, told),))
    if not message.calls:
        return message
    content = message.content
    said = (Part("text", content),) if isinstance(content, str) and content else ()
    calls = [json_part(CALL, {"name": c.name, "arguments": c.arguments}) for c in message.calls]
    return Message(message.role, (*(said if isinstance(content, str) else content), *calls))


def calls_of(expected: Json) -> list[dict[str, Json]]:
    """The expected function calls; empty when something else is expected."""
    calls = expected if isinstance(expected, list) else [expected]
    is_call = [isinstance(c, dict) and c.keys() == {"name", "arguments"} for c in calls]
    return calls if calls and all(is_call) else []


def json_part(media_type: str, value: Json) -> Part:
    """A text part that carries JSON, marked by its media type."""
    return Part("text", json.dumps(value, ensure_ascii=False), media_type=media_type)


def plain(parts: list[Part]) -> str | tuple[Part, ...]:
    """Parts as the content of a message: one plain text part is just text."""
    if len(parts) == 1 and parts[0].kind == "text" and not parts[0].media_type:
        return parts[0].text
    return tuple(parts)


def part_kind(media_type: str) -> FileKind:
    """The kind of part that a file of this media type is."""
    family = media_type.partition("/")[0]
    return KINDS.get(family, "document")


def media_type_of(uri: str) -> str:
    """A file's media type, as its address tells it."""
    if uri.startswith("data:"):
        return uri[5:].partition(";")[0]
    return mimetypes.guess_type(uri)[0] or "application/octet-stream"


def kept(example: Example, keys: Sequence[str]) -> dict[str, Json]:
    """The example's metadata that the format itself has a place for."""
    return {key: example.metadata[key] for key in keys if key in example.metadata}
