"""The SDK's clients: with whose key, for which project, at which address.

Keys and addresses come from the environment or the keyring, never from a task folder, which may be
somebody else's. Of a task's options only the project and the location get here, and since the SDK
makes a host name of the location, both are checked to be nothing else. Retries are the pool's;
redirects are not followed, since the HTTP client would take the key along.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

import google.auth
import google.auth.exceptions
import google.auth.transport.requests
import google.oauth2.credentials
from google import genai
from google.auth.transport import mtls
from google.genai import types

from ...errors import ModelError
from ..hosted.keys import find_key, key, redact
from ..hosted.quick_http import quick_client

__all__ = [
    "ANSWER_SECONDS", "Client", "developer_client", "vertex_client", "vertex_http", "vertex_place",
]  # fmt: skip

GEMINI_ADDRESS = "GOOGLE_GEMINI_BASE_URL"
VERTEX_ADDRESS = "GOOGLE_VERTEX_BASE_URL"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_PROJECT = re.compile(r"[a-z0-9][a-z0-9.:_-]{1,61}[a-z0-9]|[0-9]{1,20}")
_LOCATION = re.compile(r"[a-z]+(-[a-z0-9]+)*")
_CONNECT_SECONDS = 15.0
ANSWER_SECONDS = 300.0  # for one try; what is not answered then is asked again


class Client(genai.Client):
    """The SDK's client, which closes the HTTP client that it was given as well."""

    def __init__(self, http_options: types.HttpOptions, **arguments: Any) -> None:
        super().__init__(http_options=http_options, **arguments)
        self._given = http_options.httpx_client

    def close(self) -> None:
        super().close()
        if self._given is not None:
            self._given.close()


def developer_client(seconds: float, http: Mapping[str, Any] | None = None) -> Client:
    """A client of the Developer API; one call may take so many seconds.

    `http` is added to the arguments of the HTTP client. Raises ModelError when there is no key.
    """
    address = _address(GEMINI_ADDRESS)
    found = key("gemini", ("GOOGLE_API_KEY", "GEMINI_API_KEY"))  # of two, the one Google prefers
    return Client(
        vertexai=False,  # whatever GOOGLE_GENAI_USE_VERTEXAI says
        api_key=found,
        http_options=_http_options(address, seconds, http),
    )


def vertex_client(
    project: str, location: str, seconds: float, http: Mapping[str, Any] | None = None
) -> Client:
    """A client of Vertex for one project and location; raises ModelError without credentials."""
    address = _address(VERTEX_ADDRESS)
    check_place(project, location)
    return Client(
        vertexai=True,
        # Both must be given here: with an address of one's own the SDK drops what it finds in the
        # environment, and then calls no path at all.
        project=project,
        location=location,
        credentials=_credentials(address),
        http_options=_http_options(address, seconds, http),
    )


def vertex_http(region: str, seconds: float) -> Any:
    """An HTTP client for what the SDK has no call for, with its credentials and at its address.

    It is given paths, and sends them nowhere else. Raises ModelError without credentials.
    """
    address = _address(VERTEX_ADDRESS)
    options = _http_options(address, seconds, None)
    credentials = _credentials(address)
    renew = google.auth.transport.requests.Request()

    def sign(request: Any) -> Any:
        credentials.before_request(renew, request.method, str(request.url), request.headers)
        return request

    return _http().Client(
        base_url=address or f"https://{region}-aiplatform.googleapis.com",
        auth=sign,
        timeout=seconds,
        **(options.client_args or {}),
    )


def vertex_place(options: Mapping[str, Any]) -> tuple[str, str]:
    """Project and location, from the task's options, the environment or Google's own settings."""
    project = options.get("project") or os.environ.get("GOOGLE_CLOUD_PROJECT") or _own_project()
    location = options.get("location") or os.environ.get("GOOGLE_CLOUD_LOCATION") or "global"
    check_place(str(project), str(location))
    return str(project), str(location)


