"""The server: every path of the three protocols, and a few that only tests may ask."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from . import gemini, openai_chat
from .answering import Scores
from .asking import Refused
from .errors import google_error, openai_error, speaks_openai
from .faults import Rule, Schedule
from .gate import Gate

__all__ = ["make_app"]

CONTROL = "/_service"


def make_app() -> ASGIApp:
    """The whole service as one application."""
    inner = _Inner(Starlette(routes=_gemini_routes()), Starlette(routes=_openai_routes()))
    gate = Gate(inner)
    control = Starlette(routes=[Mount(CONTROL, routes=_control_routes(gate))])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        outside = scope["type"] != "http" or scope["path"].startswith(CONTROL)
        await (control if outside else gate)(scope, receive, send)

    return app


class _Inner:
    """Sends a call to its protocol, and tells a refusal in that protocol's words."""

    def __init__(self, google: ASGIApp, openai: ASGIApp) -> None:
        self._google = google
        self._openai = openai

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        openai = speaks_openai(scope)
        try:
            await (self._openai if openai else self._google)(scope, receive, send)
        except Refused as refused:
            if openai:
                response = openai_error(
                    refused.status,
                    refused.message,
                    param=refused.param or None,
                    code=refused.reason or None,
                )
            else:
                response = google_error(refused.status, refused.message, name=refused.reason)
            await response(scope, receive, send)


Handler = Callable[[Request], Awaitable[Response]]


def _no_tuned(name: str) -> tuple[str, Scores]:
    raise Refused(404, f"Endpoint {name} was not found.")


def _no_kept(name: str) -> dict[str, Any]:
    raise Refused(403, "CachedContent not found (or permission denied)", "PERMISSION_DENIED")


def _gemini_routes() -> list[Route]:
    shelf = gemini.Shelf(_no_tuned, _no_kept)

    def asks(handle: Callable[..., Response]) -> Handler:
        async def handler(request: Request) -> Response:
            params = request.path_params
            model = (
                params.get("model")
                or request.url.path.lstrip("/").partition("/")[2].rpartition(":")[0]
            )
            return handle(await request.json(), model, shelf, gemini.outcome_of(request))

        return handler

    async def counts(request: Request) -> Response:
        developer = "/projects/" not in request.url.path
        return gemini.count_tokens(await request.json(), developer=developer)

    routes = []
    places = (
        "/{version}/models/{model}",
        "/{version}/publishers/google/models/{model}",
        "/{version}/projects/{project}/locations/{location}/publishers/google/models/{model}",
        "/{version}/projects/{project}/locations/{location}/endpoints/{endpoint}",
    )
    for place in places:
        routes += [
            Route(f"{place}:generateContent", asks(gemini.generate), methods=["POST"]),
            Route(f"{place}:streamGenerateContent", asks(gemini.stream), methods=["POST"]),
            Route(f"{place}:countTokens", counts, methods=["POST"]),
        ]
    return routes


def _openai_routes() -> list[Route]:
    prefixes = openai_chat.Prefixes()

    async def chat(request: Request) -> Response:
        body = await request.json()
        base = str(body.get("model", ""))
        if not base:
            raise Refused(400, "you must provide a model parameter", param="model")
        outcome = gemini.outcome_of(request)
        return openai_chat.completion(body, None, base, prefixes, outcome)

    paths = ("/v1/chat/completions", "/openai/v1/chat/completions")
    return [Route(path, chat, methods=["POST"]) for path in paths]


def _control_routes(gate: Gate) -> list[Route]:
    async def health(request: Request) -> Response:
        return JSONResponse({"ready": True})

    async def seen(request: Request) -> Response:
        since = int(request.query_params.get("since", 0))
        bodies = request.query_params.get("bodies") == "1"
        entries = gate.journal.entries[since:]
        return JSONResponse([entry.record(bodies=bodies) for entry in entries])

    async def faults(request: Request) -> Response:
        gate.schedule = Schedule(Rule.read(rule) for rule in await request.json())
        return JSONResponse({})

    async def settings(request: Request) -> Response:
        gate.settings.change(json.loads(await request.body()))
        return JSONResponse({})

    async def reset(request: Request) -> Response:
        gate.reset()
        return JSONResponse({})

    return [
        Route("/health", health),
        Route("/requests", seen),
        Route("/faults", faults, methods=["POST"]),
        Route("/settings", settings, methods=["POST"]),
        Route("/reset", reset, methods=["POST"]),
    ]
