"""Gemini's protocols: the Developer API and Vertex, over the same served models.

    spelling.py, forms.py, bodies.py .. a body read strictly, in both spellings of proto3 JSON
    request_forms.py .................. what requests to models may hold
    contents.py, tools.py, schema.py .. contents, functions and schemas in this program's words
    asking.py, media.py ............... a whole request as an `Ask`
    generate.py, answers.py ........... answers, whole and as they are made
    tokens.py, embed.py, models.py .... counting, embedding, and what models there are
    tuning_*.py, files.py, uploads.py, prefixes.py, batches.py, evaluate.py .. the other resources
    errors.py, page.py, filters.py, own.py .. what all of them share

The paths are under a version; those of Vertex also under a project and a location.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import APIRouter

__all__ = ["make_gemini_router", "make_vertex_router"]


def make_gemini_router() -> APIRouter:
    """The Developer API, to be mounted under a prefix of its own."""
    from .routers import gemini_router

    return gemini_router()


def make_vertex_router() -> APIRouter:
    """Vertex, to be mounted under a prefix of its own."""
    from .routers import vertex_router

    return vertex_router()
