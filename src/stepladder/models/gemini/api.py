"""The Developer API and Vertex as an `Api`: one call, a kept prefix, a batch, each by the SDK.

Conversions are in `request.py` and `response.py`, what errors mean in `errors.py`; concurrency,
retries and time limits are the pool's. Calls do not stream: an evaluation needs whole answers.

Never run against Google. What is sent is checked against Google's own machine-readable
descriptions and against traffic of the SDK; what comes back is as those and the documentation say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from threading import Lock

from google.genai.errors import UnknownApiResponseError

from ...core import Json, Message, Request, Response
from ...errors import ModelError
from ...storage import Bucket
from .. import ProviderSettings
from ..hosted.api import BatchState, Failure, PrefixCache
from .batch import DeveloperJobs, Jobs
from .batch_files import VertexJobs
from .cache import drop_prefix, location_of, write_prefix
from .client import Client
from .errors import explain
from .names import Named, read_name
from .quick import arguments
from .request import Asked, Traits, can_go_on, continued, to_asked
from .response import continuation_of, joined, to_response

__all__ = ["GeminiApi", "bucket_missing"]


class GeminiApi:
    """The service behind `gemini:` or `vertex:`. Thread-safe, as the SDK's clients are.

    `connect` makes a client for a location, since a tuned model answers where it was deployed;
    `bucket` opens where Vertex reads and writes batches.
    """

    def __init__(
        self,
        settings: ProviderSettings,
        client: Client,
        connect: Callable[[str], Client] | None = None,
        bucket: Callable[[], Bucket] | None = None,
    ) -> None:
        self._provider = settings.name
        self._catalogue = settings.catalogue
        self._folder = settings.folder
        self._connect = connect or (lambda location: client)
        self._bucket = bucket
        self._clients: dict[str | None, Client] = {None: client}
        self._lock = Lock()

    def send(self, model: str, request: Request, cache: PrefixCache | None) -> Response:
        named, traits = self._traits(model)
        asked = to_asked(request, traits, self._folder, cache)
        answers = [_ask(self._client(named.location), named.path, asked)]
        while (token := continuation_of(answers[-1])) and can_go_on():
            answers.append(_ask(self._client(named.location), named.path, continued(asked, token)))
        return to_response(joined(answers), request, traits.model)

    def explain(self, error: Exception) -> Failure:
        return explain(error, self._provider)

    def close(self) -> None:
        with self._lock:
            for client in self._clients.values():
                client.close()

    def write_cache(self, model: str, prefix: Sequence[Message], seconds: int) -> PrefixCache:
        named, traits = self._traits(model)
        client = self._client(named.location)
        return write_prefix(client, named, traits, prefix, seconds, self._folder)

    def drop_cache(self, cache: PrefixCache) -> None:
        drop_prefix(self._client(location_of(cache)), cache)

    def find_batch(self, model: str, label: str) -> str | None:
        named, _ = self._traits(model)
        return self._jobs().find(named, label)

    def submit_batch(self, model: str, requests: Sequence[Request], label: str) -> str:
        named, traits = self._traits(model)
        asked = [to_asked(request, traits, self._folder) for request in requests]
        return self._jobs().submit(named, asked, label)

    def poll_batch(self, model: str, job: str, requests: Sequence[Request]) -> BatchState:
        _, traits = self._traits(model)
        return self._jobs().poll(traits, job, requests)

    def cancel_batch(self, job: str) -> None:
        self._jobs().cancel(job)

    def _traits(self, model: str) -> tuple[Named, Traits]:
        named = read_name(self._provider, model)
        name = f"{self._provider}:{model}"
        return named, Traits(name, self._catalogue.facts(name), named.tuned)

    def _jobs(self) -> Jobs:
        client = self._client(None)
        if self._provider == "gemini":
            return DeveloperJobs(client)
        if self._bucket is None:
            raise bucket_missing()
        return VertexJobs(client, self._bucket)

    def _client(self, location: str | None) -> Client:
        with self._lock:
            if location is not None and location not in self._clients:
                self._clients[location] = self._connect(location)
            return self._clients[location]


def _ask(client: Client, model: str, asked: Asked) -> Json:
    """The service's answer as it wrote it."""
    contents, config = arguments(asked.contents, asked.config)
    answer = client.models.generate_content(model=model, contents=contents, config=config)
    body = answer.sdk_http_response.body if answer.sdk_http_response else None
    try:
        return json.loads(body or "")
    except ValueError as error:
        raise UnknownApiResponseError(f"not JSON: {error}") from error


def bucket_missing() -> ModelError:
    """The error for batches of Vertex that have nowhere to go."""
    return ModelError(
        "batches of 'vertex' go through a bucket, and none is named",
        hint="set bucket in [providers.vertex], or batch = false",
    )
