"""OpenAI's protocol: its paths, and its bodies as what the server's own nouns say.

asking, messages, tools, sampling, media ... a chat's body becomes an `Ask`
chat, completions, embeddings, streams ..... answers, whole or as events
files, batches, jobs, models ............... what is kept for callers
fields, paging, names, errors .............. read strictly, told in OpenAI's words
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["make_router"]


def make_router() -> APIRouter:
    """All routes, to be mounted under the protocol's internal prefix."""
    from fastapi import APIRouter

    from . import batches, chat, completions, embeddings, files, jobs, models

    router = APIRouter(prefix="/v1")
    for module in (chat, completions, embeddings, models, files, batches, jobs):
        module.add_routes(router)
    return router
