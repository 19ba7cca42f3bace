"""Models behind OpenAI's protocol: OpenAI itself, services that speak it, and servers of your own.

    endpoints.py .. who speaks it, where, and with which accent (`endpoints.toml`)
    client.py ..... the SDK's client, with nothing in it that is meant for another service
    body.py ....... a request as the JSON that is sent; turns.py its messages, strict.py its schema
    answer.py ..... the JSON that comes back as a response
    failures.py ... what an exception means
    api.py ........ all of these as the seam that `hosted/` works with
    batches.py .... and many requests as a job at half the price

Nothing here retries, waits or counts money.
"""

from __future__ import annotations

from typing import Any

from ...core import Model
from ...errors import ModelError
from .. import Provider, ProviderSettings
from ..hosted.keys import find_key, key
from ..hosted.options import read_options
from .api import OpenAIApi
from .batches import BatchingApi
from .client import READ_SECONDS, open_client
from .endpoints import Endpoint, address, check_encrypted, load_endpoints

__all__ = ["OpenAIProvider", "connect", "find_endpoint", "open_provider"]


def open_provider(settings: ProviderSettings) -> Provider:
    """The provider `settings.name`: an endpoint that comes with stepladder, or the user's own.

    Raises:
        TaskError: The task file says something of it that it cannot, such as an address or a key.
        ModelError: There is no such endpoint, or its address or key is not set.
        MissingExtra: The package `openai` is not installed.
    """
    options = read_options(settings)
    endpoint = find_endpoint(settings.name)
    seconds = min(READ_SECONDS, options.limits.deadline_seconds)
    client = connect(endpoint, read_seconds=seconds)
    kind = BatchingApi if endpoint.batches else OpenAIApi
    api = kind(endpoint, client, settings.catalogue.facts, settings.folder)
    return OpenAIProvider(settings, api)


def find_endpoint(name: str) -> Endpoint:
    """The endpoint called `name`; raises ModelError with the known names."""
    known = load_endpoints()
    if name not in known:
        raise ModelError(
            f"no endpoint is called {name!r}", hint=f"known: {', '.join(sorted(known))}"
        )
    return known[name]


def connect(endpoint: Endpoint, *, read_seconds: float = READ_SECONDS) -> Any:
    """An `openai.OpenAI` for the endpoint, with the address and key that the user has set.

    Raises:
        ModelError: The address or the key is not set, or the key would travel unencrypted.
        MissingExtra: The package `openai` is not installed.
    """
    url = address(endpoint)
    wanted = find_key if endpoint.key_optional else key
    found = wanted(endpoint.name, [endpoint.key_env]) if endpoint.key_env else None
    if found is not None:
        check_encrypted(endpoint, url)
    return open_client(endpoint, url, found, read_seconds=read_seconds)


class OpenAIProvider:
    """Gives the models of one endpoint; they share its connections."""

    def __init__(self, settings: ProviderSettings, api: OpenAIApi) -> None:
        self._settings = settings
        self._api = api
        self._models: dict[str, Model] = {}

    def model(self, name: str) -> Model:
        """The model called `provider:name`; whether the service has it shows when it is asked."""
        from ..hosted.model import HostedModel

        if name not in self._models:
            if not name.partition(":")[2]:
                raise ModelError(f"{name!r} names no model", hint=f"write {name}NAME")
            self._models[name] = HostedModel(name, self._api, self._settings)
        return self._models[name]

    def close(self) -> None:
        """Close the connections."""
        self._api.close()
