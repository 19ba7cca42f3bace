"""The real `openai` SDK over a transport in memory: what it would send, and canned answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from stepladder.catalogue import ModelFacts
from stepladder.models.openai.api import OpenAIApi
from stepladder.models.openai.batches import BatchingApi
from stepladder.models.openai.client import open_client
from stepladder.models.openai.endpoints import load_endpoints

KEY = "sk-of-a-test-0123456789"
NOWHERE = Path("/nonexistent/endpoints.toml")

Reply = Callable[[httpx2.Request], httpx2.Response]


def completion(text: str | None = "yes", finish: str = "stop", **more: Any) -> dict[str, Any]:
    """A chat completion as OpenAI sends it; `more` goes into the message."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None, **more},
                "logprobs": None,
                "finish_reason": finish,
            }
        ],
        "usage": {
            "prompt_tokens": 12,
            "completion_tokens": 5,
            "total_tokens": 17,
            "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 3},
        },
    }


@dataclass
class Wire:
    """What was sent, and what comes back: `reply` is a function, a JSON body or an exception."""

    reply: Reply | Mapping[str, Any] | Exception = field(default_factory=completion)
    sent: list[httpx2.Request] = field(default_factory=list)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        self.sent.append(request)
        if isinstance(self.reply, Exception):
            raise self.reply
        if callable(self.reply):
            return self.reply(request)
        return httpx2.Response(200, json=dict(self.reply))

    @property
    def body(self) -> dict[str, Any]:
        """The JSON of the last request."""
        read: dict[str, Any] = json.loads(self.sent[-1].content)
        return read


def api_over(
    wire: Wire,
    name: str = "openai",
    facts: Mapping[str, ModelFacts] | None = None,
    folder: Path | None = None,
    url: str | None = None,
) -> Any:
    """The endpoint's `Api` with the real SDK, talking to `wire`."""
    endpoint = load_endpoints(NOWHERE)[name]
    http_client = httpx2.Client(transport=httpx2.MockTransport(wire))
    url = url or endpoint.base_url or "https://of-a-test.openai.azure.com/openai/v1"
    client = open_client(endpoint, url, KEY, http_client=http_client)
    kind = BatchingApi if endpoint.batches else OpenAIApi
    return kind(endpoint, client, (facts or {}).get, folder)
