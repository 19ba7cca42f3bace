"""What is not text in a request, for the models that read it: parts that carry their own bytes.

A part never names a place, so that nobody behind the server reads or fetches what a caller names:
what may be fetched is fetched here (`fetch.py`).
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Literal

from ..core import Part
from . import Refusal

if TYPE_CHECKING:
    from .server import Server

__all__ = ["TEXT_ONLY", "inputs_of", "media_kind", "media_part"]

Kind = Literal["image", "audio", "video", "document"]

TEXT_ONLY = frozenset({"text"})
KINDS: dict[str, Kind] = {"image": "image", "audio": "audio", "video": "video"}


def inputs_of(server: Server, model: object) -> frozenset[str]:
    """What the model of that name reads; text alone where it is not known here, or was tuned."""
    if not isinstance(model, str) or server.models.resolve(model).isdigit():
        return TEXT_ONLY
    try:
        return frozenset(server.models.get(model).card.inputs)
    except Refusal:  # said where it is asked
        return TEXT_ONLY


def media_kind(media_type: str) -> Kind | None:
    """The kind of a media type; None for what is text, or nothing that a model reads."""
    bare = media_type.partition(";")[0].strip().lower()
    return "document" if bare == "application/pdf" else KINDS.get(bare.partition("/")[0])


def media_part(data: bytes, media_type: str) -> Part | None:
    """The part; None where the type is not of a kind that `media_kind` knows."""
    kind = media_kind(media_type)
    if kind is None:
        return None
    bare = media_type.partition(";")[0].strip().lower()
    uri = f"data:{bare};base64,{base64.b64encode(data).decode('ascii')}"
    return Part(kind, uri=uri, media_type=bare)
