"""Files that contents name become the text in them, or for models that read it what they show.

A file is one that was uploaded here, by its name or URI, or what the server may fetch (`fetch.py`).
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from anyio.to_thread import run_sync

from ...core import Json
from .. import Caller, Refusal
from ..media import TEXT_ONLY, media_kind
from .contents import is_textual, text_of
from .files import file_of

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["with_files"]

UPLOADED = re.compile(r"(?:https?://[^/?#]+/(?:[^?#]*/)?)?files/[a-z0-9-]{1,64}")


async def with_files(
    server: Server,
    caller: Caller,
    body: Mapping[str, Json],
    inputs: frozenset[str] = TEXT_ONLY,
) -> Mapping[str, Json]:
    """The body, as read by `GENERATE` or like it, with its content in the place of every file.

    That is a text, or where `inputs` has its kind the bytes, inline.

    Raises:
        Refusal: A file is not of `inputs`, is not the caller's, or may not or cannot be fetched.
    """
    reader = _Reader(server, caller, inputs)
    changed: dict[str, Json] = {}
    contents = body.get("contents", ())
    if any(map(_names_files, contents)):
        changed["contents"] = [
            await _read_content(reader, one, f"contents[{index}]")
            for index, one in enumerate(contents)
        ]
    system = body.get("systemInstruction")
    if system is not None and _names_files(system):
        reader = _Reader(server, caller, TEXT_ONLY)
        changed["systemInstruction"] = await _read_content(reader, system, "systemInstruction")
    return {**body, **changed} if changed else body


def _names_files(content: Mapping[str, Json]) -> bool:
    return any("fileData" in part for part in content.get("parts", ()))


@dataclass(frozen=True)
class _Reader:
    """Who reads files, and what the model that they are for reads."""

    server: Server
    caller: Caller
    inputs: frozenset[str]


async def _read_content(
    reader: _Reader, content: Mapping[str, Json], place: str
) -> Mapping[str, Json]:
    parts = []
    for index, part in enumerate(content["parts"]):
        if "fileData" in part:
            here = f"{place}.parts[{index}].fileData"
            rest = {key: value for key, value in part.items() if key != "fileData"}
            part = {**rest, **await _read_file(reader, part["fileData"], here)}
        parts.append(part)
    return {**content, "parts": parts}


async def _read_file(reader: _Reader, named: Mapping[str, Json], place: str) -> Mapping[str, Json]:
    """The part in the file's place."""
    server = reader.server
    uri, media_type = named["fileUri"], named.get("mimeType", "")
    if media_type and not is_textual(media_type) and media_kind(media_type) not in reader.inputs:
        text_of(b"", media_type, place)  # refused before anything is fetched
    most = server.settings.request_bytes
    try:
        found = await run_sync(_uploaded, server, reader.caller, uri, most)
        raw, told = found or await server.fetch.read(uri, most_bytes=most)
    except Refusal as refusal:
        refusal.param = refusal.param or f"{place}.fileUri"
        raise
    guessed = mimetypes.guess_type(urlsplit(uri).path)[0] or ""
    is_of = media_type or told or guessed
    if media_kind(is_of) in reader.inputs:
        return {"inlineData": {"mimeType": is_of, "data": raw}}
    text = text_of(raw, is_of, place)
    return {"text": text if text.endswith("\n") else f"{text}\n"}


def _uploaded(server: Server, caller: Caller, uri: str, most: int) -> tuple[bytes, str] | None:
    """The bytes and type of a file that was uploaded here; None where `uri` is another's."""
    if not UPLOADED.fullmatch(uri):
        return None
    try:
        file = file_of(server, caller, uri)
    except Refusal:
        if "://" in uri:
            return None
        raise
    if file.size_bytes > most:
        raise Refusal("too_large", f"the file {uri!r} has more than {most} bytes")
    return b"".join(server.database.read_file(file.id)), file.media_type
