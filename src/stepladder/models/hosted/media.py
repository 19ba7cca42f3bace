"""What a message's part that is not text stands for: bytes to send along, or an address to name.

The parts come from data, which may be somebody else's: a path outside the task folder is never
read, and of addresses only those a service fetches itself (`https:`, `gs:`) are passed on.
Nothing here fetches anything.
"""

from __future__ import annotations

import base64
import binascii
import mimetypes
import re
from dataclasses import dataclass
from pathlib import Path

from ...core import Part
from ...errors import ModelError

__all__ = ["MOST_BYTES", "Inline", "Remote", "open_media"]

MOST_BYTES = 20 * 2**20  # in one request; what is larger goes to a bucket and is named by address
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # two letters at least: C: is a drive
_REMOTE = ("https://", "gs://")


@dataclass(frozen=True)
class Inline:
    """Content that goes into the request itself."""

    data: bytes
    media_type: str


@dataclass(frozen=True)
class Remote:
    """Content that the service fetches by its address."""

    uri: str
    media_type: str


def open_media(part: Part, folder: Path | None) -> Inline | Remote:
    """The content of a part that is not text; a path is looked up below `folder`.

    Raises ModelError for a file outside the folder or too large, an address of another scheme, or
    a media type that nothing tells.
    """
    if not part.uri:
        raise ModelError(
            f"a message has {part.kind} without a 'uri'", hint="name a file or address"
        )
    if part.uri.startswith("data:"):
        return _decoded(part)
    if part.uri.lower().startswith(_REMOTE):
        return Remote(part.uri, _media_type(part))
    if scheme := _SCHEME.match(part.uri):
        raise ModelError(
            f"a message names {_short(part.uri)!r}: {scheme[0]!r} addresses are not sent anywhere",
            hint="use https:, gs:, data: or a file in the task folder",
        )
    return Inline(_read(part.uri, folder), _media_type(part))


def _decoded(part: Part) -> Inline:
    head, comma, text = part.uri[len("data:") :].partition(",")
    media_type, _, coding = head.rpartition(";")
    try:
        media_type = part.media_type or media_type
        if not (comma and media_type and coding == "base64"):
            raise ValueError("neither a type nor base64")
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ModelError(
            f"a message has a damaged 'data:' address, {_short(part.uri)!r}",
            hint="it must be data:TYPE;base64,CONTENT",
        ) from error
    return Inline(_within_limit(data, "a 'data:' address"), media_type)


def _read(uri: str, folder: Path | None) -> bytes:
    if folder is None:
        raise ModelError(
            f"a message names the file {uri!r}, and there is no task folder to look for it in",
            hint="open the model through a task, or give the content as data:TYPE;base64,...",
        )
    root = folder.resolve()
    try:
        path = (root / uri).resolve(strict=True)  # symbolic links are followed before the check
        if not path.is_relative_to(root):
            raise ModelError(
                f"a message names the file {uri!r}, which is outside the task folder",
                hint="only files inside the task folder are sent: copy it there",
            )
        if path.stat().st_size > MOST_BYTES:
            raise _too_large(repr(uri))
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise ModelError(
            f"a message names the file {uri!r}, which cannot be read",
            hint=f"it is looked for in {str(folder)!r}",
        ) from error


def _media_type(part: Part) -> str:
    media_type = part.media_type or mimetypes.guess_type(part.uri)[0]
    if media_type is None:
        raise ModelError(
            f"nothing tells what kind of file {_short(part.uri)!r} is",
            hint="give the part a 'media_type', for instance 'image/png'",
        )
    return media_type


def _within_limit(data: bytes, what: str) -> bytes:
    if len(data) > MOST_BYTES:
        raise _too_large(what)
    return data


def _too_large(what: str) -> ModelError:
    return ModelError(
        f"a message sends {what}, which is larger than {MOST_BYTES // 2**20} MiB",
        hint="put the file into a bucket and name it by its gs:// or https:// address",
    )


def _short(uri: str) -> str:
    return uri if len(uri) <= 80 else f"{uri[:77]}..."
