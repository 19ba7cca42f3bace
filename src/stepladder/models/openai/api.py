"""`Api` and `BatchApi` over a service that speaks OpenAI's protocol: one call each, no retries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...catalogue import ModelFacts
from ...core import Json, Request, Response
from ..hosted.api import Failure, PrefixCache
from ..hosted.keys import redact
from .answer import NotACompletion, read_answer
from .body import chat_body
from .endpoints import Endpoint
from .failures import explain_failure

__all__ = ["OpenAIApi"]

# OpenAI's own parameters; what a service has besides passes through the SDK's `extra_body`
PARAMETERS = {
    "logprobs", "max_completion_tokens", "max_tokens", "messages", "model", "reasoning_effort",
    "response_format", "seed", "stop", "temperature", "tools",
}  # fmt: skip

Facts = Callable[[str], ModelFacts | None]


class OpenAIApi:
    """One endpoint through one SDK client; a service's own prefix caching needs nothing from us."""

    def __init__(
        self, endpoint: Endpoint, client: Any, facts: Facts, folder: Path | None = None
    ) -> None:
        self._endpoint = endpoint
        self._client = client
        self._facts = facts
        self._folder = folder

    def send(self, model: str, request: Request, cache: PrefixCache | None) -> Response:
        """One call; raises what the SDK raises, and ModelError for what cannot be asked here."""
        name = f"{self._endpoint.name}:{model}"
        body = self.body(model, request)
        known = {key: value for key, value in body.items() if key in PARAMETERS}
        extra = {key: value for key, value in body.items() if key not in PARAMETERS}
        completion = self._client.chat.completions.create(**known, extra_body=extra or None)
        if not hasattr(completion, "to_dict"):  # the SDK gives what is not JSON as text
            raise NotACompletion("the answer is not JSON")
        return read_answer(completion.to_dict(), name, request, self._endpoint)

    def body(self, model: str, request: Request) -> dict[str, Json]:
        """The JSON that `send` posts to `/chat/completions`; see `body.chat_body`."""
        facts = self._facts(f"{self._endpoint.name}:{model}")
        return chat_body(self._endpoint, model, request, facts, self._folder)

    def explain(self, error: Exception) -> Failure:
        return explain_failure(error, self._endpoint, str(self._client.base_url), redact)

    def close(self) -> None:
        self._client.close()
