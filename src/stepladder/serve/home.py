"""The page at `/`: what this server is, what it serves, and the base URL for each kind of client.

HTML for browsers, JSON for everything else. Nobody needs a key to see the page, but the models are
shown only to those who may call them.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from .. import __version__
from ..core import Json
from . import Caller, Refusal
from .keys import caller_of
from .listing import named_cards

if TYPE_CHECKING:
    from .server import Server

__all__ = ["make_home_router"]

# a page that loads nothing, runs nothing and is shown in no other page
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:48rem;margin:3rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{text-align:left;padding:.2rem 1.2rem .2rem 0}"
    "code{background:#8882;padding:.1rem .3rem}:root{color-scheme:light dark}"
)
OPEN_TO_ALL = ("healthz", "readyz")


def make_home_router() -> APIRouter:
    """The page, and what is told to clients that call it by mistake."""
    router = APIRouter()
    router.add_api_route("/", _home, methods=["GET"], response_model=None)
    router.add_api_route("/", _lost, methods=["POST"], response_model=None)
    return router


async def _home(request: Request) -> Response:
    told = await _told(request)
    headers = {"vary": "accept", "content-security-policy": POLICY}
    if "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(_page(told), headers=headers)
    return JSONResponse(told, headers=headers)


async def _lost(request: Request) -> Response:
    request.scope["stepladder.visit"].protocol = "vertex"  # whose clients lose their way so
    raise Refusal(
        "not_found",
        "POST '/' is no call: its path is missing",
        hint="Google's client for Vertex leaves the path out unless project and location are given "
        "as arguments: genai.Client(enterprise=True, project=..., location=..., ...)",
    )


async def _told(request: Request) -> dict[str, Json]:
    server: Server = request.app.state.server
    base = str(request.base_url).rstrip("/")
    told: dict[str, Json] = {
        "name": "stepladder",
        "version": __version__,
        "base_urls": {"openai": f"{base}/v1", "gemini": base, "vertex": base},
        "paths": [f"{base}/{path}" for path in OPEN_TO_ALL],
    }
    try:
        caller = await caller_of(request)
    except Refusal as refusal:
        if refusal.reason != "unauthenticated":
            raise
        return {**told, "models": None, "note": "a key is needed to see the models"}
    return {**told, "models": await run_sync(_models, server, caller)}


def _models(server: Server, caller: Caller) -> list[dict[str, Json]]:
    return [
        {"name": name, "kind": card.kind, "is": card.name}
        for name, card in named_cards(server, caller)
    ]


def _page(told: dict[str, Any]) -> str:
    clients = "".join(
        f"<tr><td>{escape(kind)}</td><td><code>{escape(url)}</code></td></tr>"
        for kind, url in told["base_urls"].items()
    )
    links = " · ".join(
        f'<a href="{escape(url)}">{escape(url.rpartition("/")[2])}</a>' for url in told["paths"]
    )
    models = f"<p>{escape(told.get('note', ''))}</p>"
    if told["models"] is not None:
        models = f"<table>{''.join(map(_row, told['models']))}</table>"
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>stepladder</title>'
        f"<style>{STYLE}</style><h1>stepladder {escape(told['version'])}</h1>"
        f"<h2>Models</h2>{models}<h2>Base URLs of clients</h2><table>{clients}</table>"
        f"<p>{links}</p></html>"
    )


def _row(model: dict[str, str]) -> str:
    of = "" if model["is"] == model["name"] else f"is {model['is']}"
    cells = (f"<code>{escape(model['name'])}</code>", escape(model["kind"]), escape(of))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
