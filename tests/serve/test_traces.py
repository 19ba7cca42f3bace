"""Traces and log lines: what they say, and that they say no content."""

from __future__ import annotations

import io
import json

import httpx2 as httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from stepladder.serve.log import LOGGER, set_up_log, without_key
from stepladder.serve.server import Server
from stepladder.serve.traces import Tracer, open_tracer, operation_of

pytestmark = pytest.mark.anyio
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CHAT = {"model": "fake", "messages": [{"role": "user", "content": "a private matter"}]}


@pytest.fixture
def spans(server: Server) -> InMemorySpanExporter:
    """What the server's tracer sends."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    server.tracer = Tracer(provider.get_tracer("test"), provider)
    return exporter


async def test_a_span_of_a_call(
    app_client: httpx.AsyncClient, server: Server, spans: InMemorySpanExporter
) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    answer = await app_client.post("/v1/chat/completions", json=CHAT, headers=headers)
    (span,) = spans.get_finished_spans()
    told = dict(span.attributes or {})
    usage = answer.json()["usage"]
    assert span.name == "chat fake"
    assert told["gen_ai.operation.name"] == "chat"
    assert told["gen_ai.request.model"] == "fake"
    assert told["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
    assert told["gen_ai.usage.output_tokens"] == usage["completion_tokens"]
    assert told["gen_ai.response.finish_reasons"] == ("stop",)
    assert span.parent is not None
    assert (format(span.context.trace_id, "032x"), format(span.parent.span_id, "016x")) == (
        TRACE, PARENT,
    )  # fmt: skip
    assert "private" not in span.to_json()
    record = server.database.served(answer.headers["x-request-id"])
    assert record is not None
    assert record.trace == TRACE


async def test_a_refused_call_has_a_span_with_an_error(
    app_client: httpx.AsyncClient, spans: InMemorySpanExporter
) -> None:
    await app_client.post("/v1/chat/completions", json={**CHAT, "model": "none"})
    (span,) = spans.get_finished_spans()
    assert span.status.status_code.name == "ERROR"
    assert (span.attributes or {})["error.type"] == "404"


@pytest.mark.parametrize(
    "wrong", ["", "00-1-2-01", f"00-{TRACE}-{PARENT}", "\xff", "00-" + "0" * 32]
)
async def test_a_broken_traceparent_is_nobodys(
    app_client: httpx.AsyncClient, spans: InMemorySpanExporter, wrong: str
) -> None:
    headers = {"traceparent": wrong.encode("latin-1")}
    answer = await app_client.post("/v1/chat/completions", json=CHAT, headers=headers)
    assert answer.status_code == 200
    assert spans.get_finished_spans()[0].parent is None


async def test_without_an_exporter_the_callers_trace_is_noted(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    answer = await app_client.post("/v1/chat/completions", json=CHAT, headers=headers)
    record = server.database.served(answer.headers["x-request-id"])
    assert record is not None
    assert record.trace == TRACE


async def test_an_endpoint_makes_an_exporter() -> None:
    tracer = open_tracer("http://127.0.0.1:9", version="1")
    span = tracer.begin("/v1/embeddings", "m", "openai", None)
    assert span.trace is not None
    tracer.close()


@pytest.mark.parametrize(
    ("route", "operation"),
    [("/v1/chat/completions", "chat"), ("/v1/completions", "text_completion"),
     ("/v1/embeddings", "embeddings"), ("generateContent", "generate_content"),
     ("streamGenerateContent", "generate_content"), ("batchEmbedContents", "embeddings")],
)  # fmt: skip
async def test_operations(route: str, operation: str) -> None:
    assert operation_of(route) == operation


@pytest.fixture
def log() -> io.StringIO:
    """What is logged."""
    return io.StringIO()


async def test_a_line_for_machines(app_client: httpx.AsyncClient, log: io.StringIO) -> None:
    set_up_log(None, log)  # this is no terminal
    answer = await app_client.post("/v1/chat/completions?key=sl-secret&a=b", json=CHAT)
    (line,) = log.getvalue().splitlines()
    told = json.loads(line)
    assert told["message"] == "POST /v1/chat/completions?key=...&a=b"
    assert (told["status"], told["id"]) == (200, answer.headers["x-request-id"])
    assert told["model"] == "fake"
    assert "private" not in line


async def test_a_line_for_people(app_client: httpx.AsyncClient, log: io.StringIO) -> None:
    set_up_log("text", log)
    await app_client.post("/v1/chat/completions", json={**CHAT, "model": "none"})
    (line,) = log.getvalue().splitlines()
    assert "POST /v1/chat/completions status=404" in line
    assert "error=no model is called 'none'" in line


async def test_one_line_is_one_line(app_client: httpx.AsyncClient, log: io.StringIO) -> None:
    set_up_log("text", log)
    await app_client.get("/v1/models/a%0Ab%1B%5B31m")
    assert len(log.getvalue().splitlines()) == 1
    assert "\x1b" not in log.getvalue()


async def test_keys_in_exceptions_are_hidden(log: io.StringIO) -> None:
    set_up_log("json", log)
    try:
        raise ValueError("the key sk-abcdefghijklmnopqrstuvwxyz123456 is wrong")
    except ValueError:
        LOGGER.exception("it failed")
    assert "abcdefghijklmnop" not in log.getvalue()
    assert "ValueError" in log.getvalue()


async def test_a_query_without_its_secrets() -> None:
    assert without_key(b"") == ""
    assert without_key(b"alt=sse&key=abc&upload_id=1&b=") == "?alt=sse&key=...&upload_id=...&b="
