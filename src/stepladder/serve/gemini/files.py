"""`files` of the Developer API: uploaded whole, in parts or in pieces, told, listed, downloaded.

A file lasts 48 hours and is ready at once. `uploads.py` has what lasts from one piece to the next.
"""

from __future__ import annotations

import base64
import re
import tempfile
from collections.abc import AsyncIterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import IO, TYPE_CHECKING, Annotated, cast

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from ...core import Json
from ...database.records import StoredFile
from .. import Caller, Refusal
from ..bodies import read_json
from ..keys import caller_of
from . import uploads
from .forms import anything, data, long, message, moment, text
from .multipart import boundary_of, read_parts
from .own import listed, may_see, owner_of_lists, rfc3339
from .page import cut, read_page

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["file_of", "router", "upload_router"]

router = APIRouter()
upload_router = APIRouter()

As = Annotated[Caller, Depends(caller_of)]
LIFE = timedelta(hours=48)
PURPOSE = "media"
IN_MEMORY = 4 << 20  # bytes of an upload; the rest waits on the disk
HIDDEN = frozenset({uploads.PURPOSE, "adapter"})
ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
FILE = message({
    "file": message({
        "name": text, "displayName": text, "mimeType": text, "sizeBytes": long, "source": text,
        "sha256Hash": data, "uri": text, "downloadUri": text, "state": text, "createTime": moment,
        "updateTime": moment, "expirationTime": moment, "videoMetadata": anything,
        "error": anything,
    }),
})  # fmt: skip
LONGEST_NAME = 512


@upload_router.post("/upload/{version}/files")
@upload_router.put("/upload/{version}/files")
async def upload(request: Request) -> Response:
    """A file in one request, the beginning of an upload in pieces, or the next piece."""
    if token := request.query_params.get("upload_id"):
        return await _go_on(request, token)
    caller = await caller_of(request)
    protocol = request.headers.get("x-goog-upload-protocol", "")
    protocol = protocol or request.query_params.get("uploadType", "")
    boundary = boundary_of(request.headers.get("content-type", ""))
    if boundary is not None:
        return await _in_parts(request, caller, boundary)
    if protocol in ("raw", "media"):
        return await _bare(request, caller)
    commands = _commands(request)
    if protocol != "resumable" or "start" not in commands:
        raise Refusal(
            "invalid",
            "this is no upload that can be read",
            hint="send 'x-goog-upload-protocol: resumable' and 'x-goog-upload-command: start' "
            "first, or the file and its JSON as multipart/related",
            param="x-goog-upload-protocol",
        )
    return await _begin(request, caller)


@router.get("/files")
async def every(request: Request, caller: As) -> Mapping[str, Json]:
    """The caller's files, the newest first."""
    server: Server = request.app.state.server
    page = read_page(request, size=10, most=100)
    owner = owner_of_lists(caller)
    files = await run_sync(
        lambda: listed(
            lambda after, limit: server.database.files(
                owner=owner, purpose=PURPOSE, after=after, limit=limit
            ),
            page,
            lambda file: file.id,
        )
    )
    shown, token = cut(files, page, lambda file: file.id)
    body: dict[str, Json] = {"files": [_body(request, file) for file in shown]}
    return {**body, "nextPageToken": token} if token else body


@router.get("/files/{file}:download")
async def download(request: Request, file: str, caller: As) -> Response:
    """The bytes."""
    server: Server = request.app.state.server
    stored = await run_sync(file_of, server, caller, file)
    content = await run_sync(server.database.read_file, stored.id)
    return StreamingResponse(
        content,
        media_type=stored.media_type,
        headers={"content-length": str(stored.size_bytes)},
    )


@router.get("/files/{file}")
async def get(request: Request, file: str, caller: As) -> Mapping[str, Json]:
    """What is known of the file."""
    server: Server = request.app.state.server
    return _body(request, await run_sync(file_of, server, caller, file))


