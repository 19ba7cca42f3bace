"""What the exceptions of the `openai` SDK mean for the call that raised them; pure but for a clock.

Recognised by class, status and code, not by the wording, except where a service says a thing in
words only. A message is redacted before it leaves this file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from ..hosted.api import Failure
from .answer import NotACompletion
from .endpoints import Endpoint

__all__ = ["explain_failure", "wait_told"]

Redact = Callable[[str], str]

NO_MONEY = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
NO_MODEL = {"model_not_found", "DeploymentNotFound", "model_not_available"}
FOR_ALL = {"unsupported_parameter", "unsupported_value", "unknown_parameter"}
TOO_LONG = re.compile(
    r"context[ _]?(length|window|size)|maximum context|too many tokens|prompt is too long", re.I
)
OVERLOADED = re.compile(r"overload|capacity|too busy|loading model", re.I)
DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:([\d.]+)s)?(?:([\d.]+)ms)?")
TRY_AGAIN = re.compile(
    r"(?:try again|retry) (?:in|after) ((?:[\d.]+(?:ms|[dhms]))+|[\d.]+(?= seconds?\b))", re.I
)
LONGEST_MESSAGE = 400
CUT = NotACompletion | json.JSONDecodeError | UnicodeDecodeError  # a success that cannot be read


def explain_failure(
    error: Exception, endpoint: Endpoint, url: str, redact: Redact, now: datetime | None = None
) -> Failure:
    """What may be done about `error`; `url` is where the endpoint was looked for.

    An exception that is not of the SDK is raised again.
    """
    import openai

    said = _said(error, redact)
    if isinstance(error, openai.APIStatusError):
        return _of_status(error, endpoint, said, now or datetime.now(UTC))
    if isinstance(error, openai.APITimeoutError):
        began = _cause(error) not in ("ConnectTimeout", "PoolTimeout")
        said = f"{endpoint.name} did not answer in time"
        return Failure(said, retry=True, maybe_billed=began, unreached=not began)
    if isinstance(error, openai.APIConnectionError):
        return _of_connection(error, endpoint, url, redact)
    if isinstance(error, CUT | openai.APIResponseValidationError):
        return Failure(f"{endpoint.name}: {said}", retry=True, maybe_billed=True)
    if isinstance(error, openai.OpenAIError):
        return Failure(f"{endpoint.name}: {type(error).__name__}: {said}", fatal=True)
    raise error  # a bug of ours keeps its traceback


def _of_status(error: Any, endpoint: Endpoint, said: str, now: datetime) -> Failure:
    status, code = error.status_code, _code(error)
    message = f"{endpoint.name} answered {status}: {said}"
    if code in NO_MONEY or error.type in NO_MONEY or status == 402:
        return Failure(message, fatal=True, hint="add credit or raise the limit at the service")
    if status == 429:
        wait = wait_told(error.response.headers, said, now)
        return Failure(message, retry=True, throttled=True, wait_seconds=wait)
    if status in (401, 403) and not _flagged(error):
        return Failure(message, fatal=True, hint=f"check the key in {endpoint.key_env}")
    if code in NO_MODEL or status == 404:
        return Failure(
            message, fatal=True, hint="check the model's name, and whether you may use it"
        )
    if code == "context_length_exceeded" or (status in (400, 413, 422) and TOO_LONG.search(said)):
        return Failure(message, hint="the request is longer than the model takes: shorten it")
    if status in (408, 409, 425):
        return Failure(message, retry=True, maybe_billed=status == 408)
    if status >= 500:
        return _of_server(status, message, error.response.headers, now)
    return Failure(message, fatal=code in FOR_ALL)


def _of_server(status: int, message: str, headers: Mapping[str, str], now: datetime) -> Failure:
    if status in (501, 505):
        return Failure(message, fatal=True)
    return Failure(
        message,
        retry=True,
        throttled=status in (503, 529) or OVERLOADED.search(message) is not None,
        wait_seconds=wait_told(headers, "", now),
        maybe_billed=status in (502, 504, 524),  # a gateway gave up; the work may have been done
    )


def _of_connection(error: Exception, endpoint: Endpoint, url: str, redact: Redact) -> Failure:
    kind = _cause(error)
    why = redact(str(error.__cause__ or error))
    if kind in ("UnsupportedProtocol", "InvalidURL", "LocalProtocolError"):
        return Failure(f"{url!r} cannot be asked: {why}", fatal=True, hint=_where(endpoint))
    if kind == "ConnectError":
        certificate = "CERTIFICATE_VERIFY_FAILED" in why
        message = f"no connection to {endpoint.name} at {url!r}: {why}"
        hint = _where(endpoint)
        return Failure(message, not certificate, fatal=certificate, unreached=True, hint=hint)
    message = f"the connection to {endpoint.name} broke: {kind or type(error).__name__} {why}"
    return Failure(message.strip(), retry=True, maybe_billed=True)


def _where(endpoint: Endpoint) -> str:
    told = f" {endpoint.base_url_env} says where it is." if endpoint.base_url_env else ""
    return f"Is it running and reachable?{told}"


def wait_told(headers: Mapping[str, str], said: str, now: datetime) -> float | None:
    """Seconds to wait as the service told them, in a header or in words; None when it did not."""
    told = [_milliseconds(headers.get("retry-after-ms")), _after(headers.get("retry-after"), now)]
    for wait in told:
        if wait is not None:
            return wait
    waits = [
        wait
        for what in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{what}") == "0"
        and (wait := _duration(headers.get(f"x-ratelimit-reset-{what}"))) is not None
    ]
    if waits:
        return max(waits)
    plain = _reset(headers.get("x-ratelimit-reset"), now)
    if plain is not None:
        return plain
    match = TRY_AGAIN.search(said)
    return _duration(match[1]) if match else None


def _milliseconds(value: str | None) -> float | None:
    seconds = _number(value)
    return None if seconds is None else seconds / 1000


def _after(value: str | None, now: datetime) -> float | None:
    """`Retry-After`: seconds, or a date."""
    if value is None:
        return None
    seconds = _number(value)
    if seconds is not None:
        return seconds
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - now).total_seconds())


def _reset(value: str | None, now: datetime) -> float | None:
    """`X-RateLimit-Reset`: seconds from now, or the moment in seconds or milliseconds."""
    number = _number(value)
    if number is None:
        return _duration(value)
    moment = number / 1000 if number > 1e11 else number
    return max(0.0, moment - now.timestamp()) if moment > 1e9 else number


def _duration(value: str | None) -> float | None:
    """`1h2m3.5s`, `120ms` or plain seconds."""
    number = _number(value)
    if number is not None or not value:
        return number
    match = DURATION.fullmatch(value.strip())
    if match is None or not any(match.groups()):
        return None
    try:
        days, hours, minutes, seconds, thousandths = (float(part or 0) for part in match.groups())
    except ValueError:
        return None
    total = days * 86400 + hours * 3600 + minutes * 60 + seconds + thousandths / 1000
    return total if total < float("inf") else None


def _number(value: str | None) -> float | None:
    """A finite number that is not negative."""
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < float("inf") else None


def _said(error: Exception, redact: Redact) -> str:
    """The service's own words, without the SDK's around them, on one line.

    Keys are hidden before it is cut short: half a key at the end would be known to nobody as one.
    """
    body = getattr(error, "body", None)
    words = body.get("message") if isinstance(body, Mapping) else None
    text = " ".join(redact(str(words or error)).split())
    return text if len(text) <= LONGEST_MESSAGE else f"{text[: LONGEST_MESSAGE - 1]}…"


def _code(error: Any) -> str:
    inner = error.body.get("innererror") if isinstance(error.body, Mapping) else None
    return str(error.code or (inner.get("code") if isinstance(inner, Mapping) else "") or "")


def _flagged(error: Any) -> bool:
    """OpenRouter's 403 for one input that its moderation refused; others of the run may pass."""
    told = error.body.get("metadata") if isinstance(error.body, Mapping) else None
    return isinstance(told, Mapping) and "reasons" in told


def _cause(error: Exception) -> str:
    return type(error.__cause__).__name__ if error.__cause__ is not None else ""
