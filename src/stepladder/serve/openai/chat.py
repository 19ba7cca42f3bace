"""POST chat/completions: the body becomes an `Ask`, the events become a message or chunks."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ...core import Json
from .. import Caller, End, Piece, Totals
from ..answering import Answer, Candidate, answer, whole
from .asking import Chat, read_chat
from .bodies import As, answered, read_fields, server_of
from .fields import Fields
from .media import media_of
from .streams import streamed
from .telling import (
    FINISHES,
    call_chunks,
    function_call,
    logprobs,
    sse,
    tool_calls,
    url_citations,
    usage_body,
)

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["ROUTE", "add_routes", "chat_body"]

ROUTE = "/v1/chat/completions"


def add_routes(router: APIRouter) -> None:
    """The route of chats."""
    router.add_api_route("/chat/completions", _chat, methods=["POST"], response_model=None)


async def _chat(request: Request, caller: As) -> Response:
    server = server_of(request)
    body = await read_fields(request)
    chat = await read_chat(body, media_of(server, caller, body.given.get("model")))
    begun = await _begin(server, caller, chat, body)
    if chat.stream:
        return streamed(_chunks(begun, chat), begun.headers)
    told = await _told(begun, chat)
    return answered(told, begun.headers)


async def chat_body(server: Server, caller: Caller, body: Fields) -> dict[str, Json]:
    """The whole answer to a body that asks for no stream."""
    chat = await read_chat(body, media_of(server, caller, body.given.get("model")))
    if chat.stream:
        raise body.fault("stream", "has to be false here")
    return await _told(await _begin(server, caller, chat, body), chat)


async def _begin(server: Server, caller: Caller, chat: Chat, body: Fields) -> Answer:
    return await answer(
        server, caller, chat.ask, protocol="openai", route=ROUTE, body=dict(body.given)
    )


def _head(begun: Answer, chat: Chat, kind: str) -> dict[str, Json]:
    head: dict[str, Json] = {
        "id": f"chatcmpl-{begun.id}",
        "object": kind,
        "created": int(time.time()),
        "model": chat.name,
    }
    return {**head, "system_fingerprint": begun.card.version} if begun.card.version else head


async def _told(begun: Answer, chat: Chat) -> dict[str, Json]:
    made = await whole(begun)
    choices = [
        _choice(candidate, index, begun.id, chat) for index, candidate in enumerate(made.candidates)
    ]
    head = _head(begun, chat, "chat.completion")
    return {**head, "choices": choices, "usage": usage_body(made.totals.usage)}


def _choice(candidate: Candidate, index: int, answer_id: str, chat: Chat) -> dict[str, Json]:
    message: dict[str, Json] = {"role": "assistant", "content": candidate.text, "refusal": None}
    if candidate.citations:
        message["annotations"] = url_citations(candidate.citations, len(candidate.text))
    if candidate.calls:
        message["content"] = candidate.text or None
        if chat.legacy_functions:
            message["function_call"] = function_call(candidate.calls[0])
        else:
            message["tool_calls"] = tool_calls(candidate.calls, answer_id, index)
    asked = chat.ask.top_logprobs is not None
    return {
        "index": index,
        "message": message,
        "logprobs": logprobs(candidate.tokens) if asked else None,
        "finish_reason": _finish(candidate.finish, chat),
    }


def _finish(finish: str, chat: Chat) -> str:
    return "function_call" if finish == "calls" and chat.legacy_functions else FINISHES[finish]


async def _chunks(begun: Answer, chat: Chat) -> AsyncGenerator[bytes, None]:
    """A chunk per piece; each candidate begins with its role and ends with why it ended."""
    head = _head(begun, chat, "chat.completion.chunk")
    open_usage = {"usage": None} if chat.usage else {}
    calls: dict[int, int] = {}  # told so far, by candidate; one that is in it has begun
    try:
        async for event in begun:
            if isinstance(event, Totals):
                if chat.usage:
                    yield sse({**head, "choices": [], "usage": usage_body(event.usage)})
                return
            choices = [] if event.index in calls else [_opening(event.index)]
            before = calls.setdefault(event.index, 0)
            if isinstance(event, End):
                choices.append(_ending(event, chat))
            else:
                calls[event.index] += len(event.calls)
                choices.append(_continuing(event, chat, begun.id, before))
            for choice in choices:
                yield sse({**head, "choices": [choice], **open_usage})
    finally:
        await begun.aclose()


def _opening(index: int) -> dict[str, Json]:
    delta = {"role": "assistant", "content": "", "refusal": None}
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}


def _ending(end: End, chat: Chat) -> dict[str, Json]:
    """Why it ended. What it cites is told of whole messages only: a delta has no place for it."""
    finish = _finish(end.finish, chat)
    return {"index": end.index, "delta": {}, "logprobs": None, "finish_reason": finish}


def _continuing(piece: Piece, chat: Chat, answer_id: str, before: int) -> dict[str, Json]:
    delta: dict[str, Json] = {}
    if piece.text or not piece.calls:
        delta["content"] = piece.text
    if piece.calls and chat.legacy_functions:
        delta["function_call"] = function_call(piece.calls[0])
    elif piece.calls:
        delta["tool_calls"] = call_chunks(piece.calls, answer_id, piece.index, before)
    told = logprobs(piece.tokens) if piece.tokens else None
    return {"index": piece.index, "delta": delta, "logprobs": told, "finish_reason": None}
