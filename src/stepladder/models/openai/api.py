"""`Api` and `BatchApi` over a service that speaks OpenAI's protocol: one call each, no retries."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...catalogue import ModelFacts
from ...core import Json, Request, Response
from ..hosted.api import Failure, PrefixCache
from ..hosted.keys import redact
from .answer import NotACompletion, read_answer
from .body import chat_body
from .client import spoken
from .endpoints import Endpoint
from .failures import explain_failure

__all__ = ["OpenAIApi"]

Facts = Callable[[str], ModelFacts | None]


class OpenAIApi:
    """One endpoint through one SDK client; a service's own prefix caching needs nothing from us."""

    def __init__(
        self, endpoint: Endpoint, client: Any, facts: Facts, folder: Path | None = None
    ) -> None:
        import openai

        self._endpoint = endpoint
        self._client = client
        self._facts = facts
        self._folder = folder
        # Whole: of a path alone the SDK makes an address for each call, taking its own one apart.
        self._url = str(client.base_url).rstrip("/") + "/chat/completions"
        self._raw = spoken(openai).Response  # what the SDK gives the answer as, if told this type

    def send(self, model: str, request: Request, cache: PrefixCache | None) -> Response:
        """One call; raises what the SDK raises, and ModelError for what cannot be asked here.

        By the SDK's way for any path: it takes the JSON as it is and gives that of the answer. Its
        own function for chats looks through each message and builds its types of the answer, for
        longer than all the rest of a call takes.
        """
        name = f"{self._endpoint.name}:{model}"
        body = self.body(model, request)
        answer = self._client.post(self._url, body=body, cast_to=self._raw)
        try:
            completion = json.loads(answer.content)
        except ValueError as error:
            raise NotACompletion("the answer is not JSON") from error
        return read_answer(completion, name, request, self._endpoint)

    def body(self, model: str, request: Request) -> dict[str, Json]:
        """The JSON that `send` posts to `/chat/completions`; see `body.chat_body`."""
        facts = self._facts(f"{self._endpoint.name}:{model}")
        return chat_body(self._endpoint, model, request, facts, self._folder)

    def explain(self, error: Exception) -> Failure:
        return explain_failure(error, self._endpoint, str(self._client.base_url), redact)

    def close(self) -> None:
        self._client.close()
