"""POST embeddings: a vector per text, as numbers or as base64 of little-endian 32-bit floats."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import Response

from ...core import Json
from .. import Caller, EmbedAsk
from ..answering import embed
from .bodies import As, answered, read_fields, server_of
from .fields import Fields
from .names import served_name
from .prompts import read_prompts

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["ROUTE", "add_routes", "embedding_body"]

ROUTE = "/v1/embeddings"
KNOWN = {"model", "input", "encoding_format", "dimensions", "user"}
MOST_DIMENSIONS = 65536


def add_routes(router: APIRouter) -> None:
    """The route of embeddings."""
    router.add_api_route("/embeddings", _embed, methods=["POST"], response_model=None)


async def _embed(request: Request, caller: As) -> Response:
    body = await read_fields(request)
    return answered(await embedding_body(server_of(request), caller, body))


async def embedding_body(server: Server, caller: Caller, body: Fields) -> dict[str, Json]:
    """The vectors of a body's texts, in order."""
    body.known(KNOWN)
    model = body.needed_text("model")
    body.text("user")
    as_base64 = body.one_of("encoding_format", ("float", "base64")) == "base64"
    dimensions = body.whole("dimensions", 1, MOST_DIMENSIONS)
    texts = read_prompts(server, caller, body, "input", model)
    for place, text in enumerate(texts):
        if not text:
            raise body.fault("input", f"has an empty text, number {place + 1} of {len(texts)}")
    embedded = await embed(
        server,
        caller,
        EmbedAsk(served_name(model), texts, dimensions, cut_long=False),
        protocol="openai",
        route=ROUTE,
        body=dict(body.given),
    )
    tell = _base64 if as_base64 else _numbers
    tokens = sum(embedded.tokens)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": tell(vector)}
            for index, vector in enumerate(embedded.vectors)
        ],
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _numbers(vector: Sequence[float]) -> Json:
    return np.asarray(vector, dtype=np.float64).tolist()


def _base64(vector: Sequence[float]) -> Json:
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode("ascii")
