"""A file and what is said of it in one request: `multipart/related` or `multipart/form-data`.

The file goes to where it is told as it comes; it is never in memory as a whole.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from .. import Refusal

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

__all__ = ["Parted", "boundary_of", "read_parts"]

LARGEST_HEAD = 64 * 1024  # bytes of what is said of the file
BOUNDARY = re.compile(
    r'multipart/(?:related|form-data|mixed);.*?boundary=(?:"([^"]+)"|([^;,\s]+))', re.I
)


@dataclass
class Parted:
    """`said` is the JSON before the file, empty where there is none."""

    said: bytes = b""
    media_type: str = ""
    name: str = ""


@dataclass
class _Part:
    headers: dict[str, str] = field(default_factory=dict)
    header: bytearray = field(default_factory=bytearray)
    value: bytearray = field(default_factory=bytearray)


def boundary_of(content_type: str) -> str | None:
    """What parts the body; None for a body that has no parts."""
    match = BOUNDARY.match(content_type)
    return (match[1] or match[2]) if match else None


async def read_parts(stream: AsyncIterable[bytes], boundary: str, into: IO[bytes]) -> Parted:
    """Read a body of two parts, JSON and the file, or of the file alone.

    Raises:
        Refusal: the body is not in parts, or has others.
    """
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser

    reader = _Reader(into)
    try:
        parser = MultipartParser(boundary.encode("latin-1", "replace"), reader.callbacks())
        async for chunk in stream:
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise Refusal("invalid", f"the body is not what its content type says: {error}") from error
    if not reader.ended:
        raise Refusal("invalid", "the body ends before its last part does")
    return reader.result()


class _Reader:
    """Told of parts by the parser; the first one is JSON unless it is the only one."""

    def __init__(self, into: IO[bytes]) -> None:
        self._into = into
        self._parts: list[_Part] = []
        self._said = bytearray()
        self.ended = False

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._part.header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._part.value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def result(self) -> Parted:
        if not self._parts:
            raise Refusal("invalid", "the body has no part")
        last = self._parts[-1].headers
        name = re.search(r'filename="([^"]*)"', last.get("content-disposition", ""))
        media_type = last.get("content-type", "")
        return Parted(bytes(self._said), media_type, name[1] if name else "")

    @property
    def _part(self) -> _Part:
        return self._parts[-1]

    def _begin(self) -> None:
        if len(self._parts) == 2:
            raise Refusal("invalid", "the body has more than two parts")
        if self._parts:
            self._keep_first()
        self._parts.append(_Part())

    def _keep_first(self) -> None:
        """What came first was not the file."""
        if self._into.tell() > LARGEST_HEAD:
            raise Refusal("invalid", "the first part has to be JSON that describes the file")
        self._into.seek(0)
        self._said += self._into.read()
        self._into.seek(0)
        self._into.truncate()

    def _header(self) -> None:
        part = self._part
        name = part.header.decode("latin-1").strip().lower()
        part.headers[name] = part.value.decode("latin-1").strip()
        part.header, part.value = bytearray(), bytearray()

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._into.write(data[start:end])

    def _end(self) -> None:
        self.ended = True