@router.delete("/files/{file}")
async def delete(request: Request, file: str, caller: As) -> Mapping[str, Json]:
    """Deletes it for good."""
    server: Server = request.app.state.server
    stored = await run_sync(file_of, server, caller, file)
    await run_sync(server.database.delete_file, stored.id)
    return {}


def file_of(server: Server, caller: Caller, name: str) -> StoredFile:
    """The file of an id, a name `files/ID` or a URI of this server's.

    Raises:
        Refusal: not_found, or this caller may not see it.
    """
    id = name.partition("?")[0].partition(":download")[0].rpartition("/")[2]
    stored = server.database.file(id)
    if stored is None or stored.purpose in HIDDEN or not may_see(caller, stored.owner):
        raise Refusal("not_found", f"there is no file {name[:200]!r}", hint="it may have expired")
    return stored


async def _begin(request: Request, caller: Caller) -> Response:
    server: Server = request.app.state.server
    wanted = _wanted(request, caller, await request.body())
    if wanted.size is not None and wanted.size > server.settings.file_bytes:
        raise _too_large(server)
    token = await run_sync(uploads.begin, server.database, wanted)
    version = request.path_params["version"]
    address = f"{request.url.scheme}://{request.url.netloc}/upload/{version}/files"
    url = f"{address}?upload_id={token}&upload_protocol=resumable"
    headers = {"x-goog-upload-url": url, "x-goog-upload-chunk-granularity": "1"}
    return JSONResponse({}, headers={**headers, "x-goog-upload-status": "active"})


async def _go_on(request: Request, token: str) -> Response:
    server: Server = request.app.state.server
    database = server.database
    session = await run_sync(uploads.resume, database, token)
    commands = _commands(request)
    if "cancel" in commands:
        await run_sync(uploads.drop, database, session)
        return JSONResponse({}, headers={"x-goog-upload-status": "cancelled"})
    if "query" in commands:
        return JSONResponse({}, headers=_active(session.received))
    if not commands & {"upload", "finalize"}:
        raise Refusal(
            "invalid",
            "no command that an upload knows",
            hint="known: upload; upload, finalize; query; cancel",
            param="x-goog-upload-command",
        )
    offset = _offset(request, session.received)
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as content:
        piece = cast(IO[bytes], content)
        await _spool(request.stream(), piece, server.settings.file_bytes - session.received, server)
        if "finalize" not in commands:
            received = await run_sync(uploads.keep_piece, database, session, offset, piece)
            return JSONResponse({}, headers=_active(received))
        stored = await run_sync(
            lambda: uploads.finish(
                database, session, offset, piece, purpose=PURPOSE, expires_at=_expiry()
            )
        )
    return _final(request, stored)


async def _in_parts(request: Request, caller: Caller, boundary: str) -> Response:
    server: Server = request.app.state.server
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as content:
        spool = cast(IO[bytes], content)
        stream = _bounded(request.stream(), server.settings.file_bytes, server)
        parts = await read_parts(stream, boundary, spool)
        wanted = _wanted(request, caller, parts.said, parts.media_type, parts.name)
        return await _store(request, wanted, spool)


async def _bare(request: Request, caller: Caller) -> Response:
    server: Server = request.app.state.server
    kind = request.headers.get("content-type", "")
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as content:
        spool = cast(IO[bytes], content)
        await _spool(request.stream(), spool, server.settings.file_bytes, server)
        return await _store(request, _wanted(request, caller, b"", kind), spool)


async def _store(request: Request, wanted: uploads.Wanted, content: IO[bytes]) -> Response:
    server: Server = request.app.state.server
    content.seek(0)
    chunks = iter(lambda: content.read(1 << 20), b"")
    stored = await run_sync(
        lambda: uploads.store(
            server.database, wanted, chunks, purpose=PURPOSE, expires_at=_expiry()
        )
    )
    return _final(request, stored)


async def _spool(stream: AsyncIterable[bytes], into: IO[bytes], most: int, server: Server) -> None:
    async for chunk in _bounded(stream, most, server):
        if into.tell() + len(chunk) > IN_MEMORY:
            await run_sync(into.write, chunk)
        else:
            into.write(chunk)


