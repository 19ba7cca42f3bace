"""Contents and the system instruction as messages.

Knows nothing of files: a part that names one is text before it gets here (`media.py`). What a model
thought is not told to it again, as at the services.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Literal

from ...core import Call, Json, Message, Part
from .. import Refusal
from ..media import TEXT_ONLY, media_kind, media_part

__all__ = ["is_textual", "text_of", "to_messages"]

ROLES: Mapping[str, Literal["user", "model"]] = {
    "": "user", "user": "user", "function": "user", "model": "model",
}  # fmt: skip
KINDS = ("text", "inlineData", "fileData", "functionCall", "functionResponse")
TEXTUAL = ("application/json", "application/xml", "application/x-ndjson", "application/yaml")


def to_messages(
    contents: Sequence[Mapping[str, Json]],
    system: Mapping[str, Json] | None = None,
    place: str = "contents",
    inputs: frozenset[str] = TEXT_ONLY,
) -> tuple[Message, ...]:
    """The conversation, as read by the form `CONTENT`, its system instruction first.

    Of what is not text, what is among `inputs` stays what it is in the user's turns.

    A result belongs to the call with its id, else to the first call before it of its name that has
    no result yet: SDKs leave ids out. Raises Refusal for parts that have no place or meaning.
    """
    messages: list[Message] = []
    if system is not None:
        messages.append(Message("system", _only_text(system, "systemInstruction")))
    waiting: list[Call] = []
    for index, content in enumerate(contents):
        here = f"{place}[{index}]"
        role = ROLES.get(content.get("role", ""))
        if role is None:
            raise Refusal(
                "invalid",
                f"the role {content['role'][:40]!r} is not known",
                hint="use 'user' or 'model'",
                param=f"{here}.role",
            )
        if role == "model":
            messages.append(_spoken(content, here))
            waiting += messages[-1].calls
        else:
            messages += _heard(content, here, waiting, inputs)
    return tuple(messages)


def is_textual(media_type: str) -> bool:
    """Whether what is of this type can be read as text."""
    bare = media_type.partition(";")[0].strip().lower()
    return bare.startswith("text/") or bare in TEXTUAL or bare.endswith(("+json", "+xml"))


def text_of(raw: bytes, media_type: str, place: str) -> str:
    """The text of a file's bytes; raises Refusal for what is none."""
    if not is_textual(media_type):
        raise Refusal(
            "unsupported",
            f"{place!r} is {media_type or 'of an unknown type'!r}; this model reads text only",
            hint="send text, or a file of type text/*, or ask a hosted model that reads it",
            param=place,
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refusal("invalid", f"{place!r} is not UTF-8 text: {error}", param=place) from error


def _spoken(content: Mapping[str, Json], place: str) -> Message:
    """A turn of the model."""
    texts: list[str] = []
    calls: list[Call] = []
    for here, kind, part in _parts(content, place):
        if kind == "functionResponse":
            raise _misplaced(here, kind, "user")
        if kind == "functionCall":
            calls.append(_call(part))
        elif not part.get("thought"):
            texts.append(_text(part, kind, here))
    return Message("assistant", "".join(texts), calls=tuple(calls))


def _heard(
    content: Mapping[str, Json], place: str, waiting: list[Call], inputs: frozenset[str]
) -> list[Message]:
    """A turn of the user: what was said and shown, and results of functions, in their order."""
    messages: list[Message] = []
    said: list[str | Part] = []
    for here, kind, part in _parts(content, place):
        if kind == "functionCall":
            raise _misplaced(here, kind, "model")
        if kind == "functionResponse":
            if said:
                messages.append(Message("user", _together(said)))
                said = []
            messages.append(_result(part["functionResponse"], waiting))
        else:
            said.append(_shown(part, kind, inputs) or _text(part, kind, here))
    if said:
        messages.append(Message("user", _together(said)))
    return messages


def _shown(part: Mapping[str, Json], kind: str, inputs: frozenset[str]) -> Part | None:
    """What is no text and is read as it is; None for all else."""
    blob = part.get("inlineData") if kind == "inlineData" else None
    if blob is None or media_kind(blob["mimeType"]) not in inputs:
        return None
    return media_part(blob.get("data", b""), blob["mimeType"])


def _together(said: Sequence[str | Part]) -> str | tuple[Part, ...]:
    if all(isinstance(one, str) for one in said):
        return "".join(map(str, said))
    return tuple(Part("text", one) if isinstance(one, str) else one for one in said)


def _only_text(content: Mapping[str, Json], place: str) -> str:
    texts = []
    for here, kind, part in _parts(content, place):
        if kind in ("functionCall", "functionResponse"):
            raise Refusal("invalid", f"a system instruction holds text, not {kind!r}", param=here)
        texts.append(_text(part, kind, here))
    return "".join(texts)


def _parts(content: Mapping[str, Json], place: str) -> list[tuple[str, str, Mapping[str, Json]]]:
    """Where each part is, which kind it is, and itself."""
    parts = content.get("parts")
    if not parts:
        raise Refusal("invalid", f"{place!r} has no parts", param=f"{place}.parts")
    return [(f"{place}.parts[{n}]", _kind(one, f"{place}.parts[{n}]"), one)
            for n, one in enumerate(parts)]  # fmt: skip


def _kind(part: Mapping[str, Json], place: str) -> str:
    kinds = [kind for kind in KINDS if kind in part]
    if len(kinds) == 1:
        return kinds[0]
    if not kinds and "thoughtSignature" in part:
        return "text"  # the services end an answer so, and their SDKs send it back
    told = f"holds {' and '.join(kinds)}; it may hold one" if kinds else "holds nothing"
    raise Refusal("invalid", f"{place!r} {told}", hint=f"one of {', '.join(KINDS)}", param=place)


def _text(part: Mapping[str, Json], kind: str, place: str) -> str:
    if kind == "inlineData":
        blob = part["inlineData"]
        text = text_of(blob.get("data", b""), blob["mimeType"], f"{place}.inlineData")
        return text if text.endswith("\n") else f"{text}\n"
    if kind == "fileData":
        raise Refusal("unsupported", f"{place!r} names a file, which is not read here", param=place)
    return str(part.get("text", ""))


def _call(part: Mapping[str, Json]) -> Call:
    given = part["functionCall"]
    return Call(
        given["name"],
        given.get("args", {}),
        id=given.get("id", ""),
        signature=part.get("thoughtSignature", ""),
    )


def _result(given: Mapping[str, Json], waiting: list[Call]) -> Message:
    name, id = given["name"], given.get("id", "")
    found = next((call for call in waiting if id and call.id == id), None)
    found = found or next((call for call in waiting if call.name == name), None)
    if found is None:
        found = Call(name, id=id)
    else:
        waiting.remove(found)
    return Message("function", _as_text(given.get("response", {})), result_of=found)


def _as_text(response: Mapping[str, Json]) -> str:
    """A result as the model reads it. SDKs wrap what is no object in `result`."""
    only: Json = response
    if len(response) == 1:
        only = response.get("result", response)
    return only if isinstance(only, str) else json.dumps(only, ensure_ascii=False)


def _misplaced(place: str, kind: str, role: str) -> Refusal:
    return Refusal("invalid", f"{kind!r} belongs in a turn of the {role!r}", param=place)