def check_place(project: str, location: str) -> None:
    """Raise ModelError unless the two are names, and nothing that changes where calls go."""
    if not _PROJECT.fullmatch(project):
        raise ModelError(
            f"{project!r} is not the id of a Google Cloud project",
            hint="set 'project' in [providers.vertex], or GOOGLE_CLOUD_PROJECT",
        )
    if not _LOCATION.fullmatch(location):
        raise ModelError(
            f"{location!r} is not a location of Google Cloud",
            hint="'global', 'us', 'eu' or a region such as 'us-central1'",
        )


def _http_options(
    address: str | None, seconds: float, http: Mapping[str, Any] | None
) -> types.HttpOptions:
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    arguments = {
        "follow_redirects": False,
        "event_hooks": {"request": [_bound_connecting]},
        "limits": _no_limits(),
        "trust_env": not (address and _is_loopback(address)),  # no proxy sees what stays here
        **(http or {}),
    }
    if _own_certificate():  # which the SDK alone knows to show
        client = None
    else:
        encrypted = not address or urlsplit(address).scheme == "https"
        client = quick_client(_http(), encrypted=encrypted, **arguments)
        arguments = {"verify": nobody}
    # The SDK reads the system's certificates, 40 ms each time, for each of three ways to call. Two
    # of them are asynchronous and not used here; the third has a client of its own.
    return types.HttpOptions(
        base_url=address,
        timeout=round(seconds * 1000),
        httpx_client=client,
        client_args=arguments,
        async_client_args={"ssl": nobody},
    )


def _own_certificate() -> bool:
    """Whether the environment says that calls show a certificate of their own (mutual TLS)."""
    told = getattr(mtls, "should_use_client_cert", None)
    return bool(told and told())


def _no_limits() -> Any:
    """As many connections as there are calls: how many those are is decided in the pool."""
    return _http().Limits(max_connections=None, max_keepalive_connections=None)


def _http() -> Any:
    """The package that the SDK speaks HTTP with: either, by its version."""
    return import_module("httpx2" if genai.__version__ >= "3" and find_spec("httpx2") else "httpx")


def _bound_connecting(request: Any) -> None:
    """Connecting takes seconds or fails; only the answer may take as long as the whole call."""
    allowed = request.extensions.get("timeout")
    if allowed and (allowed.get("connect") or _CONNECT_SECONDS) >= _CONNECT_SECONDS:
        request.extensions["timeout"] = {**allowed, "connect": _CONNECT_SECONDS}


def _address(variable: str) -> str | None:
    """The address that the environment gives instead of Google's; only loopback may be http."""
    address = os.environ.get(variable)
    if not address:
        return None
    if urlsplit(address).scheme != "https" and not _is_loopback(address):
        raise ModelError(
            f"{variable} is {redact(address)!r}, over which a key could be read on its way",
            hint="use an https address, or one on this machine",
        )
    return address


def _is_loopback(address: str) -> bool:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return False
    try:
        return ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        return parts.hostname == "localhost"


def _credentials(address: str | None) -> Any:
    """Google's default credentials; a server on this machine may be given any token instead."""
    if token := _local_token(address):
        return google.oauth2.credentials.Credentials(token=token)  # type: ignore[no-untyped-call]
    return _default()[0]


def _local_token(address: str | None) -> str | None:
    """A token that was set for a server on this machine, and is sent nowhere else."""
    if not address or not _is_loopback(address):
        return None
    return find_key("vertex", ["GOOGLE_OAUTH_ACCESS_TOKEN"])


def _own_project() -> str:
    """The project that comes with the credentials."""
    project = None if _local_token(_address(VERTEX_ADDRESS)) else _default()[1]
    if not project:
        raise ModelError(
            "nothing says which Google Cloud project the calls to 'vertex' belong to",
            hint="set 'project' in [providers.vertex], or GOOGLE_CLOUD_PROJECT",
        )
    return project


def _default() -> tuple[Any, str | None]:
    try:
        found: tuple[Any, str | None] = google.auth.default(scopes=[_SCOPE])
        return found
    except google.auth.exceptions.GoogleAuthError as error:
        raise ModelError(
            f"no Google credentials for 'vertex': {redact(str(error))}",
            hint="sign in with 'gcloud auth application-default login', or name a service "
            "account's key file in GOOGLE_APPLICATION_CREDENTIALS",
        ) from error
