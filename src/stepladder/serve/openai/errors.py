"""A refusal in OpenAI's words: the envelope, its type and code, and when to come again.

Used by the application for whatever is raised, and by streams that fail after they began.
"""

from __future__ import annotations

import math

from fastapi.responses import JSONResponse, Response

from ...core import Json
from .. import Reason, Refusal

__all__ = ["error_body", "retry_headers", "tell"]

# (type, code) as OpenAI's clients know them; None where the service gives no code
NAMES: dict[Reason, tuple[str, str | None]] = {
    "invalid": ("invalid_request_error", None),
    "unsupported": ("invalid_request_error", "unsupported"),
    "unauthenticated": ("invalid_request_error", "invalid_api_key"),
    "forbidden": ("invalid_request_error", "insufficient_permissions"),
    "not_found": ("invalid_request_error", "not_found"),
    "conflict": ("invalid_request_error", "conflict"),
    "too_large": ("invalid_request_error", "request_too_large"),
    "rate_limited": ("requests", "rate_limit_exceeded"),
    "busy": ("server_error", "server_overloaded"),
    "timeout": ("server_error", "timeout"),
    "unavailable": ("server_error", "unavailable"),
    "internal": ("server_error", "internal_error"),
}


def tell(refusal: Refusal) -> Response:
    """The answer to a call that is refused."""
    return JSONResponse(
        error_body(refusal), status_code=refusal.status, headers=retry_headers(refusal)
    )


def error_body(refusal: Refusal) -> dict[str, Json]:
    """The envelope; the cure stands behind the message, which is what clients show."""
    kind, code = _names(refusal)
    message = f"{refusal.message}. {refusal.hint}" if refusal.hint else refusal.message
    error = {"message": message, "type": kind, "param": refusal.param, "code": code}
    return {"error": error}


def retry_headers(refusal: Refusal) -> dict[str, str]:
    """When to come again. The official clients wait so long, and not at all after "false"."""
    if refusal.retry_after_seconds is None:
        return {}
    seconds = max(0.0, refusal.retry_after_seconds)
    return {"retry-after": str(math.ceil(seconds)), "retry-after-ms": str(math.ceil(seconds * 1e3))}


def _names(refusal: Refusal) -> tuple[str, str | None]:
    detail = refusal.detail
    if detail == "context_length":
        return "invalid_request_error", "context_length_exceeded"
    if detail == "budget":
        return "insufficient_quota", "insufficient_quota"
    if refusal.reason == "not_found" and refusal.param == "model":
        return "invalid_request_error", "model_not_found"
    return NAMES[refusal.reason]
