"""`generateContent` and `streamGenerateContent`, at either service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from ...core import Json
from .. import Ask, Caller, Refusal
from ..answering import Answer, answer, model_for, whole
from ..media import inputs_of
from .answers import Api, Chunks, Frame, as_json, to_response, version_of
from .asking import Kept, to_ask
from .bodies import read_raw
from .errors import error_of
from .media import with_files
from .prefixes import load
from .request_forms import GENERATE

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["Asked", "ask_of", "check_model", "generate", "stream"]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which model is asked, by whom, in which service's words."""

    server: Server
    caller: Caller
    api: Api
    model: str


async def generate(request: Request, asked: Asked) -> Response:
    """The whole answer."""
    raw = await read_raw(request)
    begun = await _begin(asked, raw, "generateContent")
    told = to_response(await whole(begun), _frame(asked, begun))
    return Response(as_json(told), media_type="application/json", headers=begun.headers)


async def stream(request: Request, asked: Asked) -> Response:
    """The answer as it is made: as server-sent events with `alt=sse`, else as one JSON array."""
    alt = request.query_params.get("alt", request.query_params.get("$alt", "json"))
    if alt not in ("sse", "json"):
        raise Refusal("invalid", f"'alt' has to be 'sse' or 'json', not {alt[:40]!r}", param="alt")
    raw = await read_raw(request)
    begun = await _begin(asked, raw, "streamGenerateContent")
    messages = _messages(begun, _frame(asked, begun))
    if alt == "sse":
        return StreamingResponse(
            _as_events(messages), media_type="text/event-stream", headers=begun.headers
        )
    return StreamingResponse(
        _as_array(messages), media_type="application/json", headers=begun.headers
    )


async def ask_of(asked: Asked, raw: Json) -> Ask:
    """What a body of the form `GenerateContentRequest` asks, its files and prefix read."""
    inputs = inputs_of(asked.server, asked.model)
    body = await with_files(asked.server, asked.caller, GENERATE(raw, ""), inputs)
    check_model(body, asked.model)
    kept = None
    if name := body.get("cachedContent"):
        kept = await load(asked.server, asked.caller, name)
        _check_kept(asked, kept)
    return to_ask(asked.model, body, kept, _given(raw), inputs)


def check_model(body: Mapping[str, Json], model: str) -> None:
    """Raise Refusal where the body names another model than the path."""
    named = body.get("model", model)
    if named != model and named.rpartition("models/")[2] != model:
        raise Refusal(
            "invalid",
            f"the body names the model {named[:120]!r}, the path {model!r}",
            hint="leave it out of the body",
            param="model",
        )


def _check_kept(asked: Asked, kept: Kept) -> None:
    card = model_for(asked.server, asked.caller, asked.model).card
    if kept.model != card.name:
        raise Refusal(
            "invalid",
            f"the cached content was made for {kept.model!r}, not for {card.name!r}",
            param="cachedContent",
        )


async def _begin(asked: Asked, raw: Json, route: str) -> Answer:
    ask = await ask_of(asked, raw)
    return await answer(asked.server, asked.caller, ask, protocol=asked.api, route=route, body=raw)


def _given(raw: Json) -> set[str]:
    """The names of all fields that were set, those of the configuration without its name."""
    config = raw.get("generationConfig", raw.get("generation_config")) or {}
    return {*raw, *config} - {"contents", "generationConfig", "generation_config", "model"}


def _frame(asked: Asked, begun: Answer) -> Frame:
    return Frame(asked.api, begun.id, version_of(begun.card), datetime.now(UTC))


async def _messages(begun: Answer, frame: Frame) -> AsyncIterator[bytes]:
    """Every message as JSON; what goes wrong on the way is the last one."""
    chunks = Chunks(frame)
    async with aclosing(begun):
        try:
            async for event in begun:
                message = chunks.tell(event)
                if message is not None:
                    yield as_json(message)
        except Refusal as refusal:
            yield as_json({"error": error_of(refusal)})


async def _as_events(messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for message in messages:
        yield b"data: " + message + b"\r\n\r\n"


async def _as_array(messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    before = b"["
    async for message in messages:
        yield before + message
        before = b",\r\n"
    yield b"]" if before != b"[" else b"[]"
