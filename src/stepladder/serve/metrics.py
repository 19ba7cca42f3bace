"""What Prometheus is told. Labels are names that the server chose, never what a caller sent.

A registry of the server's own: nothing is shared with other programs of the process, and two
servers in one process do not collide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ..database.records import Served
from ..registry import need
from . import ModelCard

__all__ = ["Meters"]

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Meters:
    """The server's metrics. `ask` gives what is only counted when it is asked for."""

    def __init__(self) -> None:
        prometheus = need("prometheus_client", extra="serve", what="serving metrics")
        self.registry = prometheus.CollectorRegistry(auto_describe=False)
        kept = {"registry": self.registry, "namespace": "stepladder"}
        self.requests = prometheus.Counter(
            "http_requests", "Requests by route and status.", ("route", "status"), **kept
        )
        self.calls = prometheus.Counter(
            "calls", "Calls to models by model and status.", ("model", "status"), **kept
        )
        self.seconds = prometheus.Histogram(
            "call_seconds", "From the call to its last token.", ("model",), buckets=SECONDS, **kept
        )
        self.first_seconds = prometheus.Histogram(
            "first_token_seconds", "From the call to its first token.", ("model",),
            buckets=SECONDS, **kept,
        )  # fmt: skip
        self.tokens = prometheus.Counter(
            "tokens", "Tokens by model and kind.", ("model", "kind"), **kept
        )
        self.dollars = prometheus.Counter(
            "dollars", "Dollars of calls whose price is known.", ("model",), **kept
        )
        self.refused = prometheus.Counter(
            "refused_calls", "Refusals by reason.", ("reason",), **kept
        )
        self._prometheus = prometheus
        self._kept = kept

    def count(self, record: Served, card: ModelCard | None) -> None:
        """Count a call that is over; one to a model that is not served has no name here."""
        model = card.name if card is not None else ""
        self.calls.labels(model, str(record.status)).inc()
        if card is None:
            return
        self.seconds.labels(model).observe(record.seconds)
        if record.first_seconds is not None:
            self.first_seconds.labels(model).observe(record.first_seconds)
        for kind, tokens in (
            ("input", record.input_tokens),
            ("output", record.output_tokens),
            ("cached", record.cached_tokens),
        ):
            if tokens:
                self.tokens.labels(model, kind).inc(tokens)
        if record.dollars:
            self.dollars.labels(model).inc(record.dollars)

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """A gauge that is read when the metrics are."""
        self._prometheus.Gauge(name, about, **self._kept).set_function(value)

    def watch_each(
        self, name: str, about: str, label: str, values: Callable[[], Mapping[str, float]]
    ) -> None:
        """A gauge for each of the names that `values` gives when the metrics are read."""
        from prometheus_client.core import GaugeMetricFamily

        class Each:
            def describe(self) -> Iterable[GaugeMetricFamily]:
                return []

            def collect(self) -> Iterable[GaugeMetricFamily]:
                family = GaugeMetricFamily(f"stepladder_{name}", about, labels=[label])
                for key, value in values().items():
                    family.add_metric([key], value)
                yield family

        self.registry.register(Each())

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        written: bytes = self._prometheus.generate_latest(self.registry)
        return written
