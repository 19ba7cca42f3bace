"""The charts of quality as Vega-Lite specifications: ladder, gains, frontier, learning curves.

Plain data, drawn by the script in the page; every chart has a table beside it that says the same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from ..compare import reading
from ..core import Decision, LearningPoint, Task, Trial
from .picks import confirmation_of
from .spec import ROW, Spec, colours, layer, log_number, names, number, plain_rule, tip
from .words import dollars, duration, finite, key_of, name_of, percent, points, tokens

__all__ = ["PRACTICALLY_FREE", "forest", "frontier", "frontier_measure", "gains", "learning"]

STATES = ("chosen", "measured", "stopped early", "sealed test")
PAINTS = ("@good", "@accent", "@faint", "@test")
MOST_POINTS = 300  # of one training curve
PRACTICALLY_FREE = 1e-6  # dollars, seconds or tokens: below this a log scale says nothing
LINE: Spec = {"type": "rule", "strokeWidth": 2.5}
DOT: Spec = {"type": "point", "filled": True, "size": 80, "opacity": 1}


def forest(decision: Decision, task: Task) -> Spec | None:
    """Score with interval per candidate against the target; the sealed test below its candidate."""
    rows = []
    for trial in decision.trials:
        rows.append(_bar(trial, decision))
        proof = confirmation_of(decision, trial)
        if proof is not None:
            name = f"{name_of(trial.candidate)}, sealed test"
            said = f"{percent(proof.score)}, at least {percent(proof.low)}"
            score, low = finite(proof.score), finite(proof.low)
            rows.append({"name": name, "state": STATES[3], "score": score, "low": low,
                         "high": score, "said": said})  # fmt: skip
    if not rows:
        return None
    _name_apart(rows)
    x = number("score", task.metric.name, ".0%", nice=True)
    colour = colours("state", STATES, PAINTS)
    shape = colours("state", STATES, ("circle", "circle", "cross", "diamond"))
    return {
        "height": ROW * len(rows),
        "data": {"values": rows},
        "encoding": {"y": names([str(row["name"]) for row in rows])},
        "layer": [
            *plain_rule("x", "score", task.target.score, f"target {percent(task.target.score)}"),
            layer(LINE, {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "color": colour}),
            layer(DOT, {"x": x, "color": colour, "shape": shape,
                        "tooltip": tip("name", "state", "said")}),
        ],
    }  # fmt: skip


def gains(decision: Decision) -> Spec | None:
    """Paired gain over what the step started from, with interval, against zero."""
    rows = [
        {
            "name": name_of(trial.candidate),
            "gain": 100 * gain.difference,
            "low": 100 * gain.low,
            "high": 100 * gain.high,
            "state": reading(gain.low, gain.high, gain.p_value, gain.alpha),
            "said": f"{points(gain.difference)} points over {gain.against}",
        }
        for trial in decision.trials
        if (gain := trial.gain) is not None
        and all(finite(end) is not None for end in (gain.difference, gain.low, gain.high))
    ]
    if not rows:
        return None
    _name_apart(rows)
    x = number("gain", "points gained over what the step started from", "+.0f")
    colour = colours("state", ("better", "cannot tell", "worse"), ("@good", "@faint", "@bad"))
    return {
        "height": ROW * len(rows),
        "data": {"values": rows},
        "encoding": {"y": names([str(row["name"]) for row in rows])},
        "layer": [
            *plain_rule("x", "gain", 0.0),
            layer(LINE, {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "color": colour}),
            layer(DOT, {"x": x, "color": colour, "tooltip": tip("name", "said", "state")}),
        ],
    }


def frontier_measure(trials: Sequence[Trial]) -> tuple[str, str]:
    """Which cost the frontier can honestly be drawn over: the first known for two or more trials.

    Returns:
        The field of `Evaluation`, and its name in words.
    """
    choices = (
        ("dollars_per_1000", "dollars per 1,000 requests"),
        ("p50_seconds", "seconds per request (median)"),
        ("input_tokens", "input tokens per request"),
    )
    for name, words in choices:
        if sum(finite(getattr(trial.evaluation, name)) is not None for trial in trials) >= 2:
            return name, words
    return choices[0]


def frontier(decision: Decision, task: Task) -> Spec | None:
    """Quality against the cost of a request; the step line joins what nothing cheaper beats."""
    field, words = frontier_measure(decision.trials)
    known = [t for t in decision.trials if finite(getattr(t.evaluation, field)) is not None]
    if len(known) < 2:
        return None
    costs = [float(getattr(trial.evaluation, field)) for trial in known]
    positive = [cost for cost in costs if cost > PRACTICALLY_FREE]
    wide = bool(positive) and max(positive) > 20 * min(positive)
    edge = min(positive) / 4 if wide else 0.0  # free ones stand at the left edge of a log scale
    say = {"dollars_per_1000": dollars, "p50_seconds": duration}.get(field, tokens)
    rows = [
        {**_bar(trial, decision), "cost": max(cost, edge), "paid": say(cost)}
        for trial, cost in zip(known, costs, strict=True)
    ]
    best = _undominated([row for row in rows if row["state"] != "stopped early"])
    form = "$~g" if field == "dollars_per_1000" else "~g"
    x, y = number("cost", words, form, zero=True), number("score", task.metric.name, ".0%")
    if wide:
        x = log_number("cost", words, form, [edge, *positive])
    colour = colours("state", STATES[:3], PAINTS[:3])
    line = {"type": "line", "interpolate": "step-after", "color": "@faint", "strokeWidth": 1.5}
    text = {"type": "text", "dy": -10, "limit": 340, "color": "@ink"}
    said = {"x": x, "y": y, "text": {"field": "name"}}
    middle = math.sqrt(max(costs) * edge) if wide else max(costs) / 2
    named = _apart(best)
    left = [row for row in named if row["cost"] <= middle]
    right = [row for row in named if row["cost"] > middle]
    bars = {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": colour}
    dots = {"x": x, "y": y, "color": colour, "tooltip": tip("name", "said", "paid", "state")}
    layers = [
        *plain_rule("y", "score", task.target.score, f"target {percent(task.target.score)}"),
        layer(line, {"x": x, "y": y}, best),
        layer({**LINE, "strokeWidth": 2}, bars, rows),
        layer(DOT, dots, rows),
        layer({**text, "align": "left", "dx": 8}, said, left),
        layer({**text, "align": "right", "dx": -8}, said, right),
    ]
    drawn = [each for each in layers if each["data"]["values"]]  # an empty layer has no extent
    return {"height": 340, "layer": drawn}


def learning(trials: Sequence[Trial]) -> Spec | None:
    """Loss per answer token over training steps, on train and on a held-out slice of train."""
    rows = [
        {"run": name_of(trial.candidate), "at": point.step, "loss": loss, "set": which,
         "said": f"{loss:.3f}"}
        for trial in trials
        for point in _thinned(trial.candidate.learning)
        for which, loss in (("train", point.train_loss), ("held out", point.held_out_loss))
        if loss is not None and finite(loss) is not None
    ]  # fmt: skip
    if not rows:
        return None
    legend = {"orient": "top"}
    dashes = {"domain": ["train", "held out"], "range": [[1, 0], [6, 4]]}
    held_out = [row for row in rows if row["set"] == "held out"]
    x, y = number("at", "training step", "~s"), number("loss", "loss per answer token", zero=True)
    colour = {"field": "run", "type": "nominal", "title": None, "legend": legend}
    dash = {"field": "set", "type": "nominal", "title": None, "legend": legend, "scale": dashes}
    layers = [
        layer({"type": "line", "strokeWidth": 2},
              {"x": x, "y": y, "color": colour, "strokeDash": dash}, rows),
    ]  # fmt: skip
    if held_out:
        seen = {"x": x, "y": y, "color": colour, "tooltip": tip("run", "set", "at", "said")}
        layers.append(layer({**DOT, "size": 40}, seen, held_out))
    return {"height": 280, "layer": layers}


def _bar(trial: Trial, decision: Decision) -> Spec:
    seen = trial.evaluation
    return {
        "name": name_of(trial.candidate),
        "state": _state(trial, decision),
        "score": finite(seen.score),
        "low": finite(seen.low),
        "high": finite(seen.high),
        "said": f"{percent(seen.score)} ({percent(seen.low)} to {percent(seen.high)})",
    }


def _state(trial: Trial, decision: Decision) -> str:
    if decision.chosen is not None and key_of(trial) == key_of(decision.chosen):
        return "chosen"
    return "stopped early" if trial.stopped_early is not None else "measured"


def _undominated(rows: Sequence[Spec]) -> list[Spec]:
    best: list[Spec] = []
    for row in sorted(rows, key=lambda each: (each["cost"], -(each["score"] or 0.0))):
        if not best or (row["score"] or 0.0) > (best[-1]["score"] or 0.0):
            best.append(row)
    return best


def _apart(rows: Sequence[Spec]) -> list[Spec]:
    """The rows whose names do not run into each other, the chosen one first."""
    kept: list[Spec] = []
    for row in sorted(rows, key=lambda each: each["state"] != "chosen"):
        if all(abs((row["score"] or 0.0) - (each["score"] or 0.0)) > 0.04 for each in kept):
            kept.append(row)
    return kept


def _name_apart(rows: Sequence[Spec]) -> None:
    """Number the names that are the same once shortened: each must keep a line of its own."""
    seen: Counter[str] = Counter()
    for row in rows:
        seen[row["name"]] += 1
        if seen[row["name"]] > 1:
            row["name"] += f" ({seen[row['name']]})"


def _thinned(curve: Sequence[LearningPoint]) -> Sequence[LearningPoint]:
    """All points with a held-out loss, and of the others as many as a chart can show."""
    every = max(1, len(curve) // MOST_POINTS)
    return [p for i, p in enumerate(curve) if i % every == 0 or p.held_out_loss is not None]
