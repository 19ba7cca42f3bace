"""The server: the protocols behind one gate, and a few paths that only tests may ask."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .asking import Refused
from .errors import google_error, openai_error, speaks_openai
from .faults import Rule, Schedule
from .fireworks import fireworks_routes
from .gate import Gate
from .gemini_routes import gemini_routes
from .openai_routes import openai_routes
from .state import State
from .together import together_routes

__all__ = ["make_app"]

CONTROL = "/_service"


def make_app(state: State) -> ASGIApp:
    """The whole service as one application."""
    others = [*together_routes(state), *fireworks_routes(state)]
    inner = _Inner(
        Starlette(routes=gemini_routes(state)), Starlette(routes=[*others, *openai_routes(state)])
    )
    gate = Gate(inner, lambda: state.settings)
    control = Starlette(routes=[Mount(CONTROL, routes=_control_routes(gate, state))])

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


def _control_routes(gate: Gate, state: State) -> list[Route]:
    async def health(request: Request) -> Response:
        return JSONResponse({"ready": True})

    async def seen(request: Request) -> Response:
        since = int(request.query_params.get("since", 0))
        bodies = request.query_params.get("bodies") == "1"
        entries = gate.journal.entries[since:]
        return JSONResponse([entry.record(bodies=bodies) for entry in entries])

    async def faults(request: Request) -> Response:
        try:
            gate.schedule = Schedule(Rule.read(rule) for rule in await request.json())
        except (ValueError, KeyError) as error:
            return JSONResponse({"wrong": str(error)}, 400)
        return JSONResponse({})

    async def settings(request: Request) -> Response:
        try:
            state.settings.change(await request.json())
        except ValueError as error:
            return JSONResponse({"wrong": str(error)}, 400)
        return JSONResponse({})

    async def reset(request: Request) -> Response:
        gate.reset()
        state.reset()
        return JSONResponse({})

    return [
        Route("/health", health),
        Route("/requests", seen),
        Route("/faults", faults, methods=["POST"]),
        Route("/settings", settings, methods=["POST"]),
        Route("/reset", reset, methods=["POST"]),
    ]
