"""Fine-tuning jobs: made here, trained by a worker, told as OpenAI's clients know them.

Rows are not looked at here: a bad file fails the job, as it does at OpenAI.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from fastapi.responses import Response

from ...database import new_id
from ...database.records import Checkpoint, TunedModel, TuningEvent, TuningJob
from .. import Caller, Refusal
from ..cancelling import cancelled
from ..keys import need_role
from ..tuning.pausing import paused, resumed
from .bodies import As, answered, read_fields, server_of
from .fields import Fields, metadata
from .files import own_file
from .hyperparameters import read_method
from .job_bodies import checkpoint_body, event_body, job_body
from .names import bare_id, shown_id, tuned_id_of
from .paging import Query, collect, listed, owner_of, read_query

if TYPE_CHECKING:
    from ...database.database import Database
    from ..server import Server

__all__ = ["add_routes"]

KNOWN = {
    "model", "training_file", "validation_file", "hyperparameters", "method", "suffix", "seed",
    "integrations", "metadata",
}  # fmt: skip
MOST_SEED = 2**31 - 1
MOST_PER_PAGE = 1000
AT = "/fine_tuning/jobs"
Change = Callable[["Database", str], TuningJob | None]


def add_routes(router: APIRouter) -> None:
    """The routes of fine-tuning jobs."""
    for path, method, call in (
        ("", "POST", _create),
        ("", "GET", _list),
        ("/{job_id}", "GET", _get),
        ("/{job_id}/events", "GET", _events),
        ("/{job_id}/checkpoints", "GET", _checkpoints),
        ("/{job_id}/cancel", "POST", _cancel),
        ("/{job_id}/pause", "POST", _pause),
        ("/{job_id}/resume", "POST", _resume),
    ):
        router.add_api_route(AT + path, call, methods=[method], response_model=None)


async def _create(request: Request, caller: As) -> Response:
    need_role(caller, "tune")
    server = server_of(request)
    if not server.settings.tuning:
        raise Refusal(
            "unavailable",
            "this server trains no models",
            hint="start it without --no-tuning, or send the job to one that does",
        )
    body = await read_fields(request)
    job = await run_sync(_job, server, caller, body)
    await run_sync(server.database.add_job, job)
    for one in job.request.get("integrations") or ():
        message = f"the integration {one['type']!r} is not run: this server reports to nobody else"
        await run_sync(server.database.add_event, job.id, "warn", message)
    server.tuning.wake()
    return answered(job_body(job))


def _job(server: Server, caller: Caller, body: Fields) -> TuningJob:
    body.known(KNOWN)
    base, model, pre_tuned = _base(server, caller, body)
    method = read_method(body)
    _integrations(body)
    seed = body.whole("seed", 0, MOST_SEED)
    options = {**method.options, "seed": secrets.randbelow(MOST_SEED) if seed is None else seed}
    now = datetime.now(UTC)
    suffix = body.text("suffix", least=1, most=64)
    return TuningJob(
        new_id(),
        caller.id,
        "openai",
        base,
        model,
        method.kind,
        _file(server, caller, body, "training_file") or "",
        now,
        now,
        validation_file=_file(server, caller, body, "validation_file"),
        pre_tuned=None if pre_tuned is None else pre_tuned.id,
        name=suffix or "",
        options=options,
        request={**body.given, "metadata": metadata(body)},
    )


def _base(server: Server, caller: Caller, body: Fields) -> tuple[str, str, TunedModel | None]:
    """The base as the caller named it, the open model behind it, and what to go on from."""
    name = body.needed_text("model")
    id = tuned_id_of(name)
    if id is None:
        base: str = server.models.open_model_name(name)
        return name, base, None
    tuned = server.database.tuned(id)
    if tuned is None or owner_of(caller) not in (None, tuned.owner):
        raise Refusal("not_found", f"no model is called {name!r}", param="model")
    return tuned.base, tuned.model, tuned


def _file(server: Server, caller: Caller, body: Fields, name: str) -> str | None:
    shown = body.text(name)
    if shown is None:
        if name == "training_file":
            raise body.missing(name)
        return None
    try:
        file = own_file(server, caller, shown, name)
    except Refusal as refusal:
        raise Refusal("invalid", refusal.message, hint="upload it first", param=name) from refusal
    if file.purpose != "fine-tune":
        raise body.fault(name, f"has the purpose {file.purpose!r}: upload it as 'fine-tune'")
    return file.id


def _integrations(body: Fields) -> None:
    for one in body.objects("integrations", most=5):
        if one.one_of("type", ("wandb",)) is None:
            raise one.missing("type")
        one.known({"type", "wandb"})
        wandb = one.needed_inner("wandb")
        wandb.known({"project", "name", "entity", "tags"})
        wandb.needed_text("project")


async def _list(request: Request, caller: As) -> Response:
    query = read_query(request, "ftjob", default=20, most=MOST_PER_PAGE)
    jobs, more = await run_sync(_page, server_of(request), caller, query)
    return answered(listed([job_body(job) for job in jobs], more=more))


def _page(server: Server, caller: Caller, query: Query) -> tuple[list[TuningJob], bool]:
    def wanted(job: TuningJob) -> bool:
        notes = job.request.get("metadata") or {}
        if not query.metadata:
            return query.metadata is None or not notes
        return all(notes.get(name) == value for name, value in query.metadata.items())

    return collect(
        lambda after, limit: server.database.jobs(
            owner=owner_of(caller), protocol="openai", after=after, limit=limit
        ),
        wanted,
        lambda job: job.id,
        query,
    )


async def _get(job_id: str, request: Request, caller: As) -> Response:
    return answered(job_body(await run_sync(_own, server_of(request), caller, job_id)))


def _own(server: Server, caller: Caller, shown: str) -> TuningJob:
    bare = bare_id("ftjob", shown)
    job = server.database.job(bare) if bare else None
    hidden = job is None or owner_of(caller) not in (None, job.owner)
    if job is None or hidden or job.protocol != "openai":
        raise Refusal(
            "not_found", f"there is no fine-tuning job {shown!r}", param="fine_tuning_job_id"
        )
    return job


async def _events(job_id: str, request: Request, caller: As) -> Response:
    server = server_of(request)
    job = await run_sync(_own, server, caller, job_id)
    query = read_query(request, "ftevent", default=20, most=MOST_PER_PAGE)
    after = _number_within(query, job)
    events: list[TuningEvent] = await run_sync(
        lambda: server.database.events(
            job.id, after=after, limit=query.limit + 1, newest_first=True
        )
    )
    told = [event_body(event) for event in events[: query.limit]]
    return answered(listed(told, more=len(events) > query.limit))


async def _checkpoints(job_id: str, request: Request, caller: As) -> Response:
    server = server_of(request)
    job = await run_sync(_own, server, caller, job_id)
    query = read_query(request, "ftckpt", default=10, most=MOST_PER_PAGE)
    after = _number_within(query, job)
    newest_first = [one for one in reversed(job.checkpoints) if not after or int(one.id) < after]
    shown = newest_first[: query.limit]
    made = await run_sync(lambda: [_made_at(server, job, one) for one in shown])
    told = [checkpoint_body(job, one, at) for one, at in zip(shown, made, strict=True)]
    return answered(listed(told, more=len(newest_first) > query.limit))


def _made_at(server: Server, job: TuningJob, checkpoint: Checkpoint) -> datetime:
    tuned = server.database.tuned(checkpoint.tuned_model)
    return job.updated_at if tuned is None else tuned.created_at


def _number_within(query: Query, job: TuningJob) -> int:
    """The number at the end of a cursor such as `ftevent-<job>-7`; 0 without one."""
    if query.after is None:
        return 0
    of, _, number = query.after.rpartition("-")
    if of != job.id or not (number.isascii() and number.isdigit() and len(number) < 10):
        raise Refusal("invalid", "'after' is no id of this list", param="after")
    return int(number)


async def _cancel(job_id: str, request: Request, caller: As) -> Response:
    return await _changed(job_id, request, caller, _cancelled, "is over and cannot be cancelled")


def _cancelled(database: Database, id: str) -> TuningJob | None:
    return cancelled(database.change_job, id)


async def _pause(job_id: str, request: Request, caller: As) -> Response:
    return await _changed(job_id, request, caller, paused, "is over and cannot be paused")


async def _resume(job_id: str, request: Request, caller: As) -> Response:
    return await _changed(job_id, request, caller, resumed, "is not paused")


async def _changed(
    job_id: str, request: Request, caller: Caller, change: Change, otherwise: str
) -> Response:
    need_role(caller, "tune")
    server = server_of(request)
    job = await run_sync(_own, server, caller, job_id)
    changed = await run_sync(change, server.database, job.id)
    if changed is None:
        shown = shown_id("ftjob", job.id)
        raise Refusal("invalid", f"the job {shown!r} {otherwise}", hint="its status says how it is")
    server.tuning.wake()
    return answered(job_body(changed))
