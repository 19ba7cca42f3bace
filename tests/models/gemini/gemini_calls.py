"""The real SDK with a transport that answers by function, so that its own bytes are seen."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest

genai = pytest.importorskip("google.genai")

from stepladder.catalogue import Catalogue, ModelFacts  # noqa: E402
from stepladder.models import ProviderSettings  # noqa: E402
from stepladder.models.gemini.api import GeminiApi  # noqa: E402
from stepladder.models.gemini.client import developer_client, vertex_client  # noqa: E402

# what the SDK speaks HTTP with: it moved with its third version
HTTP = importlib.import_module("httpx2" if genai.__version__ >= "3" else "httpx")
KEY = "key-of-the-test-0123456789"
TOKEN = "token-of-the-test-0123456789"
ENDPOINT = "projects/p-1/locations/us/endpoints/5"

Answer = Callable[[Any], Any]  # of a request: the JSON of a success, or a whole response


def ok(request: Any = None) -> dict[str, Any]:
    """The least that the SDK takes for an answer, with its usage."""
    return {
        "candidates": [{"content": {"parts": [{"text": "ok"}]}, "finishReason": "STOP"}],
        "usageMetadata": {
            "promptTokenCount": 12, "candidatesTokenCount": 3, "totalTokenCount": 15,
        },
    }  # fmt: skip


@dataclass
class Wire:
    """Where the SDK's requests arrive; `answer` may be changed between calls."""

    answer: Answer = ok
    requests: list[Any] = field(default_factory=list)

    def __call__(self, request: Any) -> Any:
        self.requests.append(request)
        answer = self.answer(request)
        return answer if isinstance(answer, HTTP.Response) else HTTP.Response(200, json=answer)

    @property
    def body(self) -> dict[str, Any]:
        """What was sent last, as JSON."""
        return json.loads(self.requests[-1].content)

    @property
    def path(self) -> str:
        return self.requests[-1].url.path


def facts(model: str, **known: Any) -> ModelFacts:
    return ModelFacts(model, date(2026, 11, 1), "a test", **known)


KNOWN = Catalogue(
    models=(
        facts("gemini:plain"),
        facts("gemini:confident", logprobs=True),
        facts("gemini:budget", thinking="budget", least_thinking=0, output_tokens=65_536),
        facts("gemini:pro", thinking="budget", least_thinking=128),
        facts("gemini:level", thinking="level", least_thinking="minimal", output_tokens=65_536),
        facts("gemini:low", thinking="level", least_thinking="low"),
        facts("gemini:formless", schema=False),
        facts("vertex:base", thinking="level", least_thinking="minimal"),
    )
)


def developer(wire: Wire, catalogue: Catalogue = KNOWN, folder: Path | None = None) -> GeminiApi:
    """The Developer API, with a key of its own."""
    with pytest.MonkeyPatch.context() as patch:
        clean(patch)
        patch.setenv("GEMINI_API_KEY", KEY)
        client = developer_client(60, {"transport": HTTP.MockTransport(wire)})
    return GeminiApi(ProviderSettings("gemini", catalogue=catalogue, folder=folder), client)


def vertex(wire: Wire, catalogue: Catalogue = KNOWN, location: str = "us-central1") -> GeminiApi:
    """Vertex as it is behind an address on this machine, with a token of its own."""

    def connect(place: str) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            clean(patch)
            patch.setenv("GOOGLE_VERTEX_BASE_URL", "http://127.0.0.1:1")
            patch.setenv("GOOGLE_OAUTH_ACCESS_TOKEN", TOKEN)
            return vertex_client("p-1", place, 60, {"transport": HTTP.MockTransport(wire)})

    settings = ProviderSettings("vertex", catalogue=catalogue)
    return GeminiApi(settings, connect(location), connect)


def clean(patch: pytest.MonkeyPatch) -> None:
    """No setting of the user's own reaches a test."""
    for name in (
        "GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL", "GOOGLE_VERTEX_BASE_URL",
        "GOOGLE_OAUTH_ACCESS_TOKEN", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION",
        "GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_ENTERPRISE", "GOOGLE_GENAI_API_VERSION",
        "GOOGLE_APPLICATION_CREDENTIALS",
    ):  # fmt: skip
        patch.delenv(name, raising=False)
