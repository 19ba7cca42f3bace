"""The few pieces that all charts are built from: Vega-Lite encodings, layers and marks as data.

A colour written as '@name' is taken from the page's style sheet, so that light, dark and print
have their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..core import Json

__all__ = ["ROW", "Spec", "colours", "layer", "log_number", "names", "number", "plain_rule", "tip"]

Spec = dict[str, Any]
ROW = 24  # pixels per line of a chart with named lines

_TITLES = {"said": "value", "paid": "cost", "at": "step", "volume": "requests per month"}


def number(field: str, title: str | None = None, form: str = "~g", **scale: Json) -> Spec:
    """A quantitative axis."""
    return {
        "field": field,
        "type": "quantitative",
        "title": title,
        "axis": {"format": form, "tickCount": 6},
        "scale": {"zero": False, **scale},
    }


def log_number(field: str, title: str, form: str, values: Sequence[float]) -> Spec:
    """A logarithmic axis around these values, all above zero, with lines at round numbers only."""
    low, high = min(values) / 1.25, max(values) * 1.25
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if high < 1000 * low else (1,)
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    return {
        "field": field,
        "type": "quantitative",
        "title": title,
        "axis": {"format": form, "values": [tick for tick in ticks if low <= tick <= high]},
        "scale": {"type": "log", "domain": [low, high], "nice": False},
    }


def names(order: Sequence[str], field: str = "name") -> Spec:
    """A named line per value, in the order given."""
    axis = {"labelLimit": 330, "ticks": False, "domain": False, "grid": True}
    return {"field": field, "type": "nominal", "sort": list(order), "title": None, "axis": axis}


def colours(field: str, values: Sequence[str], paints: Sequence[str]) -> Spec:
    """A colour per value, with its legend above the chart."""
    scale = {"domain": list(values), "range": list(paints)}
    return {
        "field": field,
        "type": "nominal",
        "title": None,
        "scale": scale,
        "legend": {"orient": "top"},
    }


def layer(mark: Spec, encoding: Spec, rows: Sequence[Spec] | None = None, **more: Json) -> Spec:
    """One layer; without rows of its own it draws those of the chart."""
    built: Spec = {"mark": mark, "encoding": encoding, **more}
    return built if rows is None else {"data": {"values": list(rows)}, **built}


def plain_rule(channel: str, field: str, value: float, label: str = "") -> list[Spec]:
    """A line at one value across the chart, dashed and named where it has a label."""
    place = {"field": field, "type": "quantitative"}
    blank = {"color": None, "shape": None, "y" if channel == "x" else "x": None}
    rows = [{field: value, "label": label}]
    mark = {"type": "rule", "strokeWidth": 1.5, "color": "@ink", "aria": False}
    if not label:
        return [layer(mark, {**blank, channel: place}, rows)]
    where = {"y": {"value": -6}} if channel == "x" else {"x": {"value": 4}}
    shift = {"align": "center"} if channel == "x" else {"align": "left", "dy": -6}
    text = {"type": "text", "color": "@ink", "fontSize": 11.5, **shift}
    return [
        layer({**mark, "strokeDash": [5, 4]}, {**blank, channel: place}, rows),
        layer(text, {**blank, **where, channel: place, "text": {"field": "label"}}, rows),
    ]


def tip(*fields: str) -> list[Spec]:
    """What a pointer sees over a mark."""
    return [{"field": name, "title": _TITLES.get(name, name)} for name in fields]
