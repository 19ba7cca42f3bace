"""What the services say of models: base models, bundles and encoders, and those that were tuned.

A bundle is a model like any other here. Tuned ones are `tunedModels` of the Developer API and
`projects/P/locations/L/models` of Vertex, and a caller sees only its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request

from ...core import Json
from ...database.records import TunedModel, TuningJob
from .. import Caller, ModelCard, Refusal
from ..answering import model_for
from ..keys import caller_of, need_role
from ..listing import named_cards
from .asking import DEFAULTS
from .bodies import read_body
from .defaults import defaults_of
from .filters import read_filter
from .forms import Form, anything, mapped, message, text
from .own import listed, may_see, owner_of_lists, place_of, rfc3339
from .page import cut, read_page
from .spelling import camel_case

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["gemini_router", "publisher_router", "vertex_router"]

gemini_router = APIRouter()
publisher_router = APIRouter()
vertex_router = APIRouter()

As = Annotated[Caller, Depends(caller_of)]
Found = tuple[TunedModel, TuningJob | None]
Body = Callable[[TunedModel, TuningJob | None], dict[str, Json]]
HOTTEST = 2.0
GENERATES = ("generateContent", "streamGenerateContent", "countTokens", "batchGenerateContent")
EMBEDS = ("embedContent", "batchEmbedContents", "asyncBatchEmbedContent")
FILTERS = ("name", "displayName", "description", "labels")
CHANGEABLE: Mapping[str, str] = {  # as spelled here, and in the record
    "displayName": "name", "description": "description", "labels": "labels",
    "defaultCheckpointId": "default_checkpoint",
}  # fmt: skip


@gemini_router.get("/models")
async def every(request: Request, caller: As) -> Mapping[str, Json]:
    """All but tuned models, by each of their names."""
    shown, token = await _cards(request, caller)
    body: dict[str, Json] = {"models": [_model(card, name) for name, card in shown]}
    return {**body, "nextPageToken": token} if token else body


@gemini_router.get("/models/{model:path}")
async def get(request: Request, model: str, caller: As) -> Mapping[str, Json]:
    """One model, under the name that was asked for."""
    return _model(model_for(request.app.state.server, caller, model).card, model)


@publisher_router.get("/publishers/{publisher}/models")
async def every_published(request: Request, publisher: str, caller: As) -> Mapping[str, Json]:
    """The same for Vertex; all publishers have the same models here."""
    shown, token = await _cards(request, caller)
    named = [_published(card, publisher, name) for name, card in shown]
    body: dict[str, Json] = {"publisherModels": named}
    return {**body, "nextPageToken": token} if token else body


@publisher_router.get("/publishers/{publisher}/models/{model:path}")
async def get_published(
    request: Request, publisher: str, model: str, caller: As
) -> Mapping[str, Json]:
    """One model, under the name that was asked for."""
    card = model_for(request.app.state.server, caller, model).card
    return _published(card, publisher, model)


@gemini_router.get("/tunedModels")
async def every_tuned(request: Request, caller: As) -> Mapping[str, Json]:
    """The caller's tuned models, the newest first."""
    shown, token = await _tuned_page(request, caller, _tuned)
    body: dict[str, Json] = {"tunedModels": shown}
    return {**body, "nextPageToken": token} if token else body


@gemini_router.get("/tunedModels/{model}")
async def get_tuned(request: Request, model: str, caller: As) -> Mapping[str, Json]:
    """One of them."""
    return _tuned(*await run_sync(_found, request.app.state.server, caller, model))


@gemini_router.patch("/tunedModels/{model}")
async def change_tuned(request: Request, model: str, caller: As) -> Mapping[str, Json]:
    """Another name or description."""
    return _tuned(*await _changed(request, caller, model, ("displayName", "description")))


@gemini_router.delete("/tunedModels/{model}")
async def delete_tuned(request: Request, model: str, caller: As) -> Mapping[str, Json]:
    """Deletes the model, its checkpoints and their files."""
    await _deleted(request, caller, model)
    return {}


@vertex_router.get("/models")
async def every_at_vertex(request: Request, caller: As) -> Mapping[str, Json]:
    """The caller's tuned models that fit the filter, the newest first."""
    place = place_of(request)
    shown, token = await _tuned_page(
        request, caller, lambda tuned, job: _registered(tuned, job, place)
    )
    body: dict[str, Json] = {"models": shown}
    return {**body, "nextPageToken": token} if token else body


