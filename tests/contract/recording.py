"""What the real SDKs send and get, seen where it leaves the process: at the HTTP transport.

That is the package's own or, for plain calls, the connections of our client below the SDK. Nothing
above it is replaced, so what is recorded is what would go out. Without `answers`, calls go on to
where they were meant, the local test service; with them, nothing leaves the process.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from stepladder.models.hosted.quick_http import Connections

from .captured import form_fields
from .specs import Exchange, Json, Spec, UnknownCall
from .vendors import openai, spec_of

Answers = Callable[[str, str, Json], Json]  # (method, path, body) -> body of the answer

# what the SDKs speak HTTP with: before and after they moved
TRANSPORTS = ("httpx2", "httpx")


@dataclass
class Recorded:
    """All exchanges in the order in which their answers came, with the host they went to."""

    exchanges: list[Exchange] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)

    def calls(self) -> list[tuple[str, str]]:
        """Method and path of each, without the query."""
        return [(one.method, one.path.partition("?")[0]) for one in self.exchanges]

    def bodies(self, ending: str) -> list[Json]:
        """What was sent to paths that end so."""
        return [one.body for one in self.exchanges if one.path.partition("?")[0].endswith(ending)]


@contextmanager
def recording(
    monkeypatch: pytest.MonkeyPatch, answers: Answers | None = None
) -> Iterator[Recorded]:
    """Everything that SDKs send while this is open."""
    recorded = Recorded()
    with monkeypatch.context() as patch:
        for name in TRANSPORTS:
            try:
                client = importlib.import_module(name)
            except ImportError:
                continue
            transport = client.HTTPTransport
            seen = _seen(transport.handle_request, recorded, answers)
            patch.setattr(transport, "handle_request", seen)
        patch.setattr(Connections, "send", _seen(Connections.send, recorded, answers))
        yield recorded


def _seen(send: Callable[..., Any], recorded: Recorded, answers: Answers | None) -> Any:
    """`send`, a method that is given a request, recorded or answered."""

    def handle_request(transport: Any, request: Any) -> Any:
        raw, path = request.read(), request.url.raw_path.decode("ascii")
        body = _body(request.headers.get("content-type", ""), raw)
        if answers is not None:
            status, headers = 200, {"content-type": "application/json"}
            content = json.dumps(answers(request.method, path, body)).encode()
        else:
            response = send(transport, request)
            content = response.read()
            status = response.status_code
            headers = {
                key: value
                for key, value in response.headers.items()
                if key not in ("content-encoding", "content-length", "transfer-encoding")
            }
        answer = _body(headers.get("content-type", ""), content)
        recorded.exchanges.append(Exchange(request.method, path, body, status, answer))
        recorded.hosts.append(request.url.host)
        client = importlib.import_module(type(request).__module__.partition(".")[0])
        return client.Response(status, headers=headers, content=content, request=request)

    return handle_request


def _body(content_type: str, raw: bytes) -> Json:
    if not raw:
        return None
    if content_type.startswith("multipart/"):
        return form_fields(content_type, raw)
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode("utf-8", "replace")


def faults_of(
    exchange: Exchange, *, speaks_openai: bool = False, with_answer: bool = False
) -> list[str]:
    """In which a call departs from its document; `with_answer`, also what it was answered."""
    spec: Spec = openai() if speaks_openai else spec_of(exchange.path)
    try:
        faults = spec.faults_of_request(exchange)
    except UnknownCall as error:
        return [str(error)]
    if with_answer and exchange.status == 200:
        faults += [f"answer {fault}" for fault in spec.faults_of_response(exchange)]
    return [f"{exchange.method} {exchange.path}: {fault}" for fault in faults]
