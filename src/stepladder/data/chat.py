"""What conversations of every vendor share: parts, calls, and where the answer is.

The last turn of the assistant is what is expected; everything before it is the input. Function
calls and their results inside a conversation become text parts that carry their JSON, marked by
media type, so that they survive the way out again. The formats themselves are in `chat_openai.py`
and `chat_gemini.py`.
"""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Sequence
from typing import Literal

from ..core import Example, Input, Json, Message, Part

__all__ = [
    "CALL", "RESULT", "Malformed", "answer_of", "as_text", "calls_of", "conversation", "json_part",
    "kept", "media_type_of", "part_kind", "plain", "simplify", "split_off_answer",
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
    """The input as messages: text and fields become a user turn."""
    if isinstance(example.input, tuple):
        return example.input
    return (Message("user", as_text(example.input)),)


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
