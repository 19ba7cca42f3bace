"""The Developer API and Vertex as an `Api`: one call, a kept prefix, a batch, each by the SDK.

Conversions are in `request.py` and `response.py`, what errors mean in `errors.py`; concurrency,
retries and time limits are the pool's. Calls do not stream: an evaluation needs whole answers.

Never run against Google. What is sent is checked against Google's own machine-readable
descriptions and against traffic of the SDK; what comes back is as those and the documentation say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock

from google.genai.errors import UnknownApiResponseError

from ...catalogue import Catalogue
from ...core import Message, Request, Response
from ...errors import ModelError
from ..hosted.api import BatchState, Failure, PrefixCache
from .batch import cancel_job, find_job, poll_job, submit_job
from .cache import drop_prefix, location_of, write_prefix
from .client import Client
from .errors import explain
from .names import Named, read_name
from .request import Traits, to_asked
from .response import to_response

__all__ = ["GeminiApi"]


class GeminiApi:
    """The service behind `gemini:` or `vertex:`. Thread-safe, as the SDK's clients are.

    `connect` makes a client for a location, since a tuned model answers where it was deployed.
    `folder` is where the files are that messages name.
    """

    def __init__(
        self,
        provider: str,
        client: Client,
        catalogue: Catalogue,
        folder: Path | None = None,
        connect: Callable[[str], Client] | None = None,
    ) -> None:
        self._provider = provider
        self._catalogue = catalogue
        self._folder = folder
        self._connect = connect or (lambda location: client)
        self._clients: dict[str | None, Client] = {None: client}
        self._lock = Lock()

    def send(self, model: str, request: Request, cache: PrefixCache | None) -> Response:
        named, traits = self._traits(model)
        asked = to_asked(request, traits, self._folder, cache)
        client = self._client(named.location)
        try:
            answer = client.models.generate_content(
                model=named.path, contents=list(asked.contents), config=asked.config
            )
        except (AttributeError, KeyError, TypeError) as error:  # the SDK's way with other JSON
            raise UnknownApiResponseError(f"not of the form of an answer: {error}") from error
        return to_response(answer, request, traits.model)

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
        return find_job(self._batch_client(named), named, label)

    def submit_batch(self, model: str, requests: Sequence[Request], label: str) -> str:
        named, traits = self._traits(model)
        asked = [to_asked(request, traits, self._folder) for request in requests]
        return submit_job(self._batch_client(named), named, asked, label)

    def poll_batch(self, model: str, job: str, requests: Sequence[Request]) -> BatchState:
        named, traits = self._traits(model)
        return poll_job(self._batch_client(named), traits, job, requests)

    def cancel_batch(self, job: str) -> None:
        cancel_job(self._client(None), job)

    def _traits(self, model: str) -> tuple[Named, Traits]:
        named = read_name(self._provider, model)
        name = f"{self._provider}:{model}"
        return named, Traits(name, self._catalogue.facts(name), named.tuned)

    def _batch_client(self, named: Named) -> Client:
        if self._provider != "gemini":
            raise ModelError(
                "batches of 'vertex' go through a bucket, which is not supported yet",
                hint="set batch = false in [providers.vertex], or use the provider 'gemini'",
            )
        return self._client(named.location)

    def _client(self, location: str | None) -> Client:
        with self._lock:
            if location is not None and location not in self._clients:
                self._clients[location] = self._connect(location)
            return self._clients[location]
