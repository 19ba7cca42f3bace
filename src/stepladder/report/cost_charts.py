"""The charts of money as Vega-Lite specifications: cost over volume, and what it hangs on."""

from __future__ import annotations

from ..core import Decision, Ownership, Task
from .money import break_evens, cost_lines
from .spec import ROW, Spec, layer, log_number, names, number, plain_rule, tip
from .words import about, dollars, finite, who_of

__all__ = ["cost_curve", "sensitivity"]


def cost_curve(decision: Decision, task: Task) -> Spec | None:
    """Dollars a month over volume, both on log scales, with the user's volume and break-even."""
    lines, volume = cost_lines(decision), task.economics.requests_per_month
    rows: list[Spec] = [
        {"name": line.name, "volume": at, "cost": cost, "said": f"{dollars(cost)} a month"}
        for line in reversed(lines)  # the chosen one is drawn last, on top
        for at, cost in line.points
        if at > 0 and cost > 0  # the scales are logarithmic
    ]
    if not rows or not volume:
        return None
    marks = [
        {"volume": each.volume, "cost": each.dollars, "name": each.cheaper,
         "said": f"costs less than {each.dearer} from about {about(each.volume)} a month on"}
        for each in break_evens(lines, volume)
        if each.dollars > 0
    ]  # fmt: skip
    x = log_number("volume", "requests per month", "~s", [row["volume"] for row in rows])
    y = log_number("cost", "dollars per month", "$~s", [row["cost"] for row in rows])
    colour = {
        "field": "name",
        "type": "nominal",
        "title": None,
        "sort": [line.name for line in lines],
        "legend": {"orient": "top", "columns": 2},
    }
    layers = [
        *plain_rule("x", "volume", volume, "your volume"),
        layer({"type": "line", "strokeWidth": 2},
              {"x": x, "y": y, "color": colour, "tooltip": tip("name", "volume", "said")}, rows),
    ]  # fmt: skip
    if marks:
        ring = {"type": "point", "size": 110, "color": "@ink", "strokeWidth": 2}
        layers.append(layer(ring, {"x": x, "y": y, "tooltip": tip("name", "said")}, marks))
    return {"height": 320, "layer": layers}


def sensitivity(ownership: Ownership) -> Spec | None:
    """How far each assumption alone moves the monthly cost, the strongest first."""
    total = ownership.total_dollars_per_month
    ranked = sorted(ownership.sensitivity.items(), key=lambda item: -abs(item[1][1] - item[1][0]))
    rows = [
        {"name": name, "low": low, "high": high, "said": f"{dollars(low)} to {dollars(high)}"}
        for name, (low, high) in ranked
        if finite(low) is not None and finite(high) is not None
    ]
    if not rows or total is None:
        return None
    who = who_of(ownership.step, ownership.name)
    x = number("low", f"dollars per month, {who}", "$~s")
    encoding = {
        "x": x,
        "x2": {"field": "high"},
        "y": names([str(row["name"]) for row in rows]),
        "tooltip": tip("name", "said"),
    }
    bar = {"type": "bar", "height": 12, "color": "@accent"}
    return {
        "height": ROW * len(rows) + 10,
        "layer": [layer(bar, encoding, rows), *plain_rule("x", "low", total[1])],
    }
