"""What a turn points at: data: URIs, URLs that may be fetched, files that were uploaded.

The open models served here read text, so text it has to be: a picture is refused by name, and no
model is asked about one that it never saw. A hosted model gets what it reads.
"""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anyio.to_thread import run_sync

from ...core import Part
from .. import Caller, Refusal
from ..media import TEXT_ONLY, inputs_of, media_kind, media_part
from .fields import Fields
from .files import own_file

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["CallersMedia", "media_of"]

MOST_BYTES = 4 << 20  # of text in one part: more than any context takes
AUDIO = ("wav", "mp3")
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
    inputs: frozenset[str] = TEXT_ONLY  # what the model reads

    async def read(self, part: Fields) -> str | Part:
        """The text of an image_url, input_audio or file part, or the part where the model reads it.

        Raises:
            Refusal: The model cannot read it, or it is too large, not found, or not to be fetched.
        """
        kind = part.given["type"]
        given = part.needed_inner(kind)
        if kind == "input_audio":
            return await self._audio(given)
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

    async def _audio(self, given: Fields) -> str | Part:
        if "audio" not in self.inputs:
            raise _no_text(given.path, "audio")
        given.known({"data", "format"})
        form = given.one_of("format", AUDIO)
        if form is None:
            raise given.missing("format")
        return await self._fetched(
            given, "data", f"data:audio/{form};base64,{given.needed_text('data')}"
        )

    async def _fetched(self, given: Fields, name: str, uri: str) -> str | Part:
        path = given.at(name)
        media_type = uri[5 : uri.find(",")].partition(";")[0] if uri[:5].lower() == "data:" else ""
        self._check_type(path, media_type)
        try:
            data, media_type = await self.server.fetch.read(uri, most_bytes=self._most_bytes)
        except Refusal as refusal:
            refusal.param = refusal.param or path
            raise
        return self._as_read(path, data, media_type)

    async def _stored(self, given: Fields) -> str | Part:
        path = given.at("file_id")
        database = self.server.database
        file = await run_sync(
            own_file, self.server, self.caller, given.needed_text("file_id"), path
        )
        media_type = file.media_type
        if media_type in UNTOLD:
            media_type = mimetypes.guess_type(file.name)[0] or ""
        self._check_type(path, media_type)
        if file.size_bytes > self._most_bytes:
            raise Refusal(
                "too_large", f"the file has more than {self._most_bytes} bytes", param=path
            )
        data = await run_sync(lambda: b"".join(database.read_file(file.id)))
        return self._as_read(path, data, media_type)

    @property
    def _most_bytes(self) -> int:
        return MOST_BYTES if self.inputs == TEXT_ONLY else self.server.settings.request_bytes

    def _as_read(self, path: str, data: bytes, media_type: str) -> str | Part:
        self._check_type(path, media_type)
        if media_kind(media_type) in self.inputs and (part := media_part(data, media_type)):
            return part
        return _text(path, data)

    def _check_type(self, path: str, media_type: str) -> None:
        plain = media_type.partition(";")[0].strip().lower()
        if plain in UNTOLD or plain.startswith("text/") or plain in TEXTS:
            return
        if media_kind(plain) not in self.inputs and not plain.endswith(("+json", "+xml")):
            raise _no_text(path, repr(plain))


def media_of(server: Server, caller: Caller, model: object = None) -> CallersMedia:
    """What the caller's turns may point at when this model is asked."""
    return CallersMedia(server, caller, inputs_of(server, model))


def _no_text(path: str, what: str) -> Refusal:
    return Refusal(
        "unsupported",
        f"{path!r} is {what}, and this model does not read that",
        hint="send the text that is in it, or ask a hosted model that reads it",
        param=path,
    )


def _text(path: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refusal("invalid", f"{path!r} is not UTF-8 text: {error}", param=path) from error
