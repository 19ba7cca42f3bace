"""The body of a Google call, read as JSON and then by the form that it should have."""

from __future__ import annotations

from fastapi import Request

from ...core import Json
from ..bodies import read_json
from .forms import Form

__all__ = ["read_body", "read_raw"]


async def read_body(request: Request, form: Form) -> Json:
    """The body as `form` reads it; no body at all is an empty object."""
    return form(await read_raw(request), "")


async def read_raw(request: Request) -> Json:
    """The body as it is; no body at all is an empty object."""
    raw = await request.body()
    return read_json(raw) if raw.strip() else {}
