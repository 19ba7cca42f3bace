"""`files` of OpenAI's protocol: multipart upload, get, list, content, delete."""

from __future__ import annotations

from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .asking import Refused
from .pages import openai_page
from .state import State, Stored

__all__ = ["file_record", "openai_file_routes", "parts_of"]


def openai_file_routes(state: State, root: str) -> list[Route]:
    async def create(request: Request) -> Response:
        parts = parts_of(request.headers["content-type"], await request.body())
        if "file" not in parts or "purpose" not in parts:
            raise Refused(400, "Missing required parameter: 'file' or 'purpose'.", param="file")
        name, data = parts["file"]
        purpose = parts["purpose"][1].decode()
        stored = state.store(name, data, purpose=purpose, media_type="", prefix="file-")
        return JSONResponse(file_record(stored))

    async def get(request: Request) -> Response:
        return JSONResponse(file_record(state.file(request.path_params["name"])))

    async def content(request: Request) -> Response:
        data = state.file(request.path_params["name"]).data
        return Response(data, media_type="application/octet-stream")

    async def every(request: Request) -> Response:
        wanted = request.query_params.get("purpose")
        found = [s for s in state.files.values() if s.id.startswith("file-")]
        records = [file_record(s) for s in found if wanted in (None, s.purpose)]
        return JSONResponse(openai_page(records, request.query_params))

    async def drop(request: Request) -> Response:
        stored = state.file(request.path_params["name"])
        del state.files[stored.id]
        return JSONResponse({"id": stored.id, "object": "file", "deleted": True})

    return [
        Route(f"{root}/files", create, methods=["POST"]),
        Route(f"{root}/files", every, methods=["GET"]),
        Route(f"{root}/files/{{name}}", get, methods=["GET"]),
        Route(f"{root}/files/{{name}}/content", content, methods=["GET"]),
        Route(f"{root}/files/{{name}}", drop, methods=["DELETE"]),
    ]


def file_record(stored: Stored) -> dict[str, Any]:
    return {
        "id": stored.id,
        "object": "file",
        "bytes": len(stored.data),
        "created_at": int(stored.created),
        "filename": stored.name,
        "purpose": stored.purpose,
        "status": "processed",
    }


def parts_of(content_type: str, body: bytes) -> dict[str, tuple[str, bytes]]:
    """The fields of a multipart form: file name and bytes of each."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + body)
    if not message.is_multipart():
        raise Refused(400, "The request is no multipart form.")
    found = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        data = part.get_payload(decode=True)
        found[str(name)] = (part.get_filename() or "", bytes(data))
    return found
