"""`tuningJobs` of Vertex: a job is made, told, listed and cancelled; a worker runs it.

`tuning_forms.py` reads what is asked and `tuning_bodies.py` says what became of it. Regions and
quotas are not emulated. Tuning by the Developer API is answered with the way to this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request, Response

from ...core import Json
from ...database import new_id
from ...database.records import TunedModel, TuningJob
from .. import Caller, Refusal
from ..cancelling import cancelled
from ..keys import caller_of, need_role
from .bodies import read_body
from .filters import read_filter
from .forms import anything
from .objects import in_folder
from .own import listed, may_see, owner_of_lists, place_of
from .page import cut, read_page
from .tuning_bodies import job_body
from .tuning_forms import SPECS, WITHOUT_EFFECT, file_id, options_of, read_job, spec_of

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["developer_router", "job_of", "router", "tuned_of"]

router = APIRouter()
developer_router = APIRouter()

As = Annotated[Caller, Depends(caller_of)]
FILTERS = ("state", "labels", "tunedModelDisplayName", "baseModel", "description", "createTime")


@router.post("/tuningJobs")
async def create(request: Request, response: Response, caller: As) -> Mapping[str, Json]:
    """A new job, pending until a worker takes it; a header names what has no effect here."""
    need_role(caller, "tune")
    server: Server = request.app.state.server
    if not server.settings.tuning:
        raise Refusal("unavailable", "this server does not tune", hint="start it with tuning on")
    asked = read_job(await read_body(request, anything))
    job = await _job(server, caller, asked)
    await run_sync(server.database.add_job, job)
    server.tuning.wake()
    if unused := [name for name in WITHOUT_EFFECT if name in asked]:
        response.headers["x-stepladder-ignored"] = ", ".join(unused)
    return job_body(job, place_of(request))


@router.get("/tuningJobs")
async def every(request: Request, caller: As) -> Mapping[str, Json]:
    """The caller's jobs, the newest first."""
    server: Server = request.app.state.server
    place = place_of(request)
    page = read_page(request)
    fits = read_filter(request.query_params.get("filter", ""), FILTERS)
    owner = owner_of_lists(caller)
    jobs = await run_sync(
        lambda: listed(
            lambda after, limit: server.database.jobs(
                owner=owner, protocol="vertex", after=after, limit=limit
            ),
            page,
            lambda job: job.id,
            lambda job: fits(job_body(job, place)),
        )
    )
    shown, token = cut(jobs, page, lambda job: job.id)
    body: dict[str, Json] = {"tuningJobs": [job_body(job, place) for job in shown]}
    return {**body, "nextPageToken": token} if token else body


@router.get("/tuningJobs/{job}")
async def get(request: Request, job: str, caller: As) -> Mapping[str, Json]:
    """The job as it is now."""
    server: Server = request.app.state.server
    return job_body(await run_sync(job_of, server, caller, job), place_of(request))


@router.post("/tuningJobs/{job}:cancel")
async def cancel(request: Request, job: str, caller: As) -> Mapping[str, Json]:
    """Ends a job that is not over yet; one that is over stays as it is."""
    need_role(caller, "tune")
    server: Server = request.app.state.server
    await run_sync(job_of, server, caller, job)
    if await run_sync(cancelled, server.database.change_job, job) is not None:
        server.tuning.wake()
    return {}


@router.post("/tuningJobs:{verb}")
async def other(verb: str, _: As) -> Mapping[str, Json]:
    """What else Vertex does with tuning jobs, refused."""
    raise Refusal("unsupported", f"{f'tuningJobs:{verb}'!r} is not implemented by this server")


@developer_router.post("/tunedModels")
async def create_at_developer(_: As) -> Mapping[str, Json]:
    """The Developer API tunes no more, and its clients leave the examples out."""
    raise Refusal(
        "unsupported",
        "tuning by the Developer API is not offered: its clients do not send the examples",
        hint="use the client for Vertex, genai.Client(enterprise=True, project=..., location=...), "
        "whose tunings.tune() posts a tuningJob to this server",
    )


@developer_router.post("/tunedModels/{model}:cancel")
async def cancel_at_developer(model: str, _: As) -> Mapping[str, Json]:
    """There is no such job to cancel."""
    raise Refusal("not_found", f"no tuning of the Developer API is called {model!r}")


