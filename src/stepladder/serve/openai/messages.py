"""The turns of a chat, from OpenAI's form to ours; every call has its result, and reverse.

What is not text in a turn is had through `media.py`. Which model reads it is not decided here.
"""

from __future__ import annotations

from typing import Protocol

from ...core import Call, Json, Message, Part
from ...strict_json import read_strictly
from .. import Refusal
from .fields import Fields, wrong

__all__ = ["Media", "read_messages"]

MOST_MESSAGES = 2048
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
FIELDS = {
    "system": {"role", "content", "name"},
    "developer": {"role", "content", "name"},
    "user": {"role", "content", "name"},
    "assistant": {
        "role", "content", "name", "refusal", "audio", "tool_calls", "function_call",
        "annotations",  # an answer of ours or of OpenAI's may come back as it was
    },
    "tool": {"role", "content", "tool_call_id"},
    "function": {"role", "content", "name"},
}  # fmt: skip
PARTS = ("text", "refusal", "image_url", "input_audio", "file")
OF_ASSISTANT = ("text", "refusal")


class Media(Protocol):
    """Where what a turn only points at comes from."""

    async def read(self, part: Fields) -> str | Part:
        """An image_url, input_audio or file part; Refusal where the model cannot read it."""
        ...


async def read_messages(body: Fields, media: Media) -> tuple[Message, ...]:
    """The turns of `messages`.

    Raises:
        Refusal: A turn is malformed, answers no call, or holds what is no text.
    """
    if not body.has("messages"):
        raise body.missing("messages")
    turns = _Turns([], {})
    for turn in body.objects("messages", least=1, most=MOST_MESSAGES):
        role = turn.one_of("role", ROLES)
        if role is None:
            raise turn.missing("role")
        turn.known(FIELDS[role])
        turn.text("name", least=1)
        if role in ("tool", "function"):
            await turns.add_result(turn, role, media)
            continue
        turns.check_answered(turn)
        if role == "assistant":
            await turns.add_answer(turn, media)
        else:
            content = await _content(turn, PARTS if role == "user" else ("text",), media)
            turns.made.append(Message("user" if role == "user" else "system", content))
    turns.check_answered(body)
    return tuple(turns.made)


class _Turns:
    """The turns so far, and the calls among them that wait for a result, by id."""

    def __init__(self, made: list[Message], waiting: dict[str, Call]) -> None:
        self.made = made
        self.waiting = waiting

    def check_answered(self, turn: Fields) -> None:
        if not self.waiting:
            return
        open_ones = ", ".join(sorted(map(repr, self.waiting)))
        raise Refusal(
            "invalid",
            f"no message with the role 'tool' answers the tool calls {open_ones}",
            hint="a message with 'tool_calls' is followed by one result for each of them",
            param=turn.at("role") if turn.path else "messages",
        )

    async def add_answer(self, turn: Fields, media: Media) -> None:
        if turn.has("audio"):
            raise turn.fault("audio", "cannot be read: give it as an input of the user")
        calls = _calls(turn)
        refused = turn.text("refusal")
        if not turn.has("content") and not calls and refused is None:
            raise turn.fault("content", "is needed unless there are 'tool_calls'")
        content = await _content(turn, OF_ASSISTANT, media) if turn.has("content") else ""
        self.made.append(Message("assistant", content or refused or "", tuple(calls)))
        for call in calls:
            if call.id in self.waiting:
                raise turn.fault("tool_calls", f"has two calls with the id {call.id!r}")
            self.waiting[call.id] = call

    async def add_result(self, turn: Fields, role: str, media: Media) -> None:
        if role == "tool":
            key = turn.needed_text("tool_call_id")
            content = await _content(turn, ("text",), media)
        else:
            key = f"function:{turn.needed_text('name')}"
            content = turn.text("content") or ""
        call = self.waiting.pop(key, None)
        if call is None:
            field = "tool_call_id" if role == "tool" else "name"
            raise turn.fault(
                field,
                "answers no call of a message before it",
                hint="results follow the message with the 'tool_calls' that they answer",
            )
        self.made.append(Message("function", content, result_of=call))


def _calls(turn: Fields) -> list[Call]:
    legacy = turn.inner("function_call")
    if legacy is not None:
        name = legacy.needed_text("name")
        return [Call(name, _arguments(legacy), id=f"function:{name}")]
    calls = []
    for one in turn.objects("tool_calls", most=128):
        one.known({"id", "type", "function", "index"})
        one.one_of("type", ("function",))
        function = one.needed_inner("function")
        function.known({"name", "arguments"})
        calls.append(
            Call(function.needed_text("name"), _arguments(function), id=one.needed_text("id"))
        )
    return calls


def _arguments(function: Fields) -> dict[str, Json]:
    """The arguments of a call, which are an object written as text."""
    written = function.text("arguments")
    if not written:
        return {}
    try:
        value = read_strictly(written)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise wrong(function.at("arguments"), "a JSON object as text", written)
    return value


async def _content(turn: Fields, kinds: tuple[str, ...], media: Media) -> str | tuple[Part, ...]:
    value = turn.given.get("content")
    if isinstance(value, str):
        return value
    if value is None:
        raise turn.missing("content")
    if not isinstance(value, list):
        raise wrong(turn.at("content"), "a string or a list of parts", value)
    parts = [await _part(part, kinds, media) for part in turn.objects("content", least=1)]
    if len(parts) == 1 and isinstance(parts[0], str):
        return parts[0]
    return tuple(Part("text", one) if isinstance(one, str) else one for one in parts)


async def _part(part: Fields, kinds: tuple[str, ...], media: Media) -> str | Part:
    kind = part.one_of("type", kinds)
    if kind is None:
        raise part.missing("type")
    part.known({"type", kind})
    if kind in ("text", "refusal"):
        return part.needed_text(kind, least=0)
    part.needed_inner(kind)
    return await media.read(part)
