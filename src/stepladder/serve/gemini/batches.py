"""Batches of either service: requests that are answered when there is room. Their HTTP part.

At the Developer API the requests come inline or as a file; at Vertex they are in Cloud Storage, and
an input that cannot be used makes a job that has failed, as it does there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request

from ...core import Json
from ...database import new_id
from ...database.records import OVER, Batch
from .. import Caller, Refusal
from ..answering import model_for
from ..cancelling import cancelled
from ..keys import caller_of, need_role
from ..tuning.failing import JobFailed
from ..tuning.sources import read_source
from .batch_bodies import operation, prediction_job
from .batch_forms import BadLines, at_developer, at_vertex, requests_of
from .batch_items import as_item, items_of
from .bodies import read_body
from .files import file_of
from .filters import read_filter
from .forms import anything
from .objects import in_folder
from .own import listed, may_see, model_name, owner_of_lists, place_of
from .page import Page, cut, read_page

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["gemini_router", "vertex_router"]

gemini_router = APIRouter()
vertex_router = APIRouter()

As = Annotated[Caller, Depends(caller_of)]
WINDOW = timedelta(hours=48)  # what has not been answered by then is given up
EMPTY = "type.googleapis.com/google.protobuf.Empty"
FILTERS = ("state", "labels", "displayName", "createTime", "model")


@gemini_router.post("/models/{model}:batchGenerateContent")
@gemini_router.post("/tunedModels/{model}:batchGenerateContent")
async def generate(request: Request, model: str, caller: As) -> Mapping[str, Json]:
    """A batch of `generateContent`, inline or of a file."""
    return await _create_at_developer(request, caller, model, "generateContent")


@gemini_router.post("/models/{model}:asyncBatchEmbedContent")
async def embed(request: Request, model: str, caller: As) -> Mapping[str, Json]:
    """A batch of `embedContent`, inline or of a file."""
    return await _create_at_developer(request, caller, model, "embedContent")


@gemini_router.get("/batches")
async def every(request: Request, caller: As) -> Mapping[str, Json]:
    """The caller's batches, the newest first, without their answers."""
    server: Server = request.app.state.server
    if request.query_params.get("filter"):
        raise Refusal("unsupported", "batches are not filtered here", param="filter")
    page = read_page(request)
    batches = await run_sync(_listed, server, caller, "gemini", page, lambda batch: True)
    shown, token = cut(batches, page, lambda batch: batch.id)
    body: dict[str, Json] = {"operations": [operation(batch) for batch in shown]}
    return {**body, "nextPageToken": token} if token else body


@gemini_router.get("/batches/{batch}")
async def get(request: Request, batch: str, caller: As) -> Mapping[str, Json]:
    """The batch as it is now; with its answers once it is over, where they are inline."""
    server: Server = request.app.state.server
    return await run_sync(_told, server, caller, batch)


@gemini_router.post("/batches/{batch}:cancel")
async def cancel(request: Request, batch: str, caller: As) -> Mapping[str, Json]:
    """Ends a batch that is not over yet; what was answered stays."""
    return await _cancel(request, caller, batch, "gemini")


@gemini_router.delete("/batches/{batch}")
async def delete(request: Request, batch: str, caller: As) -> Mapping[str, Json]:
    """Forgets a batch and its answers; one that is not over ends."""
    server: Server = request.app.state.server
    found = await run_sync(_own, server, caller, batch, "gemini")
    await run_sync(server.database.delete_batch, found.id)
    return {}


@vertex_router.post("/batchPredictionJobs")
async def create_job(request: Request, caller: As) -> Mapping[str, Json]:
    """A job over requests in Cloud Storage."""
    server: Server = request.app.state.server
    if server.settings.gs_folder is None:
        need_role(caller, "tune")  # who may read and write with the server's own credentials
    asked = at_vertex(await read_body(request, anything))
    batch = await run_sync(_made_at_vertex, server, caller, asked)
    server.batches.wake()
    return prediction_job(batch, place_of(request))


@vertex_router.get("/batchPredictionJobs")
async def every_job(request: Request, caller: As) -> Mapping[str, Json]:
    """The caller's jobs, the newest first."""
    server: Server = request.app.state.server
    place, page = place_of(request), read_page(request)
    fits = read_filter(request.query_params.get("filter", ""), FILTERS)
    batches = await run_sync(
        _listed, server, caller, "vertex", page, lambda batch: fits(prediction_job(batch, place))
    )
    shown, token = cut(batches, page, lambda batch: batch.id)
    body: dict[str, Json] = {
        "batchPredictionJobs": [prediction_job(batch, place) for batch in shown]
    }
    return {**body, "nextPageToken": token} if token else body


@vertex_router.get("/batchPredictionJobs/{job}")
async def get_job(request: Request, job: str, caller: As) -> Mapping[str, Json]:
    """The job as it is now."""
    server: Server = request.app.state.server
    return prediction_job(await run_sync(_own, server, caller, job, "vertex"), place_of(request))


@vertex_router.post("/batchPredictionJobs/{job}:cancel")
async def cancel_job(request: Request, job: str, caller: As) -> Mapping[str, Json]:
    """Ends a job that is not over yet; what was answered is written."""
    return await _cancel(request, caller, job, "vertex")


