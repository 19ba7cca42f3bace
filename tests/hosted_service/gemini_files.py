"""`files` of the Developer API: resumable upload, get, list, delete, download."""

from __future__ import annotations

import base64
import hashlib
import uuid
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .asking import Refused
from .names import camel
from .pages import google_page
from .state import State, Stored
from .times import rfc3339

__all__ = ["file_routes"]

_LIFE_SECONDS = 48 * 3600


def file_routes(state: State) -> list[Route]:
    async def upload(request: Request) -> Response:
        if request.query_params.get("upload_id"):
            return await _finish(state, request)
        asked = camel(await request.json() if await request.body() else {}).get("file", {})
        upload_id = uuid.uuid4().hex
        told = request.headers.get("x-goog-upload-header-content-type", "")
        state.uploads[upload_id] = {"mimeType": told, **asked, "data": b""}
        url = f"{request.url.scheme}://{request.url.netloc}{request.url.path}"
        headers = {"x-goog-upload-url": f"{url}?upload_id={upload_id}"}
        return JSONResponse({}, headers={**headers, "x-goog-upload-status": "active"})

    async def get(request: Request) -> Response:
        return JSONResponse(_record(_find(state, request)))

    async def every(request: Request) -> Response:
        page, following = google_page(list(state.files.values()), request.query_params)
        return JSONResponse({"files": [_record(stored) for stored in page], **following})

    async def drop(request: Request) -> Response:
        del state.files[_find(state, request).id]
        return JSONResponse({})

    async def download(request: Request) -> Response:
        return Response(_find(state, request).data, media_type="application/octet-stream")

    return [
        Route("/upload/{version}/files", upload, methods=["POST"]),
        Route("/{version}/files", every, methods=["GET"]),
        Route("/{version}/files/{name}:download", download, methods=["GET"]),
        Route("/{version}/files/{name}", get, methods=["GET"]),
        Route("/{version}/files/{name}", drop, methods=["DELETE"]),
    ]


async def _finish(state: State, request: Request) -> Response:
    upload = state.uploads.get(request.query_params["upload_id"])
    if upload is None:
        raise Refused(404, "Upload has already been terminated.")
    upload["data"] += await request.body()
    if "finalize" not in request.headers.get("x-goog-upload-command", ""):
        return JSONResponse({}, headers={"x-goog-upload-status": "active"})
    del state.uploads[request.query_params["upload_id"]]
    stored = state.store(
        upload.get("displayName", ""),
        upload["data"],
        purpose="",
        media_type=upload["mimeType"],
        prefix=upload.get("name", "").removeprefix("files/"),
    )
    return JSONResponse({"file": _record(stored)}, headers={"x-goog-upload-status": "final"})


def _find(state: State, request: Request) -> Stored:
    return state.file(request.path_params["name"])


def _record(stored: Stored) -> dict[str, Any]:
    digest = hashlib.sha256(stored.data).hexdigest().encode()
    return {
        "name": f"files/{stored.id}",
        "displayName": stored.name,
        "mimeType": stored.media_type,
        "sizeBytes": str(len(stored.data)),
        "createTime": rfc3339(stored.created),
        "updateTime": rfc3339(stored.created),
        "expirationTime": rfc3339(stored.created + _LIFE_SECONDS),
        "sha256Hash": base64.b64encode(digest).decode(),
        "uri": f"https://generativelanguage.googleapis.com/v1beta/files/{stored.id}",
        "state": "ACTIVE",
        "source": "UPLOADED",
    }
