"""A client of the `openai` SDK for an endpoint, and nothing of another endpoint's in it.

The SDK reads OpenAI's own settings from the environment for whatever address it is given. Here they
reach the provider `openai` alone: a key, an organisation or a header that is meant for one service
is never sent to another.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from ...registry import need
from .endpoints import Endpoint, is_loopback

__all__ = ["READ_SECONDS", "open_client", "spoken"]

CONNECT_SECONDS = 10.0
READ_SECONDS = 300.0  # until the whole answer is there
OPENAI = "openai"
NO_KEY = "none"  # the SDK insists on one; a server without keys ignores it


def open_client(
    endpoint: Endpoint,
    url: str,
    key: str | None,
    *,
    read_seconds: float = READ_SECONDS,
    http_client: Any = None,
) -> Any:
    """An `openai.OpenAI` for `url`, safe to use from many threads; it does not retry.

    Raises:
        MissingExtra: The package `openai` or `httptools` is not installed.
    """
    openai = need("openai", extra="openai", what=f"the provider {endpoint.name!r}")
    if http_client is None:
        need("httptools", extra="openai", what=f"the provider {endpoint.name!r}")
        from ..hosted.quick_http import quick_client

        parts = urlsplit(url)
        http_client = quick_client(
            spoken(openai),
            encrypted=parts.scheme == "https",
            trust_env=not is_loopback(parts.hostname or ""),  # no proxy for this machine
            follow_redirects=True,  # as the SDK's own does
        )
    client = openai.OpenAI(
        api_key=key or NO_KEY,
        base_url=url,
        max_retries=0,
        timeout=openai.Timeout(read_seconds, connect=CONNECT_SECONDS),
        default_headers=_withheld(endpoint, key or NO_KEY, openai.Omit()),
        http_client=http_client,
    )
    if endpoint.name != OPENAI:
        client.organization = None
        client.project = None
    client.admin_api_key = None
    return client


def spoken(openai: Any) -> Any:
    """The package that the SDK speaks HTTP with: either, by its version."""
    package = openai.DefaultHttpxClient.__bases__[0].__module__.partition(".")[0]
    return import_module(package)


def _withheld(endpoint: Endpoint, key: str, omit: Any) -> dict[str, Any]:
    """The user's extra headers for OpenAI taken out again, where another is asked."""
    ambient = os.environ.get("OPENAI_CUSTOM_HEADERS", "")
    if endpoint.name == OPENAI or not ambient:
        return {}
    names = [line.partition(":")[0].strip() for line in ambient.split("\n") if ":" in line]
    withheld: dict[str, Any] = {name: omit for name in names if name.lower() != "authorization"}
    return withheld | {"Authorization": f"Bearer {key}"}
