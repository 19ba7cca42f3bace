"""OpenAI's protocol: its paths, and its bodies as what the server's own nouns say.

asking, messages, tools, sampling, media ... a chat's body becomes an `Ask`
chat, completions, embeddings, streams ..... answers, whole or as events
files, batches, jobs, models ............... what is kept for callers
fields, paging, names, errors .............. read strictly, told in OpenAI's words
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from .. import Refusal

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["make_router"]


def make_router() -> APIRouter:
    """All routes, to be mounted under the protocol's internal prefix."""
    from fastapi import APIRouter

    from . import batches, chat, completions, embeddings, files, jobs, models

    router = APIRouter(prefix="/v1")
    router.add_api_route("/responses", _no_responses, methods=["POST"], response_model=None)
    for module in (chat, completions, embeddings, models, files, batches, jobs):
        module.add_routes(router)
    return router


async def _no_responses() -> NoReturn:
    raise Refusal(
        "not_found",
        "the Responses API is not offered by this server",
        hint="chat/completions is: client.chat.completions.create(...)",
    )
