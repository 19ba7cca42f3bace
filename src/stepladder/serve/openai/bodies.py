"""The JSON of a body as `Fields`, and JSON as an answer: the two ends of every call here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from fastapi.responses import Response

from ...core import Json
from .. import Caller
from ..bodies import read_json
from ..keys import caller_of
from .fields import Fields
from .telling import json_bytes

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["As", "answered", "read_fields", "server_of"]

As = Annotated[Caller, Depends(caller_of)]  # the caller of a route; who has no known key has none


async def read_fields(request: Request) -> Fields:
    """The fields of a body; raises Refusal where it is no JSON object."""
    return Fields.of(read_json(await request.body()))


def answered(body: Json, headers: Mapping[str, str] | None = None) -> Response:
    """A whole answer."""
    return Response(json_bytes(body), headers=dict(headers or {}), media_type="application/json")


def server_of(request: Request) -> Server:
    """The server that a request came to."""
    server: Server = request.app.state.server
    return server