@vertex_router.get("/models/{model}")
async def get_at_vertex(request: Request, model: str, caller: As) -> Mapping[str, Json]:
    """One of them, with its checkpoints."""
    found = await run_sync(_found, request.app.state.server, caller, model)
    return _registered(*found, place_of(request))


@vertex_router.patch("/models/{model}")
async def change_at_vertex(request: Request, model: str, caller: As) -> Mapping[str, Json]:
    """Another name, description, labels, or checkpoint that the endpoint answers with."""
    changed = await _changed(request, caller, model, tuple(CHANGEABLE))
    return _registered(*changed, place_of(request))


@vertex_router.delete("/models/{model}")
async def delete_at_vertex(request: Request, model: str, caller: As) -> Mapping[str, Json]:
    """The same, told as an operation that is done."""
    id = await _deleted(request, caller, model)
    return {
        "name": f"{place_of(request)}/operations/{id}",
        "done": True,
        "response": {"@type": "type.googleapis.com/google.protobuf.Empty"},
    }


async def _cards(request: Request, caller: Caller) -> tuple[list[tuple[str, ModelCard]], str]:
    page = read_page(request)
    found = await run_sync(named_cards, request.app.state.server, caller)
    cards = [(name, card) for name, card in found if page.after is None or name > page.after]
    return cut(cards, page, lambda named: named[0])


def _model(card: ModelCard, name: str) -> dict[str, Json]:
    """A `Model` of the Developer API."""
    body: dict[str, Json] = {
        "name": f"models/{name}",
        "baseModelId": card.base or card.name,
        "version": card.version or "1",
        "displayName": card.title or card.name,
        "supportedGenerationMethods": [*(EMBEDS if card.kind == "encoder" else GENERATES)],
    }
    if card.description:
        body["description"] = card.description
    if card.context_tokens is not None:
        body["inputTokenLimit"] = card.context_tokens
    if (most := card.most_output_tokens or card.context_tokens) and card.kind != "encoder":
        body["outputTokenLimit"] = most
    if card.kind == "base":
        body |= _sampled()
    return body


def _sampled() -> dict[str, Json]:
    """How tokens are drawn where the caller does not say."""
    return {
        "temperature": DEFAULTS.temperature,
        "maxTemperature": HOTTEST,
        "topP": DEFAULTS.top_p,
        "topK": DEFAULTS.top_k,
    }


def _published(card: ModelCard, publisher: str, name: str) -> dict[str, Json]:
    """A `PublisherModel` of Vertex."""
    return {
        "name": f"publishers/{publisher}/models/{name}",
        "versionId": card.version or "default",
        "launchStage": "GA",
        "versionState": "VERSION_STATE_STABLE",
        "publisherModelTemplate": (
            f"projects/{{project}}/locations/{{location}}/publishers/{publisher}/models/{name}"
        ),
    }


def _tuned(tuned: TunedModel, job: TuningJob | None) -> dict[str, Json]:
    """A `TunedModel` of the Developer API."""
    return {
        "name": f"tunedModels/{tuned.id}",
        "displayName": tuned.name,
        "description": tuned.description,
        "baseModel": f"models/{tuned.base}",
        "state": "ACTIVE",
        "createTime": rfc3339(tuned.created_at),
        "updateTime": rfc3339(tuned.updated_at),
        "temperature": DEFAULTS.temperature,
        "topP": DEFAULTS.top_p,
        "topK": DEFAULTS.top_k,
    }


def _registered(tuned: TunedModel, job: TuningJob | None, place: str) -> dict[str, Json]:
    """A `Model` of Vertex, deployed to the endpoint of the same number."""
    body: dict[str, Json] = {
        "name": f"{place}/models/{tuned.id}",
        "displayName": tuned.name,
        "versionId": "1",
        "versionAliases": ["default"],
        "createTime": rfc3339(tuned.created_at),
        "updateTime": rfc3339(tuned.updated_at),
        "versionCreateTime": rfc3339(tuned.created_at),
        "versionUpdateTime": rfc3339(tuned.updated_at),
        "labels": {
            **tuned.labels,
            "google-vertex-llm-tuning-base-model-id": tuned.base,
            "tune-type": "sft",
        },
        "deployedModels": [{"endpoint": f"{place}/endpoints/{tuned.id}", "deployedModelId": "1"}],
    }
    if tuned.description:
        body["description"] = tuned.description
    checkpoints = job.checkpoints if job is not None and job.tuned_model == tuned.id else ()
    if checkpoints:
        body["checkpoints"] = [
            {"checkpointId": one.id, "epoch": str(round(one.epoch)), "step": str(one.step)}
            for one in checkpoints
        ]
        body["defaultCheckpointId"] = tuned.default_checkpoint or checkpoints[-1].id
    return body


