"""Services whose jobs go through an SDK of their own: its client, and what its errors mean.

The SDKs of Together and Fireworks come from the generator that OpenAI's comes from, so their errors
mean what OpenAI's of the same name mean. An SDK reads settings from the environment besides those
that it is given; here it gets the user's key and address for this service, and retries nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pydantic import ValidationError

from ..models.hosted.api import Failure
from ..models.hosted.keys import key, redact
from ..models.openai.endpoints import Endpoint, address, check_encrypted, is_loopback
from ..models.openai.failures import explain_failure
from .service import ServiceFailed

__all__ = ["call", "key_and_address", "open_sdk_client", "refused", "wait_until"]

Result = TypeVar("Result")

CALL_SECONDS = 120.0  # a call about a job; the job itself takes hours
CONNECT_SECONDS = 10.0
READ_ROWS_SECONDS = 600.0  # the service looks at uploaded rows for so long before we stop asking
LOOK_SECONDS = 2.0


def key_and_address(endpoint: Endpoint) -> tuple[str, str]:
    """The key from the environment or the keyring, and the address it may be sent to.

    Raises ModelError when there is none, or when the key would travel unencrypted.
    """
    url = address(endpoint)
    found = key(endpoint.name, [endpoint.key_env])
    check_encrypted(endpoint, url)
    return found, url


def open_sdk_client(kind: Any, sdk: Any, api_key: str, url: str, **more: Any) -> Any:
    """A client `kind` of the SDK for this address; it does not retry."""
    http_client = None
    if is_loopback(urlsplit(url).hostname or ""):
        http_client = sdk.DefaultHttpxClient(trust_env=False)  # no proxy for this machine
    return kind(
        api_key=api_key,
        base_url=url,
        max_retries=0,
        timeout=sdk.Timeout(CALL_SECONDS, connect=CONNECT_SECONDS),
        http_client=http_client,
        **more,
    )


def call(what: Callable[[], Result], endpoint: Endpoint, sdk: Any, url: str) -> Result:
    """What a call gives; ServiceFailed when it fails. Our own bugs are raised as they are."""
    try:
        return what()
    except ServiceFailed:
        raise
    except Exception as error:  # the SDK raises many kinds
        raise ServiceFailed(_explained(error, endpoint, sdk, url)) from error


def wait_until(ready: Callable[[], bool], what: str, sleep: Callable[[float], None]) -> None:
    """Look until `ready`; ServiceFailed, to be tried again, when that takes too long."""
    for _ in range(int(READ_ROWS_SECONDS / LOOK_SECONDS)):
        if ready():
            return
        sleep(LOOK_SECONDS)
    raise ServiceFailed(Failure(what, retry=True))


def _explained(error: Exception, endpoint: Endpoint, sdk: Any, url: str) -> Failure:
    if isinstance(error, ValidationError):  # some answers are checked, those of uploads for one
        what = f"{endpoint.name}: {sdk.__name__} {sdk.__version__} cannot read the service's answer"
        return Failure(what, fatal=True, maybe_billed=True, hint="install another version of it")
    meant = _as_openai(error, sdk)
    if meant is None and isinstance(error, sdk.APIError.__base__):  # what all of the SDK's are
        return Failure(f"{endpoint.name}: {redact(str(error))}", fatal=True)
    return explain_failure(meant or error, endpoint, url, redact)


def _as_openai(error: Exception, sdk: Any) -> Exception | None:
    """The exception of OpenAI's SDK that means the same; None where there is none."""
    import openai

    meant: Exception
    if isinstance(error, sdk.APIStatusError):
        said: Any = error
        meant = openai.APIStatusError(said.message, response=said.response, body=_unpacked(error))
    elif isinstance(error, sdk.APITimeoutError):
        meant = openai.APITimeoutError(error.request)
    elif isinstance(error, sdk.APIConnectionError):
        meant = openai.APIConnectionError(message=str(error), request=error.request)
    elif isinstance(error, sdk.APIResponseValidationError):
        meant = openai.APIResponseValidationError(error.response, error.body, message=str(error))
    else:
        return None
    meant.__cause__ = error.__cause__
    return meant


def _unpacked(error: Any) -> Any:
    """The body of an answer without the envelope `{"error": ...}`, if it came in one."""
    body = error.body
    inner = body.get("error") if isinstance(body, dict) else None
    return {"message": inner} if isinstance(inner, str) else inner or body


def refused(endpoint: Endpoint, why: str, hint: str = "") -> ServiceFailed:
    """What a service, or its SDK in its place, will not do however often it is asked."""
    return ServiceFailed(Failure(f"{endpoint.name}: {redact(why)}", fatal=True, hint=hint))
