"""Calls of the Gemini protocols for tests: paths, bodies, and a client for tests that wait."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx2 as httpx
from anyio.from_thread import start_blocking_portal

from stepladder.core import Json
from stepladder.serve.app import create_app
from stepladder.serve.server import Server

GOOGLE = {"x-goog-api-key": "fake", "x-goog-api-client": "google-genai-sdk/3.4.0"}
PROJECT = "/v1beta1/projects/p/locations/us-central1"
DEVELOPER = "/v1beta/models/fake"
VERTEX = f"{PROJECT}/publishers/google/models/fake"
BOTH = (DEVELOPER, VERTEX)


def said(text: str, role: str = "user") -> dict[str, Json]:
    return {"role": role, "parts": [{"text": text}]}


def body(text: str = "hello", **more: Json) -> dict[str, Json]:
    """A request to say `text`: the fake model says the last user's turn back."""
    return {"contents": [said(text)], **more}


def configured(text: str = "hello", **config: Json) -> dict[str, Json]:
    return body(text, generationConfig=config)


class Caller:
    """Sends from a test that is not asynchronous."""

    def __init__(self, client: httpx.AsyncClient, portal: Any) -> None:
        self._client = client
        self._portal = portal

    def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {**GOOGLE, **more.pop("headers", {})}
        call = partial(self._client.request, method, path, headers=headers, **more)
        response: httpx.Response = self._portal.call(call)
        return response

    def post(self, path: str, body: Json) -> httpx.Response:
        return self.send("POST", path, json=body)


@contextmanager
def calling(server: Server) -> Iterator[Caller]:
    """A caller of the server's app, without sockets."""
    with start_blocking_portal() as portal:
        transport = httpx.ASGITransport(create_app(server), raise_app_exceptions=False)
        client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")
        yield Caller(client, portal)
        portal.call(client.aclose)


def text_of(answer: Mapping[str, Json], index: int = 0) -> str:
    parts = answer["candidates"][index]["content"]["parts"]
    return "".join(part.get("text", "") for part in parts)
