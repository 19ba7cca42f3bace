"""What an exception of the SDK means: may the call be made again, when, and was it paid for.

The forms are those of Google's error model (`google.rpc.ErrorInfo`, `RetryInfo`, `QuotaFailure`).
Google says that calls which end in an error status are not billed; what is unsure is a call whose
answer was lost on its way, and one that a gateway gave up on. Nothing of this was ever seen from
Google itself: the texts and details are those of its documentation and of public bug reports.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from json import JSONDecodeError
from typing import Any

import google.auth.exceptions
from google.genai import errors
from pydantic import ValidationError

from ...core import Json
from ...errors import StepladderError
from ..hosted.api import Failure
from ..hosted.keys import redact

__all__ = ["explain"]

_CREDENTIALS = {
    "gemini": "set GEMINI_API_KEY to a key that is valid for the Gemini API",
    "vertex": "sign in with 'gcloud auth application-default login', or name a service account's "
    "key file in GOOGLE_APPLICATION_CREDENTIALS",
}
_REASONS = {  # of google.rpc.ErrorInfo; all of them hold for every other call as well
    "SERVICE_DISABLED": "enable the API for the project in the Google Cloud console",
    "BILLING_DISABLED": "enable billing for the project in the Google Cloud console",
    "IAM_PERMISSION_DENIED": "give the account the role 'Vertex AI User' in the project",
    "API_KEY_SERVICE_BLOCKED": "the key's restrictions forbid this API: use another key",
    "CONSUMER_SUSPENDED": "the project is suspended: see the Google Cloud console",
}
_BAD_CREDENTIALS = {
    "API_KEY_INVALID", "ACCESS_TOKEN_EXPIRED", "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
    "ACCESS_TOKEN_TYPE_UNSUPPORTED", "CREDENTIALS_MISSING", "ACCOUNT_STATE_INVALID",
}  # fmt: skip
_ADDRESSES = {
    "gemini": "check the network, and the address if GOOGLE_GEMINI_BASE_URL is set",
    "vertex": "check the network and the location in [providers.vertex], which is a part of the "
    "service's address; or that address if GOOGLE_VERTEX_BASE_URL is set",
}
_RETRY = {408, 409, 425, 499, 500, 502, 503, 504}
_UNSURE = {502, 504}  # given up on half-way, by a gateway or at a deadline
_OF_ONE_REQUEST = re.compile(r"\bfile\b|cached ?content", re.IGNORECASE)
_LONGEST = 400  # characters of a service's message that are kept


def _utc() -> datetime:
    return datetime.now(UTC)


def explain(
    error: Exception, provider: str = "gemini", now: Callable[[], datetime] = _utc
) -> Failure:
    """What `error` means; one that neither the SDK nor the network raises is raised again."""
    if isinstance(error, StepladderError):
        return Failure(redact(error.message), hint=redact(error.hint))
    if isinstance(error, errors.APIError):
        return _answered(error, provider, now)
    if isinstance(error, google.auth.exceptions.GoogleAuthError):
        return _unsigned(error, provider)
    if isinstance(error, _transport("TransportError")):
        return _broken(error, _ADDRESSES.get(provider, ""))
    if isinstance(error, _transport("DecodingError")):
        return Failure(f"an answer cannot be read: {_told(error)}", retry=True, maybe_billed=True)
    if isinstance(error, errors.UnknownApiResponseError | JSONDecodeError | ValidationError):
        return Failure(f"an answer cannot be read: {_told(error)}", retry=True, maybe_billed=True)
    if isinstance(error, ValueError):  # the SDK refuses the call before it sends it
        return Failure(f"the SDK cannot make this call: {_told(error)}")
    raise error


def _answered(error: errors.APIError, provider: str, now: Callable[[], datetime]) -> Failure:
    """The service answered with a status that is not success."""
    details = list(_details(error))
    reason = next((d["reason"] for d in details if isinstance(d.get("reason"), str)), "")
    message = _short(f"{error.code} {error.status or ''}: {_message(error)}")
    if reason in _BAD_CREDENTIALS or error.code == 401:
        return Failure(message, fatal=True, hint=_CREDENTIALS.get(provider, ""))
    if reason in _REASONS:
        return Failure(message, fatal=True, hint=_REASONS[reason])
    if error.code == 429:
        return _throttled(message, details, error, now)
    if error.code in _RETRY:
        wait = _wait(details, error, now)
        throttled = error.code == 503  # "overloaded": fewer calls are what helps
        unsure = error.code in _UNSURE
        return Failure(message, True, throttled, wait_seconds=wait, maybe_billed=unsure)
    return _refused(message, error, provider)


def _refused(message: str, error: errors.APIError, provider: str) -> Failure:
    """A status that the same call would get again."""
    of_one_request = bool(_OF_ONE_REQUEST.search(_message(error)))
    if error.code == 404 and not of_one_request:
        hint = "see which models there are with 'stepladder models'"
        if provider == "vertex":
            hint += "; not every location has each, and [providers.vertex] says which is asked"
        return Failure(message, fatal=True, hint=hint)
    if error.code == 403 and not of_one_request:
        return Failure(message, fatal=True, hint=_CREDENTIALS.get(provider, ""))
    if error.status == "FAILED_PRECONDITION" and not of_one_request:
        hint = "the project cannot use this model as it is: region, billing or an agreement"
        return Failure(message, fatal=True, hint=hint)
    if 300 <= (error.code or 0) < 400:
        hint = "a redirect is not followed, so that no key leaves for another address"
        return Failure(message, fatal=True, hint=hint)
    answered_well = 200 <= (error.code or 0) < 300  # the SDK takes no success but 200
    return Failure(message, maybe_billed=answered_well)


def _throttled(
    message: str,
    details: list[Mapping[str, Json]],
    error: errors.APIError,
    now: Callable[[], datetime],
) -> Failure:
    quotas = [quota for detail in details for quota in _quotas(detail)]
    named = f" [{', '.join(quotas)}]" if quotas else ""
    if any("PerDay" in quota for quota in quotas):
        hint = "the day's quota is used up: ask for more, or go on tomorrow with the same command"
        return Failure(message + named, throttled=True, fatal=True, hint=hint)
    wait = _wait(details, error, now)
    return Failure(message + named, retry=True, throttled=True, wait_seconds=wait)


def _unsigned(error: google.auth.exceptions.GoogleAuthError, provider: str) -> Failure:
    """The call was not made: its credentials could not be had."""
    passing = isinstance(error, google.auth.exceptions.TransportError) or error.retryable
    message = f"Google credentials cannot be used: {_told(error)}"
    hint = _CREDENTIALS.get(provider, "")
    unreached = isinstance(error, google.auth.exceptions.TransportError)
    return Failure(message, bool(passing), fatal=not passing, unreached=unreached, hint=hint)


def _broken(error: Exception, hint: str) -> Failure:
    """The connection failed, or the time was up."""
    unsent = _transport("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError")
    if isinstance(error, _transport("UnsupportedProtocol", "LocalProtocolError")):
        return Failure(_told(error), fatal=True, hint=hint)
    if isinstance(error, unsent + _transport("WriteError", "WriteTimeout")):
        distrusted = "CERTIFICATE_VERIFY_FAILED" in str(error)
        message = f"the service was not reached: {_told(error)}"
        return Failure(message, not distrusted, fatal=distrusted, unreached=True, hint=hint)
    return Failure(
        f"the connection broke before the answer was there: {_told(error)}",
        retry=True,
        maybe_billed=True,
    )


def _transport(*names: str) -> tuple[type[Exception], ...]:
    """The classes of these names in whichever HTTP package the SDK was built on."""
    modules = [sys.modules[name] for name in ("httpx2", "httpx") if name in sys.modules]
    return tuple(getattr(module, name) for module in modules for name in names)


def _details(error: errors.APIError) -> Iterator[Mapping[str, Json]]:
    body = error.details
    body = body.get("error", body) if isinstance(body, Mapping) else {}
    details = body.get("details") if isinstance(body, Mapping) else None
    for detail in details if isinstance(details, list) else []:
        if isinstance(detail, Mapping):
            yield detail


def _quotas(detail: Mapping[str, Json]) -> Iterator[str]:
    violations = detail.get("violations")
    for violation in violations if isinstance(violations, list) else []:
        if isinstance(violation, Mapping):
            name = violation.get("quotaId") or violation.get("subject")
            if isinstance(name, str):
                yield name


def _wait(
    details: list[Mapping[str, Json]], error: errors.APIError, now: Callable[[], datetime]
) -> float | None:
    """How long the service asks to be left alone: RetryInfo, or else Retry-After."""
    for detail in details:
        delay = detail.get("retryDelay")
        if isinstance(delay, str) and (found := re.fullmatch(r"(\d+(?:\.\d+)?)s", delay)):
            return float(found[1])
    headers: Any = getattr(error.response, "headers", None) or {}
    after = str(headers.get("retry-after") or "")
    if re.fullmatch(r"\d+(\.\d+)?", after):
        return float(after)
    try:
        return max(0.0, (parsedate_to_datetime(after) - now()).total_seconds())
    except (TypeError, ValueError):  # no header, or one of another form
        return None


def _message(error: errors.APIError) -> str:
    return str(error.message or error.details or "no message")


def _told(error: Exception) -> str:
    return _short(str(error) or type(error).__name__)


def _short(text: str) -> str:
    """One line without secrets; of a key that is cut off in its middle none is recognised."""
    text = " ".join(redact(text).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
