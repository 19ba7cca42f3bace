"""What happens to every request on its way in and out, whatever answers it.

Decides the protocol, bounds the body, ends what nobody waits for any more, tells errors in the form
of the protocol they came in, and writes the line of the log. Nothing here knows a route.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from ..database import new_id
from ..database.files import Taken
from ..database.records import Served
from ..database.rows import NotKept
from ..database.values import NotStorable
from ..errors import StoreError
from . import Reason, Refusal
from .log import LOGGER, log_request
from .protocols import decide
from .settings import is_loopback
from .traces import trace_of
from .visits import VISIT, Visit

if TYPE_CHECKING:
    from .server import Server

__all__ = ["Front", "tell"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]

GOOGLE_HEADERS = frozenset({b"x-goog-api-key", b"x-goog-api-client"})
TELLERS = {"openai": ".openai.errors", "gemini": ".gemini.errors", "vertex": ".gemini.errors"}
# in `Host` and `Origin`: nothing but a name, and what may stand around it
NAMED = re.compile(r"(?:[A-Za-z]+://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?")
STORE_RETRY = 5.0  # seconds
# what callers did, not the database; routes that know the field say so themselves
STORE_REASONS: dict[type[StoreError], Reason] = {
    NotStorable: "invalid", NotKept: "not_found", Taken: "conflict",
}  # fmt: skip
TOO_LARGE = 413
GONE = 499  # the status of a call whose caller went away, in logs and records: nobody is told it


def tell(refusal: Refusal, protocol: str) -> Response:
    """The response to a call that is refused, as its protocol tells it."""
    if (module := TELLERS.get(protocol)) is not None:
        told: Response = import_module(module, __package__).tell(refusal)
        return told
    error = {"reason": refusal.reason, "message": refusal.message, "hint": refusal.hint or None,
             "param": refusal.param}  # fmt: skip
    return JSONResponse({"error": error}, refusal.status)


class Front:
    """The outermost layer of the app."""

    def __init__(self, app: ASGI, server: Server) -> None:
        self._app = app
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visit, length = _visit(scope)
        limit = _most_bytes(scope["path"], self._server)
        loop = asyncio.get_running_loop()
        body = _Body(receive, visit, limit, loop.time() + self._server.settings.request_seconds)
        out = _Out(send, visit)
        held = VISIT.set(visit)
        try:
            if length is not None and length > limit:
                raise _too_large(limit)
            _refuse_two_lengths(scope)
            if not self._server.keyring.closed:
                _refuse_strangers(scope)
            await self._app(scope, body.receive, out.send)
        except asyncio.CancelledError:
            if not body.ended_us:
                raise
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            out.status = out.status or GONE
        except ClientDisconnect:
            out.status = GONE
            visit.error = visit.error or "the caller went away"
        except Exception as error:  # whatever a route raises: the log has all of it
            await self._unexpected(error, scope, out)
        finally:
            VISIT.reset(held)
            body.close()
            for opened in visit.open:
                await opened.aclose()
            self._note(scope, visit, out.status)

    async def _unexpected(self, error: Exception, scope: Scope, out: _Out) -> None:
        visit = out.visit
        if isinstance(error, Refusal):
            refusal = error
        elif isinstance(error, StoreError) and (reason := STORE_REASONS.get(type(error))):
            refusal = Refusal(reason, error.message, hint=error.hint)
        elif isinstance(error, StoreError):
            LOGGER.error("request %s failed: %s", visit.id, error)
            refusal = Refusal(
                "unavailable",
                "the server cannot use its database now",
                hint="send the call again later",
                retry_after_seconds=STORE_RETRY,
            )
        else:
            LOGGER.exception("request %s failed", visit.id)
            refusal = Refusal(
                "internal", f"the server failed; its log has the reason under {visit.id}"
            )
        visit.error = refusal.message
        if not out.status:
            await tell(refusal, visit.protocol)(scope, _nothing, out.send)

    def _note(self, scope: Scope, visit: Visit, status: int) -> None:
        """Metrics, the log, and the record of a call that was refused before it was one."""
        route = getattr(scope.get("route"), "path", "")
        label = f"/{visit.protocol}{route}" if route and visit.protocol != "own" else route
        seconds = time.perf_counter() - visit.started
        self._server.meters.requests.labels(label, str(status)).inc()
        log_request(scope, visit, status, seconds)
        refused = status >= 400 and not visit.recorded and scope["method"] == "POST"
        # without a key nothing is recorded: strangers could fill the database
        if refused and route and visit.key and visit.protocol != "own":
            at = datetime.now(UTC) - timedelta(seconds=seconds)
            self._server.database.record(
                Served(visit.id, at, visit.key, visit.protocol, route, "", "", status, seconds,
                       error=visit.error, trace=trace_of(visit.traceparent))
            )  # fmt: skip


class _Body:
    """Hands the request's body on, piece by piece, and then watches whether the caller stays."""

    def __init__(self, receive: Receive, visit: Visit, limit: int, deadline: float) -> None:
        self.ended_us = False
        self._receive = receive
        self._visit = visit
        self._limit = limit
        self._deadline = deadline
        self._read = 0
        self._gone = asyncio.Event()
        self._task = asyncio.current_task()
        self._watch: asyncio.Task[None] | None = None

    async def receive(self) -> Message:
        if self._watch is not None:
            await self._gone.wait()
            return {"type": "http.disconnect"}
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            raise Refusal("timeout", "the request's body did not come in time") from error
        if message["type"] != "http.request":
            return message
        self._read += len(message.get("body", b""))
        if self._read > self._limit:
            raise _too_large(self._limit)
        if not message.get("more_body", False):
            self._watch = asyncio.create_task(self._until_gone())
        return message

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone.set()
        # only answers are ended: a file that is being stored is stored
        if self._visit.answering and self._task is not None:
            self.ended_us = True
            self._task.cancel()

    def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()


