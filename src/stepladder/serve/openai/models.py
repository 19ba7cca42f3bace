"""Models: what is served, one of them, and the end of a tuned one."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from fastapi.responses import Response

from ...core import Json
from ...database.records import TunedModel
from .. import Caller, Refusal
from ..answering import model_for
from ..keys import need_role
from ..listing import named_cards
from .bodies import As, answered, server_of
from .names import OWNER, served_name, tuned_id_of, tuned_name
from .paging import owner_of

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["add_routes"]

AT_ONCE = 1000


def add_routes(router: APIRouter) -> None:
    """The routes of models; a name may have slashes and colons."""
    for path, method, call in (
        ("/models", "GET", _list),
        ("/models/{name:path}", "GET", _get),
        ("/models/{name:path}", "DELETE", _delete),
    ):
        router.add_api_route(path, call, methods=[method], response_model=None)


async def _list(request: Request, caller: As) -> Response:
    server = server_of(request)
    told = await run_sync(_all, server, caller)
    return answered({"object": "list", "data": told})


def _all(server: Server, caller: Caller) -> list[dict[str, Json]]:
    """Everything by each of its names; the tuned ones by the name that their jobs tell."""
    told = [_told(name, card.created_at, OWNER) for name, card in named_cards(server, caller)]
    return told + [_tuned(model) for model in _tuned_of(server, caller)]


def _tuned_of(server: Server, caller: Caller) -> list[TunedModel]:
    found: list[TunedModel] = []
    while True:
        after = found[-1].id if found else None
        page = server.database.tuned_models(owner=owner_of(caller), after=after, limit=AT_ONCE)
        found += page
        if len(page) < AT_ONCE:
            return found


def _tuned(model: TunedModel) -> dict[str, Json]:
    return _told(tuned_name(model.base, model.name, model.id), model.created_at, model.owner)


async def _get(name: str, request: Request, caller: As) -> Response:
    server = server_of(request)
    card = (await run_sync(model_for, server, caller, served_name(name))).card
    return answered(_told(name, card.created_at, card.owner or OWNER))


async def _delete(name: str, request: Request, caller: As) -> Response:
    server = server_of(request)
    need_role(caller, "tune")
    await run_sync(_deleted, server, caller, name)
    return answered({"id": name, "object": "model", "deleted": True})


def _deleted(server: Server, caller: Caller, name: str) -> None:
    id = tuned_id_of(name)
    if id is None:
        model_for(server, caller, name)
        raise Refusal(
            "forbidden",
            f"{name!r} was not tuned here and cannot be deleted",
            hint="what is served besides tuned models is said in serve.toml",
            param="model",
        )
    tuned = server.database.tuned(id)
    is_own = tuned is not None and owner_of(caller) in (None, tuned.owner)
    if not is_own or not server.database.delete_tuned(id):
        raise Refusal("not_found", f"no model is called {name!r}", param="model")


def _told(name: str, created_at: datetime, owner: str) -> dict[str, Json]:
    return {
        "id": name,
        "object": "model",
        "created": int(created_at.timestamp()),
        "owned_by": owner,
    }
