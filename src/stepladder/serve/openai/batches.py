"""Batches: a file of requests that are answered when there is room. This is their HTTP part.

The input file is checked when the batch is made; as at OpenAI, a faulty one makes a batch that has
failed, which says why by line.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from fastapi.responses import Response

from ...core import Json
from ...database import new_id
from ...database.records import Batch, JobState
from ...database.rows import NotKept
from .. import Caller, Refusal
from ..cancelling import cancelled
from .batch_items import ENDPOINTS
from .batch_lines import Checked, check_lines, items_of, lines_of
from .bodies import As, answered, read_fields, server_of
from .fields import Fields, metadata
from .files import expiry_seconds, own_file
from .names import bare_id, shown_id
from .paging import collect, listed, owner_of, read_query

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["add_routes", "batch_body"]

WINDOW = timedelta(hours=24)
KNOWN = {"input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after"}
STATUS: Mapping[JobState, str] = {
    "queued": "validating", "running": "in_progress", "succeeded": "completed",
    "failed": "failed", "cancelling": "cancelling", "cancelled": "cancelled",
}  # fmt: skip
ENDED = {"completed": "completed_at", "failed": "failed_at", "expired": "expired_at",
         "cancelled": "cancelled_at"}  # fmt: skip


def add_routes(router: APIRouter) -> None:
    """The routes of batches."""
    for path, method, call in (
        ("/batches", "POST", _create),
        ("/batches", "GET", _list),
        ("/batches/{batch_id}", "GET", _get),
        ("/batches/{batch_id}/cancel", "POST", _cancel),
    ):
        router.add_api_route(path, call, methods=[method], response_model=None)


async def _create(request: Request, caller: As) -> Response:
    server = server_of(request)
    body = await read_fields(request)
    batch = await run_sync(_made, server, caller, body)
    server.batches.wake()
    return answered(batch_body(batch))


def _made(server: Server, caller: Caller, body: Fields) -> Batch:
    body.known(KNOWN)
    endpoint = body.one_of("endpoint", tuple(ENDPOINTS))
    if endpoint is None:
        raise body.missing("endpoint")
    if body.one_of("completion_window", ("24h",)) is None:
        raise body.missing("completion_window")
    lasting = body.inner("output_expires_after")
    if lasting is not None:
        expiry_seconds(lasting)
    notes = metadata(body)
    file = own_file(server, caller, body.needed_text("input_file_id"), "input_file_id")
    if file.purpose != "batch":
        raise body.fault("input_file_id", f"has the purpose {file.purpose!r}: upload it as 'batch'")
    database, now = server.database, datetime.now(UTC)
    read = partial(database.read_file, file.id)
    try:
        checked = check_lines(lines_of(read()), endpoint, server.settings.request_bytes)
        batch = Batch(
            new_id(),
            caller.id,
            "openai",
            endpoint,
            checked.model,
            now,
            now,
            input_file=file.id,
            expires_at=now + WINDOW,
            request={**body.given, "metadata": notes},
            **_failure(checked, now),
        )
        items = () if checked.faults else items_of(batch.id, lines_of(read()))
        return database.add_batch(batch, items)
    except NotKept as error:
        raise body.fault("input_file_id", "was deleted while it was read") from error


def _failure(checked: Checked, now: datetime) -> dict[str, Json]:
    if not checked.faults:
        return {}
    error = {"reason": "invalid", "message": "the input file is faulty", "rows": checked.faults}
    return {"state": "failed", "started_at": now, "finished_at": now, "error": error}


async def _list(request: Request, caller: As) -> Response:
    server = server_of(request)
    query = read_query(request, "batch", default=20, most=100)
    batches, more = await run_sync(
        lambda: collect(
            lambda after, limit: server.database.batches(
                owner=owner_of(caller), protocol="openai", after=after, limit=limit
            ),
            lambda batch: True,
            lambda batch: batch.id,
            query,
        )
    )
    return answered(listed([batch_body(one) for one in batches], more=more))


async def _get(batch_id: str, request: Request, caller: As) -> Response:
    return answered(batch_body(await run_sync(_own, server_of(request), caller, batch_id)))


def _own(server: Server, caller: Caller, shown: str) -> Batch:
    bare = bare_id("batch", shown)
    batch = server.database.batch(bare) if bare else None
    hidden = batch is None or owner_of(caller) not in (None, batch.owner)
    if batch is None or hidden or batch.protocol != "openai":
        raise Refusal("not_found", f"there is no batch {shown!r}", param="batch_id")
    return batch


async def _cancel(batch_id: str, request: Request, caller: As) -> Response:
    server = server_of(request)
    batch = await run_sync(_own, server, caller, batch_id)
    return answered(batch_body(await run_sync(_cancelled, server, batch)))


def _cancelled(server: Server, batch: Batch) -> Batch:
    ended = cancelled(server.database.change_batch, batch.id)
    if ended is None:
        raise Refusal(
            "conflict",
            f"the batch {shown_id('batch', batch.id)!r} is over and cannot be cancelled",
            hint="its status says how it ended",
        )
    server.batches.wake()
    return ended


def batch_body(batch: Batch) -> dict[str, Json]:
    """A batch as it is told; as in OpenAI's own answers, what is not there yet is null."""
    error = batch.error or {}
    status = "expired" if error.get("reason") == "expired" else STATUS[batch.state]
    finished = _seconds(batch.finished_at)
    ended = {name: finished if status == when else None for when, name in ENDED.items()}
    told: dict[str, Json] = {
        "id": shown_id("batch", batch.id),
        "object": "batch",
        "endpoint": batch.route,
        "errors": _errors(error) if status == "failed" else None,
        "input_file_id": batch.input_file and shown_id("file", batch.input_file),
        "completion_window": "24h",
        "status": status,
        "output_file_id": batch.output_file and shown_id("file", batch.output_file),
        "error_file_id": batch.error_file and shown_id("file", batch.error_file),
        "created_at": _seconds(batch.created_at),
        "in_progress_at": _seconds(batch.started_at),
        "expires_at": _seconds(batch.expires_at),
        "finalizing_at": None,
        **ended,
        "cancelling_at": _seconds(batch.updated_at) if status == "cancelling" else None,
        "request_counts": {
            "total": batch.total,
            "completed": batch.succeeded,
            "failed": batch.failed,
        },
        "metadata": batch.request.get("metadata") or None,
    }
    return {**told, "model": batch.model} if batch.model else told


def _errors(error: Mapping[str, Json]) -> dict[str, Json]:
    rows = error.get("rows") or [
        {"code": error.get("reason", "error"), "message": error.get("message", "the batch failed")}
    ]
    names = ("code", "message", "param", "line")
    return {"object": "list", "data": [{name: row.get(name) for name in names} for row in rows]}


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
