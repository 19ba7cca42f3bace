"""Refusals as Google tells them: `{"error": {"code", "message", "status", "details"}}`."""

from __future__ import annotations

import math
from collections.abc import Mapping

from fastapi.responses import JSONResponse

from ...core import Json
from .. import Reason, Refusal

__all__ = ["error_of", "tell"]

STATUS_NAMES: Mapping[Reason, str] = {
    "invalid": "INVALID_ARGUMENT", "unauthenticated": "UNAUTHENTICATED",
    "forbidden": "PERMISSION_DENIED", "not_found": "NOT_FOUND", "conflict": "ABORTED",
    "too_large": "INVALID_ARGUMENT", "rate_limited": "RESOURCE_EXHAUSTED",
    "busy": "RESOURCE_EXHAUSTED", "timeout": "DEADLINE_EXCEEDED", "unavailable": "UNAVAILABLE",
    "unsupported": "INVALID_ARGUMENT", "internal": "INTERNAL",
}  # fmt: skip
RPC_CODES: Mapping[str, int] = {
    "CANCELLED": 1, "INVALID_ARGUMENT": 3, "DEADLINE_EXCEEDED": 4, "NOT_FOUND": 5,
    "PERMISSION_DENIED": 7, "RESOURCE_EXHAUSTED": 8, "ABORTED": 10, "INTERNAL": 13,
    "UNAVAILABLE": 14, "UNAUTHENTICATED": 16,
}  # fmt: skip
TYPES = "type.googleapis.com/google.rpc."


def tell(refusal: Refusal) -> JSONResponse:
    """The whole response."""
    seconds = refusal.retry_after_seconds
    headers = {} if seconds is None else {"retry-after": str(max(1, math.ceil(seconds)))}
    return JSONResponse({"error": error_of(refusal)}, refusal.status, headers)


def error_of(refusal: Refusal) -> dict[str, Json]:
    """The error itself, as it also stands in the middle of a stream."""
    error: dict[str, Json] = {
        "code": refusal.status,
        "message": f"{refusal.message}; {refusal.hint}" if refusal.hint else refusal.message,
        "status": STATUS_NAMES[refusal.reason],
    }
    details: list[Json] = []
    if refusal.param is not None and refusal.status == 400:
        violation = {"field": refusal.param, "description": refusal.message}
        details.append({"@type": f"{TYPES}BadRequest", "fieldViolations": [violation]})
    if refusal.retry_after_seconds is not None:
        delay = f"{max(0.0, refusal.retry_after_seconds):.3f}".rstrip("0").rstrip(".")
        details.append({"@type": f"{TYPES}RetryInfo", "retryDelay": f"{delay}s"})
    return {**error, "details": details} if details else error
