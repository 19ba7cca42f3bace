"""What a turn points at, as text: data: URIs, URLs that may be fetched, files that were uploaded.

The models served here read text, so text it has to be: a picture is refused by name, and no model
is asked about one that it never saw.
"""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anyio.to_thread import run_sync

from .. import Caller, Refusal
from .fields import Fields
from .files import own_file

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["CallersMedia", "media_of"]

MOST_BYTES = 4 << 20  # of text in one part: more than any context takes
TEXTS = frozenset({
    "application/json", "application/jsonl", "application/x-ndjson", "application/xml",
    "application/yaml", "application/x-yaml", "application/javascript",
})  # fmt: skip
UNTOLD = ("", "application/octet-stream")


@dataclass(frozen=True, slots=True)
class CallersMedia:
    """What one caller's turns may point at."""

    server: Server
    caller: Caller

    async def read(self, part: Fields) -> str:
        """The text of an image_url, input_audio or file part.

        Raises:
            Refusal: It is no text, too large, not found, or may not be fetched.
        """
        kind = part.given["type"]
        given = part.needed_inner(kind)
        if kind == "input_audio":
            raise _no_text(given.path, "audio")
        if kind == "image_url":
            given.known({"url", "detail"})
            given.one_of("detail", ("auto", "low", "high", "original"))
            return await self._fetched(given, "url", given.needed_text("url"))
        given.known({"filename", "file_data", "file_id"})
        name = given.text("filename") or ""
        if given.has("file_id"):
            return await self._stored(given)
        data = given.needed_text("file_data")
        if data[:5].lower() != "data:":
            data = f"data:{mimetypes.guess_type(name)[0] or ''};base64,{data}"
        return await self._fetched(given, "file_data", data)

    async def _fetched(self, given: Fields, name: str, uri: str) -> str:
        path = given.at(name)
        media_type = uri[5 : uri.find(",")].partition(";")[0] if uri[:5].lower() == "data:" else ""
        _check_type(path, media_type)
        try:
            data, media_type = await self.server.fetch.read(uri, most_bytes=MOST_BYTES)
        except Refusal as refusal:
            refusal.param = refusal.param or path
            raise
        _check_type(path, media_type)
        return _text(path, data)

    async def _stored(self, given: Fields) -> str:
        path = given.at("file_id")
        database = self.server.database
        file = await run_sync(
            own_file, self.server, self.caller, given.needed_text("file_id"), path
        )
        media_type = file.media_type
        if media_type in UNTOLD:
            media_type = mimetypes.guess_type(file.name)[0] or ""
        _check_type(path, media_type)
        if file.size_bytes > MOST_BYTES:
            raise Refusal(
                "too_large", f"the file has more than {MOST_BYTES} bytes of text", param=path
            )
        return _text(path, await run_sync(lambda: b"".join(database.read_file(file.id))))


def media_of(server: Server, caller: Caller) -> CallersMedia:
    """What the caller's turns may point at."""
    return CallersMedia(server, caller)


def _check_type(path: str, media_type: str) -> None:
    plain = media_type.partition(";")[0].strip().lower()
    if plain in UNTOLD or plain.startswith("text/") or plain in TEXTS:
        return
    if not plain.endswith(("+json", "+xml")):
        raise _no_text(path, repr(plain))


def _no_text(path: str, what: str) -> Refusal:
    return Refusal(
        "unsupported",
        f"{path!r} is {what}, and the models here read text",
        hint="send the text that is in it",
        param=path,
    )


def _text(path: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refusal("invalid", f"{path!r} is not UTF-8 text: {error}", param=path) from error
