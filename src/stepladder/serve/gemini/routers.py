"""Which path of either service leads where. The verb of a path is what follows its last colon."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from .. import Caller, Refusal
from ..keys import caller_of
from . import batches, embed, evaluate, files, models, prefixes, token, tokens, tuning_jobs
from .answers import Api
from .defaults import defaults_of
from .generate import Asked, generate, stream

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["gemini_router", "vertex_router"]

Handle = Callable[[Request, Asked], Awaitable[Response]]
As = Annotated[Caller, Depends(caller_of)]

GENERATING: Mapping[str, Handle] = {
    "generateContent": generate, "streamGenerateContent": stream, "countTokens": tokens.count,
}  # fmt: skip
EMBEDDING: Mapping[str, Handle] = {
    "embedContent": embed.embed_one, "batchEmbedContents": embed.embed_batch,
}  # fmt: skip
OF_VERTEX: Mapping[str, Handle] = {
    "computeTokens": tokens.compute, "predict": embed.predict,
}  # fmt: skip
PROJECT = "/{version}/projects/{project}/locations/{location}"


def gemini_router() -> APIRouter:
    """`/{version}/models/...` and so on; uploads have their version elsewhere."""
    router = APIRouter(dependencies=[Depends(_version("v1", "v1beta", "v1alpha"))])
    under = "/{version}"
    _add_verbs(router, f"{under}/models/{{model:path}}", "gemini", {**GENERATING, **EMBEDDING})
    _add_verbs(router, f"{under}/tunedModels/{{model}}", "gemini", GENERATING, tuned=True)
    router.include_router(files.upload_router)
    for inner in (
        batches.gemini_router,
        files.router,
        prefixes.gemini_router,
        tuning_jobs.developer_router,
        models.gemini_router,
    ):
        router.include_router(inner, prefix=under)
    _add_unknown_verb(router, f"{under}/models/{{model:path}}")
    return router


def vertex_router() -> APIRouter:
    """`/{version}/projects/P/locations/L/...`, and what of it there is without a project."""
    router = APIRouter(dependencies=[Depends(_version("v1", "v1beta1"))])
    router.include_router(token.router)
    published = "/publishers/{publisher}/models/{model:path}"
    every = {**GENERATING, **EMBEDDING, **OF_VERTEX}
    _add_verbs(router, f"{PROJECT}{published}", "vertex", every)
    answering = {**GENERATING, **OF_VERTEX}
    _add_verbs(router, f"{PROJECT}/endpoints/{{model}}", "vertex", answering, tuned=True)
    _add_verbs(router, f"/{{version}}{published}", "vertex", every)
    for prefix in (PROJECT, "/{version}"):
        router.include_router(models.publisher_router, prefix=prefix)
    for inner in (
        batches.vertex_router,
        prefixes.vertex_router,
        tuning_jobs.router,
        evaluate.router,
        models.vertex_router,
    ):
        router.include_router(inner, prefix=PROJECT)
    for place in (f"{PROJECT}{published}", f"/{{version}}{published}"):
        _add_unknown_verb(router, place)
    return router


def _add_verbs(
    router: APIRouter, path: str, api: Api, verbs: Mapping[str, Handle], *, tuned: bool = False
) -> None:
    """A path for each verb; of a `tuned` model, its default checkpoint answers."""
    for verb, handle in verbs.items():
        endpoint = _endpoint(handle, api, tuned)
        router.add_api_route(f"{path}:{verb}", endpoint, methods=["POST"])


def _endpoint(handle: Handle, api: Api, tuned: bool) -> Callable[..., Awaitable[Response]]:
    async def endpoint(request: Request, model: str, caller: As) -> Response:
        server: Server = request.app.state.server
        name = await defaults_of(request).resolve(model) if tuned else model
        return await handle(request, Asked(server, caller, api, name))

    endpoint.__doc__ = handle.__doc__
    endpoint.__name__ = handle.__name__
    return endpoint


def _add_unknown_verb(router: APIRouter, path: str) -> None:
    async def unknown(request: Request, model: str, _: As) -> Response:
        """A verb that models do not have here."""
        verb = model.rpartition(":")[2]
        raise Refusal("not_found", f"models have no method {verb[:80]!r} here")

    router.add_api_route(path, unknown, methods=["POST"])


def _version(*known: str) -> Callable[[Request], Awaitable[None]]:
    async def check(request: Request) -> None:
        version = request.path_params.get("version", known[0])
        if version not in known:
            raise Refusal(
                "not_found",
                f"there is no version {version[:40]!r} of this API",
                hint=f"known: {', '.join(known)}",
            )

    return check
