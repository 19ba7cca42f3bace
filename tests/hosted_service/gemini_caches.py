"""`cachedContents`: prompt prefixes that are kept, on both of Google's hosts."""

from __future__ import annotations

import time
import uuid
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .answering import prompt_tokens
from .asking import Refused
from .gemini import read
from .models import traits
from .names import camel
from .pages import google_page
from .state import Kept, State
from .times import duration, rfc3339

__all__ = ["cache_routes"]


def cache_routes(state: State, place: str) -> list[Route]:
    """`place` is what stands before `/cachedContents`."""

    async def create(request: Request) -> Response:
        body = camel(await request.json())
        parent = _parent(request)
        kind = traits(str(body.get("model", "")).rpartition("/")[2])
        contents = body.get("contents") or [{"role": "user", "parts": []}]
        tokens = prompt_tokens(read({**body, "contents": contents}, kind))
        least = state.settings.cache_least_tokens
        if tokens < least:
            raise Refused(
                400,
                f"Cached content is too small. total_token_count={tokens}, "
                f"min_total_token_count={least}",
            )
        name = f"{parent}cachedContents/{uuid.uuid4().int % 10**18}"
        kept = Kept(name, body, tokens, time.time() + duration(body.get("ttl", "3600s")))
        state.kept[name.rpartition("/")[2]] = kept
        return JSONResponse(_record(kept))

    async def get(request: Request) -> Response:
        return JSONResponse(_record(_find(state, request)))

    async def change(request: Request) -> Response:
        kept = _find(state, request)
        kept.expires = time.time() + duration(camel(await request.json())["ttl"])
        return JSONResponse(_record(kept))

    async def drop(request: Request) -> Response:
        del state.kept[_find(state, request).name.rpartition("/")[2]]
        return JSONResponse({})

    async def every(request: Request) -> Response:
        alive = [kept for kept in state.kept.values() if kept.expires > time.time()]
        page, following = google_page(alive, request.query_params)
        return JSONResponse({"cachedContents": [_record(kept) for kept in page], **following})

    one = f"{place}/cachedContents/{{name}}"
    return [
        Route(f"{place}/cachedContents", create, methods=["POST"]),
        Route(f"{place}/cachedContents", every, methods=["GET"]),
        Route(one, get, methods=["GET"]),
        Route(one, change, methods=["PATCH"]),
        Route(one, drop, methods=["DELETE"]),
    ]


def _parent(request: Request) -> str:
    params = request.path_params
    if "project" not in params:
        return ""
    return f"projects/{params['project']}/locations/{params['location']}/"


def _find(state: State, request: Request) -> Kept:
    name = request.path_params["name"]
    state.prefix(name)  # raises when it is not there or has expired
    return state.kept[name]


def _record(kept: Kept) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": kept.name,
        "model": kept.body["model"],
        "createTime": rfc3339(kept.created),
        "updateTime": rfc3339(kept.created),
        "expireTime": rfc3339(kept.expires),
        "usageMetadata": {"totalTokenCount": kept.tokens},
    }
    if "displayName" in kept.body:
        found["displayName"] = kept.body["displayName"]
    return found