async def _tuned_page(request: Request, caller: Caller, body_of: Body) -> tuple[list[Json], str]:
    server: Server = request.app.state.server
    page = read_page(request)
    fits = read_filter(request.query_params.get("filter", ""), FILTERS)
    owner = owner_of_lists(caller)

    def rows(after: str | None, limit: int) -> list[Found]:
        found = server.database.tuned_models(owner=owner, after=after, limit=limit)
        return [(one, server.database.job(one.job)) for one in found]

    found = await run_sync(
        lambda: listed(rows, page, _id, lambda one: _is_whole(*one) and fits(body_of(*one)))
    )
    shown, token = cut(found, page, _id)
    return [body_of(*one) for one in shown], token


def _id(one: Found) -> str:
    return one[0].id


def _is_whole(tuned: TunedModel, job: TuningJob | None) -> bool:
    """Whether it is what a job made and not one of the states on the way there."""
    return job is None or job.tuned_model in (None, tuned.id)


def _found(server: Server, caller: Caller, name: str) -> Found:
    """The tuned model of an id, `@version` or not; raises Refusal (not_found)."""
    id = name.partition("@")[0]
    tuned = server.database.tuned(id)
    if tuned is None or not may_see(caller, tuned.owner):
        raise Refusal("not_found", f"no tuned model is called {name!r}")
    return tuned, server.database.job(tuned.job)


async def _changed(request: Request, caller: Caller, name: str, fields: tuple[str, ...]) -> Found:
    need_role(caller, "tune")
    server: Server = request.app.state.server
    tuned, job = await run_sync(_found, server, caller, name)
    body = await read_body(request, anything)
    asked = _masked(request, message(_fields(fields, body))(body, ""), fields)
    if (checkpoint := asked.get("defaultCheckpointId")) is not None:
        known = [one.id for one in job.checkpoints] if job is not None else []
        if checkpoint not in known:
            raise Refusal(
                "invalid",
                f"the model has no checkpoint {checkpoint!r}",
                hint=f"known: {', '.join(known) or 'none'}",
                param="defaultCheckpointId",
            )
    changes = {CHANGEABLE[field]: value for field, value in asked.items()}
    if not changes:
        return tuned, job
    changed = await run_sync(lambda: server.database.change_tuned(tuned.id, **changes))
    if changed is None:
        raise Refusal("not_found", f"no tuned model is called {name!r}")
    defaults_of(request).forget(tuned.id)
    return changed, job


def _fields(fields: tuple[str, ...], body: Json) -> dict[str, Form]:
    """What a change may hold: the resource as it was told, of which only these fields count."""
    told: dict[str, Form] = {}
    if isinstance(body, dict):
        told = {camel_case(key): anything for key in body if camel_case(key) in TOLD}
    return {**told, **{one: mapped(text) if one == "labels" else text for one in fields}}


def _masked(request: Request, body: Json, fields: tuple[str, ...]) -> dict[str, Json]:
    """Of the fields, those in the update's mask; without a mask, those that were given."""
    given = request.query_params
    mask = given.get("updateMask", given.get("update_mask", ""))
    named = [camel_case(one.strip()) for one in mask.split(",") if one.strip()]
    for one in named:
        if one not in fields and one != "*":
            raise Refusal("invalid", f"{one!r} of a model cannot be changed", param="updateMask")
    wanted = fields if not named or "*" in named else named
    return {field: body[field] for field in wanted if field in body}


async def _deleted(request: Request, caller: Caller, name: str) -> str:
    """Deletes a model; with the one that a job made go its other checkpoints."""
    need_role(caller, "tune")
    server: Server = request.app.state.server

    def delete() -> str:
        tuned, job = _found(server, caller, name)
        ids = [tuned.id]
        if job is not None and job.tuned_model == tuned.id:
            ids += [one.tuned_model for one in job.checkpoints if one.tuned_model != tuned.id]
        for id in ids:
            going = server.database.tuned(id)
            server.database.delete_tuned(id)
            for file in going.files.values() if going is not None else ():
                server.database.delete_file(file)
        return tuned.id

    return await run_sync(delete)


TOLD = frozenset({
    "name", "etag", "createTime", "updateTime", "versionId", "versionAliases", "deployedModels",
    "checkpoints", "versionCreateTime", "versionUpdateTime", "baseModel", "state",
})  # fmt: skip
