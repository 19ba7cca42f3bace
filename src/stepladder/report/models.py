"""Which models can be named in task.toml, and what is known of their prices."""

from __future__ import annotations

from datetime import date

from ..core import Json
from ..cost import Prices
from ..models.local.weights import EMBEDDED

__all__ = ["models_record", "models_text"]


def models_record(prices: Prices) -> list[dict[str, Json]]:
    """The embedded models, then every model that has a price, with the date the price was read."""
    here: list[dict[str, Json]] = [
        {
            "model": f"local:{name}",
            "licence": package.licence,
            "input_dollars_per_million": None,
            "output_dollars_per_million": None,
            "read_on": None,
            "runs": "on this machine, by the hour",
        }
        for name, package in EMBEDDED.items()
    ]
    return here + [
        {
            "model": price.model,
            "licence": None,
            "input_dollars_per_million": price.input,
            "output_dollars_per_million": price.output,
            "read_on": price.read_on.isoformat(),
            "runs": "hosted; this version has prices only and cannot call it yet",
        }
        for price in prices.tokens
        if price.since <= date.today() and not price.above_input_tokens
    ]


def models_text(record: list[dict[str, Json]]) -> str:
    """One line a model."""
    lines = [f"{'model':38} {'$/1M in':>8} {'$/1M out':>9}  {'price of':10}  runs"]
    for one in record:
        dollars = [one["input_dollars_per_million"], one["output_dollars_per_million"]]
        shown = ["-" if value is None else f"{value:g}" for value in dollars]
        when = one["read_on"] or "-"
        lines.append(f"{one['model']:38} {shown[0]:>8} {shown[1]:>9}  {when:10}  {one['runs']}")
    lines.append("local: also takes a folder in Hugging Face layout, or a model-hub id")
    return "\n".join(lines)
