"""Errors in the words of the protocol that was spoken."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import Scope

__all__ = ["error_response", "google_error", "openai_error", "speaks_openai"]

_GOOGLE = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: (
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login "
        "cookie or other valid authentication credential.",
    ),
    403: ("PERMISSION_DENIED", "The caller does not have permission."),
    404: ("NOT_FOUND", "Requested entity was not found."),
    429: ("RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
    500: ("INTERNAL", "An internal error has occurred."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
}
_OPENAI = {
    400: ("invalid_request_error", "The request is not valid.", None),
    401: ("invalid_request_error", "Incorrect API key provided.", "invalid_api_key"),
    403: ("invalid_request_error", "You may not do this with this key.", None),
    404: ("invalid_request_error", "There is no such thing.", "not_found"),
    429: ("requests", "Rate limit reached for requests.", "rate_limit_exceeded"),
    500: ("server_error", "The server had an error while processing your request.", None),
    503: ("server_error", "The engine is currently overloaded.", None),
}
_VERBS = ("generateContent", "streamGenerateContent", "countTokens", "batchGenerateContent")
_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel"


def error_response(
    scope: Scope,
    status: int,
    key: str = "",
    *,
    reason: str = "",
    wait_seconds: float | None = None,
    said: str = "",
) -> Response:
    """An error of the gate's; with a `key` its message repeats it, as careless services do."""
    if speaks_openai(scope):
        return _openai(status, key, reason, wait_seconds, said)
    return _google(scope, status, key, reason, wait_seconds, said)


def google_error(
    status: int,
    message: str,
    *,
    name: str = "",
    details: list[dict[str, Any]] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    error: dict[str, Any] = {
        "code": status,
        "message": message,
        "status": name or _GOOGLE.get(status, ("UNKNOWN", ""))[0],
    }
    if details:
        error["details"] = details
    return JSONResponse({"error": error}, status, headers)


def openai_error(
    status: int,
    message: str,
    *,
    kind: str = "",
    param: str | None = None,
    code: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    error = {
        "message": message,
        "type": kind or _OPENAI.get(status, _OPENAI[400])[0],
        "param": param,
        "code": code,
    }
    return JSONResponse({"error": error}, status, headers)


def _google(
    scope: Scope, status: int, key: str, reason: str, wait_seconds: float | None, said: str
) -> Response:
    developer = "/projects/" not in scope["path"]
    name, message = _GOOGLE[status]
    details: list[dict[str, Any]] = []
    if status == 401 and developer and reason == "missing":
        status, name = 403, "PERMISSION_DENIED"
        message = (
            "Method doesn't allow unregistered callers (callers without established identity). "
            "Please use API Key or other form of API consumer identity to call this API."
        )
    elif status == 401 and developer:
        # the Developer API calls a bad key an invalid argument
        status, name = 400, "INVALID_ARGUMENT"
        message = "API key expired. Please renew the API key."
        details.append(_info("API_KEY_INVALID"))
    elif status == 401:
        details.append(_info("ACCESS_TOKEN_EXPIRED"))
    elif status == 429:
        quota = _DAY if reason == "day" else _MINUTE
        message = f"You exceeded your current quota. Quota exceeded for quota id {quota}"
        if wait_seconds is not None:
            message += f". Please retry in {wait_seconds}s."
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{"quotaId": quota, "quotaValue": "60"}],
            }
        )
        if wait_seconds is not None:
            details.append(
                {
                    "@type": "type.googleapis.com/google.rpc.RetryInfo",
                    "retryDelay": f"{wait_seconds:g}s",
                }
            )
    headers = {} if wait_seconds is None else {"retry-after": f"{wait_seconds:g}"}
    return google_error(
        status, _with(said or message, key), name=name, details=details, headers=headers
    )


def _openai(status: int, key: str, reason: str, wait_seconds: float | None, said: str) -> Response:
    kind, message, code = _OPENAI[status]
    if reason == "day":
        kind, code = "insufficient_quota", "insufficient_quota"
        message = "You exceeded your current quota, please check your plan and billing details."
    headers = {}
    if wait_seconds is not None:
        headers = {
            "retry-after": f"{wait_seconds:g}",
            "retry-after-ms": f"{1000 * wait_seconds:g}",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": f"{wait_seconds:g}s",
        }
    return openai_error(status, _with(said or message, key), kind=kind, code=code, headers=headers)


def _info(reason: str) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    }


def _with(message: str, key: str) -> str:
    return f"{message} (key: {key})" if key else message


def speaks_openai(scope: Scope) -> bool:
    """Both protocols have /v1/models, files and batches: the credentials tell them apart."""
    path: str = scope["path"]
    if path.startswith(("/openai/", "/together/", "/fireworks/")):
        return True
    if not path.startswith("/v1/"):
        return False
    first, _, rest = path.removeprefix("/v1/").partition("/")
    if first in ("chat", "fine_tuning", "embeddings", "completions", "responses"):
        return True
    names = {name for name, _ in scope["headers"]}
    google = b"x-goog-api-key" in names or b"key=" in scope["query_string"]
    asks = rest.partition(":")[2] in _VERBS
    return first in ("models", "files", "batches") and not google and not asks
