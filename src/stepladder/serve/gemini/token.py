"""`POST /token`: what a service account's file asks for a bearer token, where `token_uri` is here.

Only a server that is open to its own machine, without keys, gives one. The assertion is not looked
at and the token opens nothing: on such a server every call is allowed anyway. With keys the bearer
has to be a key, and this says so.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from .. import Refusal

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["router"]

router = APIRouter()
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LIFE_SECONDS = 3600
MOST_BYTES = 64 * 1024


@router.post("/token")
async def token(request: Request) -> Response:
    """A bearer token, as OAuth 2 gives them, or its error."""
    server: Server = request.app.state.server
    try:
        await server.keyring.caller(None)
    except Refusal:
        told = "this server has keys: send one of them as the bearer, in place of a token"
        return _error("unauthorized_client", told, 401)
    raw = await request.body()
    if len(raw) > MOST_BYTES:
        return _error("invalid_request", "the body is too long", 400)
    try:
        given = parse_qs(raw.decode("latin-1"), max_num_fields=20)
    except ValueError:
        return _error("invalid_request", "the body is no form", 400)
    if given.get("grant_type") != [GRANT]:
        return _error("unsupported_grant_type", f"the grant_type has to be {GRANT}", 400)
    if not given.get("assertion"):
        return _error("invalid_grant", "there is no assertion", 400)
    return JSONResponse({
        "access_token": f"local-{secrets.token_urlsafe(24)}",
        "token_type": "Bearer",
        "expires_in": LIFE_SECONDS,
    })  # fmt: skip


def _error(name: str, told: str, status: int) -> Response:
    return JSONResponse({"error": name, "error_description": told}, status)
