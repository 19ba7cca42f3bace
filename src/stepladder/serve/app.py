"""The paths of the server: the protocols' routers, health, metrics, feedback.

What is answered is in the protocols' own packages; what happens to every request is in `front.py`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

from anyio.to_thread import run_sync
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from . import Caller, Refusal
from .feedback import make_feedback_router
from .front import Front, tell
from .home import make_home_router
from .keys import caller_of, need_role

if TYPE_CHECKING:
    from .server import Server

__all__ = ["create_app"]

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
PING_SECONDS = 5.0
REASONS: dict[int, Any] = {404: "not_found", 401: "unauthenticated", 403: "forbidden"}


def create_app(server: Server) -> FastAPI:
    """All routes of a server that is open."""
    app = FastAPI(
        title="stepladder", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.state.server = server
    _add_protocols(app)
    app.include_router(make_feedback_router())
    app.include_router(make_home_router())
    _add_health(app, server)
    app.add_exception_handler(Refusal, _on_refusal)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_middleware(Front, server=server)
    return app


def _add_protocols(app: FastAPI) -> None:
    from . import gemini, openai

    for package, maker, prefix in (
        (openai, "make_router", "/openai"),
        (gemini, "make_gemini_router", "/gemini"),
        (gemini, "make_vertex_router", "/vertex"),
    ):
        if hasattr(package, maker):
            app.include_router(getattr(package, maker)(), prefix=prefix)


def _add_health(app: FastAPI, server: Server) -> None:
    @app.get("/healthz")
    async def healthz() -> Response:
        return Response("ok\n", media_type="text/plain")

    @app.get("/readyz")
    async def readyz() -> Response:
        problems = await _problems(server)
        told = {"ready": not problems, "problems": problems}
        if warnings := server.models.problems():  # what was served before is served on
            told["warnings"] = warnings
        return JSONResponse(told, 503 if problems else 200)

    @app.get("/metrics")
    async def metrics(caller: Annotated[Caller, Depends(caller_of)]) -> Response:
        need_role(caller, "admin")
        return Response(await run_sync(server.meters.text), media_type=PROMETHEUS)


async def _problems(server: Server) -> list[str]:
    """Why the server should get no calls now."""
    found = ["shutting down"] if server.limits.stopping else []
    try:
        async with asyncio.timeout(PING_SECONDS):
            await run_sync(server.database.ping, abandon_on_cancel=True)
    except Exception as error:  # whatever keeps the database from answering
        found.append(f"the database does not answer: {type(error).__name__}")
    return found


async def _on_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    visit = request.scope["stepladder.visit"]
    visit.error = error.message
    return tell(error, visit.protocol)


async def _on_http(request: Request, error: Exception) -> Response:
    """What Starlette and FastAPI refuse by themselves: paths, methods, bodies."""
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, Refusal):
        return await _on_refusal(request, error.__cause__)
    path = request.scope["stepladder.path"]
    said = f"{request.method} {path!r}: {error.detail}"
    refusal = Refusal(REASONS.get(error.status_code, "invalid"), said)
    if error.status_code == 404:
        refusal.hint = "what is served is listed in docs/how-to/serve.md"
    response = await _on_refusal(request, refusal)
    response.status_code = error.status_code
    response.headers.update(error.headers or {})
    return response


async def _on_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part not in ("body", "query", "path", "header")]
    field = ".".join(place)
    return await _on_refusal(request, Refusal("invalid", f"{field}: {first['msg']}", param=field))
