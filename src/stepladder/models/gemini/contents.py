"""Messages as the SDK's contents. Nothing of a message is left out: what has no place is refused.

All system turns become the one system instruction that the service knows, in their order. Results
of functions that follow one another become one turn, since the service wants the results of a
turn's calls together.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from google.genai import types

from ...core import Call, Json, Message, Part
from ...data.chat import CALL, RESULT
from ...errors import ModelError
from ..hosted.media import Inline, open_media
from . import quick

__all__ = ["to_contents"]

# What Google documents for a call that Gemini 3 did not make itself, as in a demonstration.
_UNSIGNED = "skip_thought_signature_validator"


def to_contents(
    messages: Sequence[Message], folder: Path | None, *, signed_calls: bool = False
) -> tuple[types.Content | None, list[types.Content]]:
    """The system instruction, if there is one, and the turns.

    With `signed_calls`, for models that insist, a call without a signature is marked as one that
    the model did not make. Raises ModelError for a message that has no form at the service.
    """
    for message in messages:
        _check(message)
    system = [message for message in messages if message.role == "system"]
    turns = [message for message in messages if message.role != "system"]
    contents: list[types.Content] = []
    for is_result, group in groupby(turns, key=lambda message: message.role == "function"):
        if is_result:
            contents.append(quick.Content(role="user", parts=[_result(m) for m in group]))
        else:
            contents += [_turn(message, folder, signed_calls) for message in group]
    return _instruction(system, folder), contents


def _instruction(messages: Sequence[Message], folder: Path | None) -> types.Content | None:
    if len(messages) == 1 and isinstance(messages[0].content, str):
        return _text_instruction(messages[0].content)
    parts = [part for message in messages for part in _parts(message, folder)]
    return quick.Content(role="user", parts=parts) if parts else None


@lru_cache(100)
def _text_instruction(text: str) -> types.Content:
    """Made once for the thousands of requests in turn that have the same. Not to be changed."""
    return quick.Content(role="user", parts=[quick.Part(text=text)])


def _check(message: Message) -> None:
    if message.calls and message.role != "assistant":
        raise ModelError(
            f"a turn of the {message.role!r} holds function calls",
            hint="only a turn of the 'assistant' may",
        )
    if (message.result_of is None) == (message.role == "function"):
        raise ModelError(
            f"a turn of the {message.role!r} has result_of={message.result_of!r}",
            hint="a turn of the 'function', and no other, is the result of a call",
        )


def _turn(message: Message, folder: Path | None, signed_calls: bool) -> types.Content:
    parts = _parts(message, folder) if message.content or not message.calls else []
    parts += [_call(call) for call in message.calls]
    calls = [part for part in parts if part.function_call]
    if signed_calls and calls and calls[0].thought_signature is None:
        # the service looks at the first call of a turn only
        calls[0].thought_signature = _bytes(_UNSIGNED)
    return quick.Content(role="model" if message.role == "assistant" else "user", parts=parts)


def _parts(message: Message, folder: Path | None) -> list[types.Part]:
    if isinstance(message.content, str):
        return [quick.Part(text=message.content)]
    return [_part(part, folder) for part in message.content]


def _part(part: Part, folder: Path | None) -> types.Part:
    if part.media_type == CALL:
        name, arguments = _carried(part, "arguments")
        return _call(Call(name, arguments))
    if part.media_type == RESULT:
        name, response = _carried(part, "response")
        return _response(Call(name), response)
    if part.kind == "text":
        return quick.Part(text=part.text)
    if part.text:
        raise ModelError(
            f"a part of kind {part.kind!r} has text as well: {part.text[:80]!r}",
            hint="make the text a part of its own",
        )
    media = open_media(part, folder)
    if isinstance(media, Inline):
        return quick.Part(inline_data=types.Blob(data=media.data, mime_type=media.media_type))
    return quick.Part(file_data=types.FileData(file_uri=media.uri, mime_type=media.media_type))


def _carried(part: Part, what: str) -> tuple[str, Json]:
    """The function's name, and what a text part that stands for its call or result carries."""
    try:
        carried = json.loads(part.text)
        name, value = carried["name"], carried[what]
        if not isinstance(name, str) or (what == "arguments" and not isinstance(value, dict)):
            raise TypeError("of another form")
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"a part of type {part.media_type!r} holds {part.text[:80]!r}",
            hint=f"it has to be JSON with 'name' and {what!r}",
        ) from error
    return name, value


def _call(call: Call) -> types.Part:
    return quick.Part(
        function_call=types.FunctionCall(
            id=call.id or None, name=call.name, args=dict(call.arguments)
        ),
        thought_signature=_bytes(call.signature) if call.signature else None,
    )


def _result(message: Message) -> types.Part:
    assert message.result_of is not None  # checked before
    if isinstance(message.content, str):
        text = message.content
    elif other := [part.kind for part in message.content if part.kind != "text"]:
        raise ModelError(
            f"the result of {message.result_of.name!r} holds {other[0]}",
            hint="a function's result is text or JSON",
        )
    else:
        text = "".join(part.text for part in message.content)
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False)  # NaN and the infinities are no JSON to the service
    except ValueError:
        value = text
    return _response(message.result_of, value)


def _response(call: Call, value: Json) -> types.Part:
    response = value if isinstance(value, Mapping) else {"result": value}
    return quick.Part(
        function_response=types.FunctionResponse(
            id=call.id or None, name=call.name, response=dict(response)
        )
    )


def _bytes(signature: str) -> bytes:
    try:
        return base64.b64decode(signature.translate(_URL_SAFE), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ModelError(
            "a function call has a signature that this service did not give",
            hint="send the calls of an answer back as they came",
        ) from error


_URL_SAFE = str.maketrans("+/", "-_")
