"""Files: uploaded in pieces, listed, read, deleted; each caller sees its own.

What is in a file is looked at by whoever uses it: a tuning job, a batch, a chat.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from starlette.datastructures import FormData, UploadFile

from ...core import Json
from ...database.records import StoredFile
from .. import Caller, Refusal
from .bodies import As, answered, server_of
from .fields import Fields
from .names import bare_id, shown_id
from .paging import Query, collect, listed, owner_of, read_query

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["add_routes", "file_body", "own_file"]

PIECE = 1 << 20
UPLOADED = ("assistants", "batch", "fine-tune", "vision", "user_data")
SHOWN = frozenset({*UPLOADED, "batch_output", "fine-tune-results"})
ANCHOR, SECONDS = "expires_after[anchor]", "expires_after[seconds]"
MOST_PER_PAGE = 10_000
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f/\\]")


def add_routes(router: APIRouter) -> None:
    """The routes of files."""
    for path, method, call in (
        ("/files", "POST", _create),
        ("/files", "GET", _list),
        ("/files/{file_id}", "GET", _get),
        ("/files/{file_id}", "DELETE", _delete),
        ("/files/{file_id}/content", "GET", _content),
    ):
        router.add_api_route(path, call, methods=[method], response_model=None)


def file_body(file: StoredFile) -> dict[str, Json]:
    """A file as it is told."""
    told: dict[str, Json] = {
        "id": shown_id("file", file.id),
        "object": "file",
        "bytes": file.size_bytes,
        "created_at": int(file.created_at.timestamp()),
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
    }
    if file.expires_at is not None:
        told["expires_at"] = int(file.expires_at.timestamp())
    return told


def own_file(server: Server, caller: Caller, shown: str, param: str = "file_id") -> StoredFile:
    """The caller's file of that id; raises Refusal "not_found" for all others. Waits."""
    bare = bare_id("file", shown)
    file = server.database.file(bare) if bare else None
    hidden = file is None or owner_of(caller) not in (None, file.owner)
    if file is None or hidden or file.purpose not in SHOWN:
        raise Refusal("not_found", f"there is no file {shown!r}", param=param)
    return file


async def _create(request: Request, caller: As) -> Response:
    server = server_of(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise Refusal("invalid", "a file is sent as multipart/form-data", hint="see the SDKs")
    async with request.form(max_files=1, max_fields=20) as form:
        upload, purpose, lasts = _uploaded(form)
        expires_at = None if lasts is None else datetime.now(UTC) + lasts
        name = UNPRINTABLE.sub("_", upload.filename or "")[-255:]
        stored = await run_sync(
            lambda: server.database.add_file(
                owner=caller.id,
                name=name,
                purpose=purpose,
                media_type=_media_type(upload, name),
                chunks=_pieces(upload),
                expires_at=expires_at,
            )
        )
    return answered(file_body(stored))


def _uploaded(form: FormData) -> tuple[UploadFile, str, timedelta | None]:
    given = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    known = {"file", "purpose", ANCHOR, SECONDS}
    Fields({name: None for name in form}).known(known)
    upload, fields = form.get("file"), Fields(given)
    if not isinstance(upload, UploadFile):
        raise Refusal("invalid", "'file' has to be a file, with a name", param="file")
    purpose = fields.one_of("purpose", UPLOADED)
    if purpose is None:
        raise fields.missing("purpose")
    return upload, purpose, _lasting(given)


def _lasting(given: dict[str, str]) -> timedelta | None:
    """How long a file is kept, where the caller says so."""
    if ANCHOR not in given and SECONDS not in given:
        return None
    seconds = given.get(SECONDS, "")
    whole = int(seconds) if seconds.isascii() and seconds.isdigit() and len(seconds) < 10 else None
    body = {"anchor": given.get(ANCHOR), "seconds": seconds if whole is None else whole}
    return timedelta(seconds=expiry_seconds(Fields(body, "expires_after")))


def expiry_seconds(given: Fields) -> int:
    """The seconds of an `expires_after` or `output_expires_after`: an hour to 30 days."""
    given.known({"anchor", "seconds"})
    if given.one_of("anchor", ("created_at",)) is None:
        raise given.missing("anchor")
    seconds = given.whole("seconds", 3600, 2_592_000)
    if seconds is None:
        raise given.missing("seconds")
    return seconds


def _media_type(upload: UploadFile, name: str) -> str:
    told = (upload.content_type or "").lower()[:200]
    return told or mimetypes.guess_type(name)[0] or "application/octet-stream"


def _pieces(upload: UploadFile) -> Iterator[bytes]:
    """The file's bytes from where the server spooled them, on disk if they are many."""
    while piece := upload.file.read(PIECE):
        yield piece


async def _list(request: Request, caller: As) -> Response:
    query = read_query(
        request, "file", default=MOST_PER_PAGE, most=MOST_PER_PAGE, also=("purpose", "order")
    )
    newest_first = Fields(query.given).one_of("order", ("asc", "desc")) != "asc"
    files, more = await run_sync(_page, server_of(request), caller, query, newest_first)
    return answered(listed([file_body(one) for one in files], more=more))


def _page(
    server: Server, caller: Caller, query: Query, newest_first: bool
) -> tuple[list[StoredFile], bool]:
    purpose = query.given.get("purpose")
    return collect(
        lambda after, limit: server.database.files(
            owner=owner_of(caller),
            purpose=purpose,
            after=after,
            limit=limit,
            newest_first=newest_first,
        ),
        lambda file: file.purpose in SHOWN,
        lambda file: file.id,
        query,
    )


async def _get(file_id: str, request: Request, caller: As) -> Response:
    return answered(file_body(await run_sync(own_file, server_of(request), caller, file_id)))


async def _delete(file_id: str, request: Request, caller: As) -> Response:
    server = server_of(request)
    file = await run_sync(own_file, server, caller, file_id)
    deleted = await run_sync(server.database.delete_file, file.id)
    return answered({"id": file_id, "object": "file", "deleted": deleted})


async def _content(file_id: str, request: Request, caller: As) -> Response:
    server = server_of(request)
    file = await run_sync(own_file, server, caller, file_id)
    return StreamingResponse(
        _bytes(server, file),
        media_type=file.media_type,
        headers={
            "content-length": str(file.size_bytes),
            "content-disposition": "attachment",  # never shown as a page of this server
            "x-content-type-options": "nosniff",
        },
    )


async def _bytes(server: Server, file: StoredFile) -> AsyncIterator[bytes]:
    pieces = server.database.read_file(file.id)
    while (piece := await run_sync(next, pieces, None)) is not None:
        yield piece
