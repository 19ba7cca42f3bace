"""The JSON of a request's body, for whichever protocol, or a refusal that says what is wrong."""

from __future__ import annotations

from ..core import Json
from ..strict_json import read_strictly
from . import Refusal

__all__ = ["read_json"]


def read_json(raw: bytes) -> Json:
    """The value of a body.

    Raises Refusal for what is no JSON, for numbers that are none, for halves of characters, which
    cannot be written down again, and for what is nested too deep.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeError as error:
        raise Refusal("invalid", f"the body is not UTF-8 text: {error}") from error
    try:
        return read_strictly(text)
    except ValueError as error:
        raise Refusal("invalid", f"the body is not JSON that can be used: {error}") from error
