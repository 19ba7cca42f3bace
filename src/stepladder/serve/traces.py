"""A span per call to a model, for OpenTelemetry: who answered, how long, how many tokens.

Names are those of its conventions for generative AI. No content, no key. Without an endpoint in the
settings nothing is traced, and only the caller's own trace id is noted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..database.records import Served
from ..registry import need

__all__ = ["Span", "Tracer", "open_tracer", "operation_of", "trace_of"]

TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Span:
    """A span under way; `own` is OpenTelemetry's, None where nothing is traced."""

    trace: str | None
    own: Any = None


class Tracer:
    """Makes spans where there is an exporter; hands the caller's trace id on in any case."""

    def __init__(self, tracer: Any = None, provider: Any = None) -> None:
        self._tracer = tracer
        self._provider = provider

    def begin(self, route: str, model: str, protocol: str, traceparent: str | None) -> Span:
        """Begin a span, under the caller's where the request came with one."""
        theirs = trace_of(traceparent)
        if self._tracer is None:
            return Span(theirs)
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        context = None
        if theirs is not None:
            context = TraceContextTextMapPropagator().extract({"traceparent": traceparent})
        operation = operation_of(route)
        own = self._tracer.start_span(
            f"{operation} {model}",
            context=context,
            kind=SpanKind.SERVER,
            attributes={
                "gen_ai.operation.name": operation,
                "gen_ai.provider.name": "stepladder",
                "gen_ai.request.model": model,
                "stepladder.protocol": protocol,
            },
        )
        return Span(format(own.get_span_context().trace_id, "032x"), own)

    def end(self, span: Span, record: Served) -> None:
        """End it with what the record says, short of content."""
        own = span.own
        if own is None:
            return
        from opentelemetry.trace import Status, StatusCode

        own.set_attributes({name: value for name, value in _told(record) if value is not None})
        if record.status >= 400:
            own.set_status(Status(StatusCode.ERROR))
        own.end()

    def close(self) -> None:
        """Send what is left."""
        if self._provider is not None:
            self._provider.shutdown()


def trace_of(traceparent: str | None) -> str | None:
    """The trace id of a W3C `traceparent` header; None where there is none that can be read."""
    match = TRACEPARENT.fullmatch(traceparent) if traceparent is not None else None
    return match[1] if match is not None else None


def operation_of(route: str) -> str:
    """The convention's name of what a route does."""
    low = route.lower()
    if "embed" in low or "predict" in low:
        return "embeddings"
    if "generatecontent" in low:
        return "generate_content"
    return "chat" if "chat" in low else "text_completion"


def _told(record: Served) -> list[tuple[str, Any]]:
    return [
        ("gen_ai.response.id", record.id),
        ("gen_ai.response.model", record.version or record.model),
        ("gen_ai.usage.input_tokens", record.input_tokens),
        ("gen_ai.usage.output_tokens", record.output_tokens),
        ("gen_ai.response.finish_reasons", [record.finish] if record.finish else None),
        ("gen_ai.response.time_to_first_chunk", record.first_seconds),
        ("http.response.status_code", record.status),
        ("error.type", str(record.status) if record.status >= 400 else None),
    ]


def open_tracer(endpoint: str | None, *, version: str) -> Tracer:
    """The tracer that sends to `endpoint` by OTLP over HTTP; raises MissingExtra."""
    if endpoint is None:
        return Tracer()
    extra: Mapping[str, str] = {"extra": "telemetry", "what": "sending traces"}
    exporter = need("opentelemetry.exporter.otlp.proto.http.trace_exporter", **extra)
    sdk = need("opentelemetry.sdk.trace", **extra)
    batching = need("opentelemetry.sdk.trace.export", **extra)
    resources = need("opentelemetry.sdk.resources", **extra)
    resource = resources.Resource.create({"service.name": "stepladder", "service.version": version})
    provider = sdk.TracerProvider(resource=resource)
    url = endpoint.rstrip("/")
    url = url if url.endswith("/v1/traces") else f"{url}/v1/traces"
    provider.add_span_processor(
        batching.BatchSpanProcessor(exporter.OTLPSpanExporter(endpoint=url))
    )
    return Tracer(provider.get_tracer("stepladder.serve", version), provider)