def job_of(server: Server, caller: Caller, id: str) -> TuningJob:
    """The job of Vertex's that this caller may see; raises Refusal (not_found)."""
    job = server.database.job(id)
    if job is None or job.protocol != "vertex" or not may_see(caller, job.owner):
        raise Refusal("not_found", f"the tuning job {id!r} does not exist")
    return job


def tuned_of(
    server: Server, caller: Caller, name: str, checkpoint: str | None = None
) -> TunedModel:
    """The tuned model that a resource name means, or that of one of its checkpoints.

    `name` is `projects/P/locations/L/models/N`, with `@version` or without, or its endpoint.

    Raises:
        Refusal: not_found, or this caller may not see it.
    """
    id = name.rpartition("/")[2].partition("@")[0]
    tuned = server.database.tuned(id)
    if tuned is None or not may_see(caller, tuned.owner):
        raise Refusal(
            "not_found",
            f"no tuned model is called {name!r}",
            param="preTunedModel.tunedModelName",
        )
    wanted = checkpoint or tuned.default_checkpoint
    if not wanted:
        return tuned
    job = server.database.job(tuned.job)
    found = next((one for one in job.checkpoints if one.id == wanted), None) if job else None
    at = server.database.tuned(found.tuned_model) if found else None
    if at is None:
        known = ", ".join(repr(one.id) for one in job.checkpoints) if job else ""
        raise Refusal(
            "not_found",
            f"the tuned model {name!r} has no checkpoint {wanted!r}",
            hint=f"known: {known}" if known else "",
            param="preTunedModel.checkpointId",
        )
    return at


async def _job(server: Server, caller: Caller, asked: dict[str, Any]) -> TuningJob:
    name = spec_of(asked)
    spec = asked[name]
    now = datetime.now(UTC)
    files = {
        field: await run_sync(_file, server, caller, spec[field], f"{name}.{field}")
        for field in ("trainingDatasetUri", "validationDatasetUri")
        if field in spec
    }
    _check_output(spec.get("evaluationConfig", {}), server.settings.gs_folder)
    base, model, pre_tuned = await run_sync(_base, server, caller, asked)
    return TuningJob(
        id=new_id(),
        owner=caller.id,
        protocol="vertex",
        base=base,
        model=model,
        method=SPECS[name],
        training_file=files["trainingDatasetUri"],
        validation_file=files.get("validationDatasetUri"),
        created_at=now,
        updated_at=now,
        pre_tuned=pre_tuned.id if pre_tuned else None,
        name=asked.get("tunedModelDisplayName", pre_tuned.name if pre_tuned else ""),
        options=options_of(spec),
        request=asked,
    )


def _check_output(config: Mapping[str, Any], root: Path | None) -> None:
    """Raise Refusal where what is evaluated cannot be written: not after an hour of work."""
    prefix = config.get("outputConfig", {}).get("gcsDestination", {}).get("outputUriPrefix")
    if prefix and root is not None:
        in_folder(f"{prefix}/output", root)


def _base(
    server: Server, caller: Caller, asked: Mapping[str, Any]
) -> tuple[str, str, TunedModel | None]:
    """The base as the caller names it, the open model behind it, and what to go on from."""
    if "preTunedModel" in asked:
        given = asked["preTunedModel"]
        tuned = tuned_of(server, caller, given["tunedModelName"], given.get("checkpointId"))
        return tuned.base, tuned.model, tuned
    name = asked["baseModel"]
    bare = name.rpartition("/models/")[2] if "/models/" in name else name.removeprefix("models/")
    try:
        return name, server.models.open_model_name(bare), None
    except Refusal as refusal:
        raise Refusal(
            "invalid",
            f"Base model {name} is not supported: {refusal.message}",
            hint=refusal.hint,
            param="baseModel",
        ) from refusal


def _file(server: Server, caller: Caller, uri: str, param: str) -> str:
    """What the worker reads: an address in Cloud Storage, or the id of a file of the caller's."""
    id = file_id(uri)
    if id is None:
        return uri
    stored = server.database.file(id)
    if stored is None or not may_see(caller, stored.owner):
        raise Refusal("invalid", f"there is no file {uri!r}", param=param)
    return stored.id
