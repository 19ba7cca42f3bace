"""The official SDK against the app, without sockets; its answers are held to the document."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2 as httpx
import pytest
from contract.captured import events
from contract.specs import Exchange
from contract.vendors import openai as document
from openai import AsyncOpenAI
from serving import fake_models

from stepladder.database import open_database
from stepladder.fake_live import FakeEngine
from stepladder.serve.app import create_app
from stepladder.serve.server import Server, assemble
from stepladder.serve.settings import ServeSettings

# where OpenAI's own answers depart from its document, and ours do as they do
BEYOND = (
    r"\('first_id', 'last_id' were unexpected\)",
    r"^\S+ /v1/\S+: \$\.(first|last)_id: None is not of type",
    r"^\S+ /v1/batches\S*: \$\S*: None is not of type",
    r"^\S+ /v1/fine_tuning/jobs\S*: \$\S*\.status: 'paused' is not one of",
    r"^POST /v1/embeddings: \$\.data\[\d+\]\.embedding: '[\w+/=]*' is not of type 'array'",
)
STREAMED = {
    "/v1/chat/completions": "CreateChatCompletionStreamResponse",
    "/v1/completions": "CreateCompletionResponse",
}
# of chunks only: the document takes the same form for them as for whole answers
BEYOND_CHUNKS = (r"\.finish_reason: None is not", r"\$\.usage: None is not")


@dataclass
class Watched(httpx.AsyncBaseTransport):
    """Hands requests to the app, and looks at every answer with 200."""

    inner: httpx.ASGITransport
    faults: list[str] = field(default_factory=list)
    seen: list[Exchange] = field(default_factory=list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self.inner.handle_async_request(request)
        content = await response.aread()
        path = request.url.raw_path.decode().removeprefix("/openai")
        kind = response.headers.get("content-type", "")
        if kind.startswith("application/json"):
            told = Exchange(request.method, path, None, response.status_code, json.loads(content))
            self.seen.append(told)
            if response.status_code == 200:
                self._look(told)
        elif kind.startswith("text/event-stream"):
            self._look_at_chunks(path, content.decode())
        return response

    def _look(self, told: Exchange) -> None:
        if "/content" in told.path:
            return
        for fault in document().faults_of_response(told):
            line = f"{told.method} {told.path}: {fault}"
            if not any(re.search(known, line) for known in BEYOND):
                self.faults.append(line)

    def _look_at_chunks(self, path: str, stream: str) -> None:
        assert stream.endswith("data: [DONE]\n\n") or '"error"' in stream
        for chunk in events(stream):
            if "error" in chunk:
                continue
            found = document().faults(STREAMED[path], chunk, "response")
            self.faults += [
                fault
                for fault in found
                if not any(re.search(known, fault) for known in BEYOND_CHUNKS)
            ]


@pytest.fixture
async def watched(server: Server) -> Watched:
    return Watched(httpx.ASGITransport(create_app(server)))


@pytest.fixture
async def http(watched: Watched) -> AsyncIterator[httpx.AsyncClient]:
    """Bare HTTP. Every answer with 200 that the test gets conforms to the official document."""
    async with httpx.AsyncClient(transport=watched, base_url="http://127.0.0.1") as client:
        yield client
    assert watched.faults == []


@pytest.fixture
async def sdk(http: httpx.AsyncClient) -> AsyncOpenAI:
    """The official client. Tests that take it are `async` and marked `anyio`."""
    options: dict[str, Any] = {"max_retries": 0}
    return AsyncOpenAI(
        api_key="sk-fake", base_url="http://127.0.0.1/v1", http_client=http, **options
    )


@dataclass(repr=False)
class LastingServer:
    """A server for requests that leave nothing behind which another test would see."""

    server: Server
    runner: asyncio.Runner
    watched: Watched

    def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Send one request, without sockets. What is answered with 200 conforms."""
        response = self.runner.run(self._send(method, path, **more))
        faults = [*self.watched.faults]
        self.watched.faults.clear()
        self.watched.seen.clear()
        assert faults == []
        return response

    def post(self, path: str, body: Any) -> httpx.Response:
        return self("POST", path, content=json.dumps(body))

    async def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        transport = Kept(self.watched)
        url = "http://127.0.0.1"
        async with httpx.AsyncClient(transport=transport, base_url=url) as client:
            return await client.request(method, path, **more)


@dataclass
class Kept(httpx.AsyncBaseTransport):
    """A transport that outlives its client."""

    inner: Watched

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self.inner.handle_async_request(request)


@pytest.fixture(scope="session")
def call(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LastingServer]:
    """One server for all tests that only ask; opening a database for each takes long."""
    folder = tmp_path_factory.mktemp("lasting")
    settings = ServeSettings(database=f"sqlite:///{folder / 'serve.db'}")
    database, engine = open_database(settings.database), FakeEngine()
    server = assemble(settings, fake_models(engine), database)
    with asyncio.Runner() as runner:
        yield LastingServer(server, runner, Watched(httpx.ASGITransport(create_app(server))))
    engine.close()
    database.close()
