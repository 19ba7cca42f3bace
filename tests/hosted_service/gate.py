"""What every call passes on its way to the service: log, credentials, limits, latency, faults."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import error_response
from .faults import Rule, Schedule
from .journal import Entry, Journal, content_of
from .settings import Settings

__all__ = ["Gate", "key_of"]

_STREAM = "text/event-stream"
_ASKS_A_MODEL = (":generateContent", ":streamGenerateContent", "/chat/completions")


class Gate:
    """Wraps the service; `schedule` and `journal` belong to the test."""

    def __init__(self, service: ASGIApp, settings: Callable[[], Settings]) -> None:
        self._service = service
        self._settings = settings
        self._busy = 0
        self.reset()

    def reset(self) -> None:
        self.schedule = Schedule()
        self.journal = Journal()
        self._allowed_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _all_of(receive)
        if body is None:
            return
        journal = self.journal
        entry = journal.open(scope, key_of(scope), body)
        try:
            await self._pass(entry, scope, receive, send)
        finally:
            journal.close(entry)

    async def _pass(self, entry: Entry, scope: Scope, receive: Receive, send: Send) -> None:
        out = _Out(entry, scope, receive, send)
        asks = entry.path.endswith(_ASKS_A_MODEL)
        if not entry.key and not _is_open(entry):
            await out.whole(error_response(scope, 401, reason="missing"))
            return
        if asks and (refusal := self._above_limits(scope, entry)):
            entry.fault = "limit"
            await out.whole(refusal)
            return
        self._busy += asks
        try:
            call = f"{entry.method} {entry.path}"
            drawn = self.schedule.draw(call, content_of(entry.path, entry.body))
            if asks and self._settings().latency:
                await asyncio.sleep(self._settings().latency)
            if drawn is None:
                await self._answer(entry, scope, out)
            else:
                await self._go_wrong(entry, scope, out, *drawn)
        finally:
            self._busy -= asks

    def _above_limits(self, scope: Scope, entry: Entry) -> Response | None:
        settings = self._settings()
        over = settings.concurrency is not None and self._busy >= settings.concurrency
        if not over and settings.per_second is not None:
            now = time.monotonic()
            over = now < self._allowed_at
            if not over:
                gap = 1 / settings.per_second
                self._allowed_at = max(self._allowed_at + gap, now - 10 * gap)
        if not over:
            return None
        return error_response(scope, 429, entry.key, wait_seconds=settings.wait_seconds)

    async def _answer(self, entry: Entry, scope: Scope, out: _Out) -> None:
        response = await _captured(self._service, scope, entry.body)
        entry.made = response.status_code < 300
        await out.whole(response, gap=self._settings().chunk_seconds)

    async def _go_wrong(self, entry: Entry, scope: Scope, out: _Out, rule: Rule, kind: str) -> None:
        entry.fault = kind
        if kind == "drop":
            await out.broken()
            return
        if kind in _REFUSALS:
            waits = rule.wait_seconds if kind in ("429", "503") else None
            key = entry.key if rule.echo_key else ""
            status, reason = _REFUSALS[kind]
            await out.whole(
                error_response(
                    scope, status, key, reason=reason, wait_seconds=waits, said=rule.said
                )
            )
            return
        if kind in ("blocked", "empty"):
            scope.setdefault("state", {})["outcome"] = kind
        response = await _captured(self._service, scope, entry.body)
        entry.made = response.status_code < 300
        if kind == "slow":
            await asyncio.sleep(rule.seconds)
        if kind == "cut":
            await out.half(response)
        elif kind == "truncated":
            half = bytes(response.body)[: len(response.body) // 2]
            media = response.headers["content-type"]
            await out.whole(Response(half, response.status_code, media_type=media))
            entry.answered = False
        else:
            await out.whole(response, gap=self._settings().chunk_seconds)


def _is_open(entry: Entry) -> bool:
    """Where no key is needed: to get a token, and at an address that was handed out."""
    handed_out = ("upload_id=", "signature=")
    return entry.path == "/token" or any(sign in entry.query for sign in handed_out)


_REFUSALS = {
    "429": (429, ""),
    "500": (500, ""),
    "503": (503, ""),
    "quota": (429, "day"),
    "expired": (401, "expired"),
    "denied": (403, ""),
}


class _Out:
    """The way back to the caller, whole, in half or not at all."""

    def __init__(self, entry: Entry, scope: Scope, receive: Receive, send: Send) -> None:
        self._entry = entry
        self._transport = scope.get("state", {}).get("transport")
        self._receive = receive
        self._send = send

    async def whole(self, response: Response, *, gap: float = 0.0) -> None:
        await self._start(response)
        for place, chunk in enumerate(_chunks(response)):
            if gap and place:
                await asyncio.sleep(gap)
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        await self._send({"type": "http.response.body", "body": b""})
        self._entry.answered = response.status_code < 300

    async def half(self, response: Response) -> None:
        body = bytes(response.body)
        await self._start(response)
        await self._send(
            {"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True}
        )
        await self._gone(self._transport.close)

    async def broken(self) -> None:
        await self._gone(self._transport.abort)

    async def _start(self, response: Response) -> None:
        self._entry.status = response.status_code
        await self._send(
            {
                "type": "http.response.start",
                "status": response.status_code,
                "headers": _sent_headers(response),
            }
        )

    async def _gone(self, end: Any) -> None:
        end()
        while (await self._receive())["type"] != "http.disconnect":
            pass


def _sent_headers(response: Response) -> list[tuple[bytes, bytes]]:
    """Nobody knows beforehand how long a stream will be."""
    streams = response.headers.get("content-type", "").startswith(_STREAM)
    return [h for h in response.raw_headers if not (streams and h[0] == b"content-length")]


def _chunks(response: Response) -> list[bytes]:
    body = bytes(response.body)
    if not response.headers.get("content-type", "").startswith(_STREAM):
        return [body]
    return [event + b"\n\n" for event in body.split(b"\n\n") if event]


async def _all_of(receive: Receive) -> bytes | None:
    """The body; None where the caller was gone before it had sent it whole."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _captured(service: ASGIApp, scope: Scope, body: bytes) -> Response:
    """What the service would send."""
    status, headers = 500, []
    parts: list[bytes] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status, headers = message["status"], message["headers"]
            parts.clear()  # of a page that the framework wrote before it passed an exception on
        else:
            parts.append(message.get("body", b""))

    await service(scope, receive, send)
    response = Response(b"".join(parts), status)
    response.raw_headers = list(headers)
    return response


def key_of(scope: Scope) -> str:
    """The key or token that came along, in any of the places where clients put it."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    if key := headers.get(b"x-goog-api-key") or headers.get(b"api-key"):
        return key.decode("latin-1")
    kind, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if kind.lower() == "bearer":
        return token
    return next(iter(parse_qs(scope["query_string"].decode()).get("key", [])), "")
