"""Our own code, called as a climb calls it: provider and model by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any, cast

from stepladder.catalogue import load_catalogue
from stepladder.core import Request, Response
from stepladder.models import ProviderSettings
from stepladder.registry import look_up

if TYPE_CHECKING:
    from stepladder.models.gemini.api import GeminiApi
    from stepladder.models.openai.batches import BatchingApi

KNOWN = load_catalogue(today=date(2026, 11, 22))


Ask = Callable[..., Sequence[Response]]


@contextmanager
def opened(name: str, **options: object) -> Iterator[Ask]:
    """A function that gives the answers of a model, in order; none of them may have failed."""
    provider_name = name.partition(":")[0]
    settings = ProviderSettings(provider_name, options=options, catalogue=KNOWN)
    provider = look_up("provider", provider_name)(settings)
    model = provider.model(name)

    def ask(*requests: Request) -> Sequence[Response]:
        answers = dict(model.generate(requests))
        ordered = [answers[place] for place in range(len(requests))]
        assert [one.error for one in ordered] == [None] * len(requests)
        return ordered

    try:
        yield ask
    finally:
        provider.close()


def ask(name: str, *requests: Request, **options: object) -> Sequence[Response]:
    """The answers of a model that is opened for them alone."""
    with opened(name, **options) as asked:
        return asked(*requests)


def gemini_api() -> GeminiApi:
    """The Developer API below the model: what keeps prefixes and runs batches."""
    from stepladder.models.gemini.api import GeminiApi
    from stepladder.models.gemini.client import developer_client

    return GeminiApi(ProviderSettings("gemini", catalogue=KNOWN), developer_client(30))


def vertex_api(project: str, bucket: object = None) -> GeminiApi:
    """The same of Vertex; batches go through `bucket`."""
    from stepladder.models.gemini.api import GeminiApi
    from stepladder.models.gemini.client import vertex_client

    client = vertex_client(project, "us-central1", 30)
    known = ProviderSettings("vertex", catalogue=KNOWN)
    return GeminiApi(known, client, lambda location: client, lambda: cast(Any, bucket))


def openai_api() -> BatchingApi:
    """OpenAI below the model, with its batch jobs."""
    from stepladder.models.openai import connect, find_endpoint
    from stepladder.models.openai.batches import BatchingApi

    endpoint = find_endpoint("openai")
    return BatchingApi(endpoint, connect(endpoint), KNOWN.facts)
