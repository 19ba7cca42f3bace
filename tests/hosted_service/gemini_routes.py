"""Every path of Google's protocol, on the Developer API and on Vertex."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import gemini
from .asking import Refused
from .gemini_batches import batch_routes
from .gemini_caches import cache_routes
from .gemini_files import file_routes
from .models import LISTED, traits
from .pages import google_page
from .state import State
from .vertex_batches import vertex_batch_routes
from .vertex_experiments import experiment_routes
from .vertex_tuning import tuning_routes

__all__ = ["gemini_routes"]

_PROJECT = "/{version}/projects/{project}/locations/{location}"
_ASKED = (
    "/{version}/models/{model}",
    "/{version}/publishers/google/models/{model}",
    f"{_PROJECT}/publishers/google/models/{{model}}",
    f"{_PROJECT}/endpoints/{{endpoint}}",
)


def gemini_routes(state: State) -> list[Route]:
    """Those that are asked most come first."""
    routes = []
    for place in _ASKED:
        routes += [
            Route(f"{place}:generateContent", _asks(state, gemini.generate), methods=["POST"]),
            Route(f"{place}:streamGenerateContent", _asks(state, gemini.stream), methods=["POST"]),
            Route(f"{place}:countTokens", _counts, methods=["POST"]),
        ]
    return [
        *routes,
        *batch_routes(state),
        *vertex_batch_routes(state, _PROJECT),
        *cache_routes(state, "/{version}"),
        *cache_routes(state, _PROJECT),
        *tuning_routes(state, _PROJECT),
        *experiment_routes(state, _PROJECT),
        *file_routes(state),
        Route("/{version}/models", _models, methods=["GET"]),
        Route("/{version}/models/{model}", _model, methods=["GET"]),
        Route("/{version}/publishers/google/models", _models, methods=["GET"]),
        Route("/{version}/publishers/google/models/{model}", _model, methods=["GET"]),
        Route("/token", _token, methods=["POST"]),
        Route("/{rest:path}", _nothing, methods=["GET", "POST", "PATCH", "DELETE", "PUT"]),
    ]


def _asks(state: State, handle: Callable[..., Response]) -> Callable[..., Any]:
    async def handler(request: Request) -> Response:
        name = request.url.path.lstrip("/").partition("/")[2].rpartition(":")[0]
        outcome = request.scope.get("state", {}).get("outcome", "")
        return handle(await request.json(), name, state, outcome)

    return handler


async def _counts(request: Request) -> Response:
    developer = "/projects/" not in request.url.path
    return gemini.count_tokens(await request.json(), developer=developer)


async def _models(request: Request) -> Response:
    page, following = google_page(LISTED, request.query_params)
    if "/publishers/" in request.url.path:
        names = [{"name": f"publishers/google/models/{name}"} for name in page]
        return JSONResponse({"publisherModels": names, **following})
    return JSONResponse({"models": [_described(name) for name in page], **following})


async def _model(request: Request) -> Response:
    name = request.path_params["model"]
    if name not in LISTED:
        raise Refused(404, f"models/{name} is not found for API version v1.")
    if "/publishers/" in request.url.path:
        return JSONResponse(
            {
                "name": f"publishers/google/models/{name}",
                "versionId": "default",
                "openSourceCategory": "PROPRIETARY",
                "launchStage": "GA",
            }
        )
    return JSONResponse(_described(name))


def _described(name: str) -> dict[str, Any]:
    kind = traits(name)
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name.replace("-", " ").title(),
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": [
            "generateContent",
            "countTokens",
            "createCachedContent",
            "batchGenerateContent",
        ],
        "temperature": 1,
        "maxTemperature": 2,
        "topP": 0.95,
        "topK": 64,
        "thinking": kind.thinks or kind.levels,
    }


async def _token(request: Request) -> Response:
    """What a service account's key file is exchanged for."""
    token = {"access_token": f"ya29.minted-{int(time.time())}", "token_type": "Bearer"}
    return JSONResponse({**token, "expires_in": 3600})


async def _nothing(request: Request) -> Response:
    raise Refused(404, f"The requested URL {request.url.path} was not found on this server.")