class _Out:
    """Notes the status, and puts the request's id into the headers."""

    def __init__(self, send: Send, visit: Visit) -> None:
        self.status = 0
        self.visit = visit
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = message["headers"]
            if self.status == TOO_LARGE:  # the rest of the body is not read: nothing can follow it
                headers = [*headers, (b"connection", b"close")]
            if not any(name == b"x-request-id" for name, _ in headers):
                headers = [*headers, (b"x-request-id", self.visit.id.encode())]
            message = {**message, "headers": headers}
        await self._send(message)


def _visit(scope: Scope) -> tuple[Visit, int | None]:
    """The request's visit and the length it claims; the scope gets its internal path."""
    google, length, traceparent = b"key=" in scope["query_string"], None, None
    for name, value in scope["headers"]:
        if name in GOOGLE_HEADERS:
            google = True
        elif name == b"content-length" and value.isdigit():
            length = int(value)
        elif name == b"traceparent":
            traceparent = value.decode("latin-1")
    decided = decide(scope["path"], google=google)
    visit = Visit(new_id(), decided.protocol, time.perf_counter(), traceparent=traceparent)
    scope["stepladder.visit"] = visit
    scope["stepladder.path"] = scope["path"]
    scope["path"] = decided.path
    scope["raw_path"] = decided.path.encode()
    return visit, length


def _refuse_two_lengths(scope: Scope) -> None:
    """A body may say its length in one way only.

    Where a proxy believes the other, what one of the two takes for the body's end is to the other
    the beginning of somebody else's request.
    """
    named = {name for name, _ in scope["headers"]}
    if {b"content-length", b"transfer-encoding"} <= named:
        raise Refusal(
            "invalid",
            "the request has both Content-Length and Transfer-Encoding",
            hint="send one of them",
        )


def _refuse_strangers(scope: Scope) -> None:
    """Without keys, only what this machine calls by its own name.

    A page of another site, open in a browser here, can send requests to this machine too: its name
    stands in `Origin`, or in `Host` where it had a name of its own lead here.
    """
    for name, value in scope["headers"]:
        if name not in (b"host", b"origin"):
            continue
        said = value.decode("latin-1")
        named = NAMED.fullmatch(said)
        if named is None or not is_loopback(named[1].lower()):
            raise Refusal(
                "forbidden",
                f"without API keys this server answers only its own machine, not {said[:100]!r}",
                hint="make a key: stepladder keys add",
            )


def _most_bytes(path: str, server: Server) -> int:
    upload = path.startswith(("/gemini/upload/", "/openai/v1/files"))
    return server.settings.file_bytes if upload else server.settings.request_bytes


def _too_large(limit: int) -> Refusal:
    return Refusal(
        "too_large",
        f"the request has more than {limit} bytes",
        hint="upload what is large as a file, and name it in the request",
    )


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
