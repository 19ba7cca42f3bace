"""Messages as the turns of OpenAI's chat format; reads nothing but files that messages name.

Calls and results are there in two forms: as `Message.calls` and `result_of`, and, in conversations
that come from data, as marked text parts. Both go out as tool calls and their results.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...core import Call, Json, Message, Part
from ...data.chat import CALL, RESULT
from ...errors import ModelError
from ..hosted.media import Inline, open_media
from .endpoints import Endpoint

__all__ = ["turns"]

AUDIO = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav", "audio/mpeg": "mp3",
         "audio/mp3": "mp3"}  # fmt: skip


def turns(
    messages: Sequence[Message], endpoint: Endpoint, folder: Path | None
) -> list[dict[str, Json]]:
    """The turns for these messages; every call has an id, and every result that of its call.

    Raises:
        ModelError: A part cannot be sent to this endpoint, or a result answers no call.
    """
    made: list[dict[str, Json]] = []
    open_calls: list[tuple[Call, str]] = []  # with their ids; without a result so far
    for number, message in enumerate(messages, 1):
        for call, content in _results(message):
            call_id = _answered(open_calls, call)
            made.append({"role": "tool", "tool_call_id": call_id, "content": content})
        if message.role == "function":
            continue
        calls = _calls(message, number)
        open_calls += calls
        said = _content(message, endpoint, folder)
        if said or calls or not _is_marked(message):
            turn: dict[str, Json] = {"role": message.role, "content": said or ""}
            if calls:
                turn |= {"content": said or None, "tool_calls": [_tool_call(*c) for c in calls]}
            made.append(turn)
    return made


def _calls(message: Message, number: int) -> list[tuple[Call, str]]:
    """The calls that a turn makes, each with its id."""
    calls = [*message.calls]
    for part in _marked(message, CALL):
        read = json.loads(part.text)
        calls.append(Call(read["name"], read["arguments"]))
    return [(call, call.id or f"call_{number}_{place}") for place, call in enumerate(calls, 1)]


def _tool_call(call: Call, call_id: str) -> dict[str, Json]:
    function = {"name": call.name, "arguments": _json(call.arguments)}
    return {"id": call_id, "type": "function", "function": function}


def _results(message: Message) -> list[tuple[Call, str]]:
    """The results that a turn brings, as text, each with its call as far as it is told."""
    if message.role == "function":
        if message.result_of is None:
            raise ModelError(
                "a function's turn does not say which call it answers", hint="give it 'result_of'"
            )
        return [(message.result_of, _text_only(message))]
    read = [json.loads(part.text) for part in _marked(message, RESULT)]
    return [(Call(one["name"]), _as_text(one["response"])) for one in read]


def _answered(open_calls: list[tuple[Call, str]], told: Call) -> str:
    """The id of the call that a result answers: the same call, or the first of its function."""
    for alike in (
        lambda call, call_id: told.id and call_id == told.id,
        lambda call, call_id: not told.id and call == told,
        lambda call, call_id: not told.id and call.name == told.name,
    ):
        for place, (call, call_id) in enumerate(open_calls):
            if alike(call, call_id):
                del open_calls[place]
                return call_id
    raise ModelError(
        f"a result of {told.name!r} answers no call before it",
        hint="put the call into the turn before",
    )


def _content(message: Message, endpoint: Endpoint, folder: Path | None) -> Json:
    if isinstance(message.content, str):
        return message.content
    parts = [part for part in message.content if part.media_type not in (CALL, RESULT)]
    if all(part.kind == "text" for part in parts) and len(parts) <= 1:
        return parts[0].text if parts else ""
    return [_part(part, endpoint, folder) for part in parts]


def _part(part: Part, endpoint: Endpoint, folder: Path | None) -> dict[str, Json]:
    if part.kind == "text":
        return {"type": "text", "text": part.text}
    if part.kind == "video" or part.kind in endpoint.refuses:
        raise ModelError(
            f"{endpoint.name!r} takes no {part.kind}", hint="leave it out, or use another model"
        )
    media = open_media(part, folder)
    if part.kind == "image" and (endpoint.images == "any" or isinstance(media, Inline)):
        return {"type": "image_url", "image_url": {"url": _url(media)}}
    if not isinstance(media, Inline):
        raise ModelError(
            f"{endpoint.name!r} takes {part.kind} only as content, not by address",
            hint="put the file into the task folder",
        )
    if part.kind == "audio":
        return {"type": "input_audio", "input_audio": _audio(media)}
    name = "document" + _suffix(media.media_type)
    return {"type": "file", "file": {"filename": name, "file_data": _url(media)}}


def _url(media: Any) -> str:
    if isinstance(media, Inline):
        return f"data:{media.media_type};base64,{base64.b64encode(media.data).decode()}"
    if not media.uri.lower().startswith("https://"):
        raise ModelError(
            f"the address {media.uri!r} means nothing outside Google's cloud",
            hint="name the file by an https: address, or put it into the task folder",
        )
    return str(media.uri)


def _audio(media: Inline) -> dict[str, Json]:
    if media.media_type not in AUDIO:
        raise ModelError(
            f"sound has to be WAV or MP3, not {media.media_type!r}", hint="convert the file"
        )
    encoded = base64.b64encode(media.data).decode()
    return {"data": encoded, "format": AUDIO[media.media_type]}


def _suffix(media_type: str) -> str:
    return ".pdf" if media_type == "application/pdf" else ""


def _marked(message: Message, mark: str) -> list[Part]:
    if isinstance(message.content, str):
        return []
    return [part for part in message.content if part.media_type == mark]


def _is_marked(message: Message) -> bool:
    return bool(_marked(message, CALL) or _marked(message, RESULT))


def _text_only(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    if any(part.kind != "text" for part in message.content):
        raise ModelError("a function's result can only be text", hint="write it as JSON or text")
    return "".join(part.text for part in message.content)


def _as_text(value: Json) -> str:
    return value if isinstance(value, str) else _json(value)


def _json(value: Json | Mapping[str, Json]) -> str:
    return json.dumps(value, ensure_ascii=False)