@vertex_router.delete("/batchPredictionJobs/{job}")
async def delete_job(request: Request, job: str, caller: As) -> Mapping[str, Json]:
    """Forgets a job that is over; its output stays where it is."""
    server: Server = request.app.state.server
    found = await run_sync(_own, server, caller, job, "vertex")
    if found.state not in OVER:
        raise Refusal("invalid", f"the job {job!r} is not over", hint="cancel it first")
    await run_sync(server.database.delete_batch, found.id)
    name = f"{place_of(request)}/batchPredictionJobs/{job}/operations/{new_id()}"
    return {"name": name, "done": True, "response": {"@type": EMPTY}}


async def _create_at_developer(
    request: Request, caller: Caller, model: str, route: str
) -> Mapping[str, Json]:
    server: Server = request.app.state.server
    asked = at_developer(await read_body(request, anything))
    _check_model(asked, model)
    model_for(server, caller, model)  # it is there, though what it stands for may change
    batch = await run_sync(_made_at_developer, server, caller, asked, (model, route))
    server.batches.wake()
    return operation(batch)


def _check_model(asked: Mapping[str, Any], model: str) -> None:
    named = asked.get("model", model)
    if model_name(named) != model:
        raise Refusal(
            "invalid",
            f"the body names the model {named[:120]!r}, the path {model!r}",
            hint="leave it out of the body",
            param="batch.model",
        )


def _made_at_developer(
    server: Server, caller: Caller, asked: Mapping[str, Any], wanted: tuple[str, str]
) -> Batch:
    model, route = wanted
    source = asked["inputConfig"]
    file = file_of(server, caller, source["fileName"]) if "fileName" in source else None
    batch = _batch(caller, "gemini", route, model, asked.get("displayName", ""))
    if file is None:
        lines: Iterator[dict[str, Json]] = iter(source["requests"]["requests"])
        return _added(server, batch, lines)
    batch = replace(batch, input_file=file.id, request={"inputConfig": source})
    try:
        pieces = server.database.read_file(file.id)
        return _added(server, batch, requests_of(pieces, server.settings.request_bytes))
    except BadLines as fault:
        raise Refusal(
            "invalid",
            f"the file {source['fileName']!r} cannot be used: {fault}",
            hint='each line has to be {"key": ..., "request": {...}}',
            param="batch.inputConfig.fileName",
        ) from fault


def _made_at_vertex(server: Server, caller: Caller, asked: Mapping[str, Any]) -> Batch:
    model = model_name(asked["model"])
    model_for(server, caller, model)
    batch = _batch(caller, "vertex", "generateContent", model, asked.get("displayName", ""))
    batch = replace(batch, request=asked)
    uris = asked["inputConfig"]["gcsSource"]["uris"]
    folder = server.settings.gs_folder
    if folder is not None:
        prefix = asked["outputConfig"]["gcsDestination"]["outputUriPrefix"]
        in_folder(f"{prefix}/output", folder)  # not after an hour of work
    try:
        pieces = chain.from_iterable(
            chain(read_source(server.database, uri, folder, "input_file"), (b"\n",)) for uri in uris
        )
        return _added(server, batch, requests_of(pieces, server.settings.request_bytes))
    except (BadLines, JobFailed) as fault:
        failed = replace(batch, state="failed", finished_at=batch.created_at, error=fault.record())
        return server.database.add_batch(failed, ())


def _batch(
    caller: Caller, protocol: Literal["gemini", "vertex"], route: str, model: str, name: str
) -> Batch:
    now = datetime.now(UTC)
    return Batch(
        id=new_id(),
        owner=caller.id,
        protocol=protocol,
        route=route,
        model=model,
        created_at=now,
        updated_at=now,
        name=name,
        expires_at=now + WINDOW,
    )


def _added(server: Server, batch: Batch, lines: Iterator[dict[str, Json]]) -> Batch:
    """The batch with an item for each line, all or none."""
    items = (as_item(batch, index, line) for index, line in enumerate(lines))
    return server.database.add_batch(batch, items)


def _told(server: Server, caller: Caller, id: str) -> dict[str, Json]:
    batch = _own(server, caller, id, "gemini")
    inline = batch.state in OVER and batch.input_file is None
    return operation(batch, items_of(server, batch) if inline else ())


def _own(server: Server, caller: Caller, id: str, protocol: str) -> Batch:
    batch = server.database.batch(id)
    if batch is None or batch.protocol != protocol or not may_see(caller, batch.owner):
        raise Refusal("not_found", f"there is no batch {id[:80]!r}")
    return batch


def _listed(
    server: Server, caller: Caller, protocol: str, page: Page, fits: Callable[[Batch], bool]
) -> list[Batch]:
    return listed(
        lambda after, limit: server.database.batches(
            owner=owner_of_lists(caller), protocol=protocol, after=after, limit=limit
        ),
        page,
        lambda batch: batch.id,
        fits,
    )


async def _cancel(request: Request, caller: Caller, id: str, protocol: str) -> Mapping[str, Json]:
    server: Server = request.app.state.server
    await run_sync(_own, server, caller, id, protocol)
    if await run_sync(cancelled, server.database.change_batch, id) is not None:
        server.batches.wake()
    return {}
