"""Files that contents name become the text in them, as far as they are text.

A file is one that was uploaded here, by its name or URI, or what the server may fetch (`fetch.py`).
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from anyio.to_thread import run_sync

from ...core import Json
from .. import Caller, Refusal
from .contents import is_textual, text_of
from .files import file_of

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["with_files"]

UPLOADED = re.compile(r"(?:https?://[^/?#]+/(?:[^?#]*/)?)?files/[a-z0-9-]{1,64}")


async def with_files(
    server: Server, caller: Caller, body: Mapping[str, Json]
) -> Mapping[str, Json]:
    """The body, as read by `GENERATE` or like it, with a text in the place of every file.

    Raises:
        Refusal: A file is not text, is not the caller's, or may not or cannot be fetched.
    """
    changed: dict[str, Json] = {}
    contents = body.get("contents", ())
    if any(map(_names_files, contents)):
        changed["contents"] = [
            await _read_content(server, caller, one, f"contents[{index}]")
            for index, one in enumerate(contents)
        ]
    system = body.get("systemInstruction")
    if system is not None and _names_files(system):
        changed["systemInstruction"] = await _read_content(
            server, caller, system, "systemInstruction"
        )
    return {**body, **changed} if changed else body


def _names_files(content: Mapping[str, Json]) -> bool:
    return any("fileData" in part for part in content.get("parts", ()))


async def _read_content(
    server: Server, caller: Caller, content: Mapping[str, Json], place: str
) -> Mapping[str, Json]:
    parts = []
    for index, part in enumerate(content["parts"]):
        if "fileData" in part:
            here = f"{place}.parts[{index}].fileData"
            text = await _read_file(server, caller, part["fileData"], here)
            rest = {key: value for key, value in part.items() if key != "fileData"}
            part = {**rest, "text": text if text.endswith("\n") else f"{text}\n"}
        parts.append(part)
    return {**content, "parts": parts}


async def _read_file(server: Server, caller: Caller, named: Mapping[str, Json], place: str) -> str:
    uri, media_type = named["fileUri"], named.get("mimeType", "")
    if media_type and not is_textual(media_type):
        text_of(b"", media_type, place)  # refused before anything is fetched
    most = server.settings.request_bytes
    try:
        found = await run_sync(_uploaded, server, caller, uri, most)
        raw, told = found or await server.fetch.read(uri, most_bytes=most)
    except Refusal as refusal:
        refusal.param = refusal.param or f"{place}.fileUri"
        raise
    guessed = mimetypes.guess_type(urlsplit(uri).path)[0] or ""
    return text_of(raw, media_type or told or guessed, place)


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