async def _bounded(stream: AsyncIterable[bytes], most: int, server: Server) -> AsyncIterable[bytes]:
    size = 0
    async for chunk in stream:
        size += len(chunk)
        if size > most:
            raise _too_large(server)
        yield chunk


def _wanted(
    request: Request, caller: Caller, said: bytes, media_type: str = "", name: str = ""
) -> uploads.Wanted:
    """The file to make, from its JSON and the headers; what the JSON says counts."""
    body = FILE(read_json(said) if said.strip() else {}, "").get("file", {})
    headers = request.headers
    announced = headers.get("x-goog-upload-header-content-length")
    if announced is not None and not re.fullmatch(r"\d{1,18}", announced, re.ASCII):
        raise Refusal(
            "invalid",
            f"the announced length {announced!r} is no number of bytes",
            param="x-goog-upload-header-content-length",
        )
    id = body.get("name", "").removeprefix("files/")
    if id and not ID.fullmatch(id):
        raise Refusal(
            "invalid",
            f"{body['name'][:200]!r} cannot be the name of a file",
            hint="files/ and up to 40 of a-z, 0-9 and dashes, with no dash at the ends",
            param="file.name",
        )
    if len(body.get("displayName", "")) > LONGEST_NAME:
        raise Refusal(
            "invalid",
            f"'displayName' is longer than {LONGEST_NAME} characters",
            param="file.displayName",
        )
    kind = body.get("mimeType") or headers.get("x-goog-upload-header-content-type") or media_type
    return uploads.Wanted(
        owner=caller.id,
        name=body.get("displayName") or headers.get("x-goog-upload-file-name") or name,
        media_type=kind or "application/octet-stream",
        size=None if announced is None else int(announced),
        id=id,
    )


def _commands(request: Request) -> set[str]:
    given = request.headers.get("x-goog-upload-command", "")
    return {one.strip().lower() for one in given.split(",") if one.strip()}


def _offset(request: Request, default: int) -> int:
    given = request.headers.get("x-goog-upload-offset")
    if given is None:
        return default
    if not re.fullmatch(r"\d{1,18}", given, re.ASCII):
        raise Refusal(
            "invalid", f"{given[:80]!r} is no offset in bytes", param="x-goog-upload-offset"
        )
    return int(given)


def _active(received: int) -> dict[str, str]:
    return {"x-goog-upload-status": "active", "x-goog-upload-size-received": str(received)}


def _final(request: Request, stored: StoredFile) -> Response:
    headers = {"x-goog-upload-status": "final"}
    return JSONResponse({"file": _body(request, stored)}, headers=headers)


def _expiry() -> datetime:
    return datetime.now(UTC) + LIFE


def _too_large(server: Server) -> Refusal:
    return Refusal(
        "too_large",
        f"the file is larger than {server.settings.file_bytes} bytes",
        hint="the server's setting file_bytes allows more",
    )


def _body(request: Request, stored: StoredFile) -> dict[str, Json]:
    """The resource. Of the hash, the service encodes the digits, not the bytes."""
    version = request.path_params["version"]
    body: dict[str, Json] = {
        "name": f"files/{stored.id}",
        "mimeType": stored.media_type,
        "sizeBytes": str(stored.size_bytes),
        "createTime": rfc3339(stored.created_at),
        "updateTime": rfc3339(stored.created_at),
        "sha256Hash": base64.b64encode(stored.sha256.encode()).decode(),
        "uri": f"{request.url.scheme}://{request.url.netloc}/{version}/files/{stored.id}",
        "state": "ACTIVE",
        "source": "UPLOADED" if stored.purpose == PURPOSE else "GENERATED",
    }
    if stored.name:
        body["displayName"] = stored.name
    if stored.expires_at is not None:
        body["expirationTime"] = rfc3339(stored.expires_at)
    return body
