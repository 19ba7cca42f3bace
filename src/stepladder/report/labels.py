"""What more labels would bring, in words, as a record and as a page with the curve."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core import Economics, Example, Json, Task
from ..labels.asking import Labels
from ..labels.payback import Payback
from .html import render_page, write_page
from .spec import Spec, layer, log_number, number, plain_rule, tip
from .words import UNKNOWN, count, dollars, interval, percent, points, who_of

__all__ = ["labels_record", "labels_text", "next_record", "render_labels", "write_labels"]

SMALL = 30  # dev examples; below, a curve is hardly more than noise
BAND_POINTS = 40


def labels_text(found: Labels, task: Task) -> str:
    """The measured sizes, what more labels bring, and whether the curve held where it was tried."""
    lines = [_sentence(found, task), "", f"{'train':>8}  {'score':>7}  the curve (90 %)"]
    for row in _sizes(found):
        lines.append(f"{row['examples']:>8}  {row['score']:>7}  {row['law']}")
    lines += ["", f"{'labels':>8}  score then (90 %)       cost  pays back in"]
    for one in found.more:
        row = _more(one)
        lines.append(
            f"{'+' + row['labels']:>8}  {row['score']:<20}  {row['dollars']:>7}  {row['months']}"
        )
    lines += ["", *_cautions(found), _economics(task.economics)]
    return "\n".join(line for line in lines if line is not None)


def labels_record(found: Labels, task: Task) -> dict[str, Json]:
    """The same for machines; unknown is null."""
    guess = found.tested
    return {
        "schema": "stepladder.labels/1",
        "task": task.name,
        "step": found.step,
        "solver": found.name,
        "metric": task.metric.name,
        "train": found.now,
        "points": [
            {
                "train": point.measured.examples,
                "repeat": point.measured.repeat,
                "score": point.score,
                "build_seconds": point.candidate.build_seconds,
            }
            for point in found.points
        ],
        "more": [_more_record(one) for one in found.more],
        "labels_to_target": {"likely": found.to_target[0], "safely": found.to_target[1]},
        "backtest": None
        if guess is None
        else {
            "train": guess[0].examples,
            "said": guess[0].score,
            "low": guess[0].low,
            "high": guess[0].high,
            "measured": guess[1],
        },
        "others": [{"solver": name, "score": score} for name, score in found.others],
        "cautions": _cautions(found),
    }


def next_record(chosen: Sequence[tuple[Example, float | None]]) -> list[dict[str, Json]]:
    """The inputs to label next, the most wanted first."""
    return [
        {"id": example.id, "source": example.source, "confidence": confidence}
        for example, confidence in chosen
    ]


def write_labels(path: Path, found: Labels, task: Task) -> Path:
    """The page; raises StoreError when it cannot be written."""
    return write_page(path, render_labels(found, task))


def render_labels(found: Labels, task: Task) -> str:
    """The whole page as text."""
    view = {
        "task": task.name,
        "who": who_of(found.step, found.name),
        "sentence": _sentence(found, task),
        "below": _tested(found),
        "cautions": _cautions(found),
        "sizes": _sizes(found),
        "more": [_more(one) for one in found.more],
        "economics": _economics(task.economics),
    }
    title = f"{task.name}: how much data?"
    return render_page("labels.html.j2", title, {"curve": _chart(found, task)}, {"labels": view})


def _sentence(found: Labels, task: Task) -> str:
    """With N more labels you would reach S; that costs X and pays back in Y."""
    one = found.more[len(found.more) // 2]
    row = _more(one)
    said = (
        f"With {row['labels']} more labels, {who_of(found.step, found.name)} would reach "
        f"{row['score']} {task.metric.name}, from {percent(found.curve.at(found.now).score)} "
        f"with {count(found.now)}"
    )
    if one.dollars is not None:
        said += f"; that costs {row['dollars']}"
        said += f" and pays back in {row['months']}" if one.months is not None else ""
    return f"{said}. {_target(found, task)}"


def _target(found: Labels, task: Task) -> str:
    likely, safely = found.to_target
    bar = percent(task.target.score)
    if likely == 0:
        return f"The target of {bar} is in reach with what there is."
    if likely is None:
        return f"By this curve no number of labels reaches the target of {bar}: take another step."
    least = f"The target of {bar} would take about {count(likely)} more labels"
    return f"{least}, {f'{count(safely)} to be safe' if safely else 'and perhaps any number'}."


def _tested(found: Labels) -> str:
    if found.tested is None:
        return "There are too few sizes to try the curve on one that it was not given."
    guess, measured = found.tested
    inside = guess.low <= measured <= guess.high
    return (
        f"Tried on itself: from the smaller subsets alone the curve says {percent(guess.score)} "
        f"({interval(guess.low, guess.high)}) for all {count(guess.examples)}; measured was "
        f"{percent(measured)}{'' if inside else ', outside of it'}."
    )


def _cautions(found: Labels) -> list[str]:
    said = []
    if found.tested is not None:
        guess, measured = found.tested
        if not guess.low <= measured <= guess.high:
            said.append(
                "the curve missed the largest size when it was given only the smaller ones: do not "
                "trust how far it reaches"
            )
    if len(found.points[0].measured.counts) < SMALL:
        said.append("dev is small, so the intervals are wide")
    furthest = max((one.labels for one in found.more), default=0)
    if furthest > 3 * found.now:
        said.append("beyond about four times the labels that are there the curve is a wild guess")
    return said


def _sizes(found: Labels) -> list[dict[str, str]]:
    by_size: dict[int, list[float]] = defaultdict(list)
    for point in found.points:
        by_size[point.measured.examples].append(point.score)
    rows = []
    for size, scores in sorted(by_size.items()):
        law = found.curve.at(size)
        rows.append(
            {
                "examples": count(size),
                "subsets": str(len(scores)),
                "score": percent(math.fsum(scores) / len(scores)),
                "range": interval(min(scores), max(scores)) if len(scores) > 1 else "",
                "law": f"{percent(law.score)} ({interval(law.low, law.high)})",
            }
        )
    return rows


def _more(one: Payback) -> dict[str, str]:
    low, middle, high = one.gain
    return {
        "labels": count(one.labels),
        "score": f"{percent(one.then.score)} ({interval(one.then.low, one.then.high)})",
        "gain": f"{points(middle)} ({points(low)} to {points(high)})",
        "dollars": dollars(one.dollars),
        "per_month": UNKNOWN if one.dollars_per_month is None else _dollar_range(one),
        "months": _months(one.months),
    }


def _dollar_range(one: Payback) -> str:
    assert one.dollars_per_month is not None
    low, middle, high = one.dollars_per_month
    return f"{dollars(middle)} ({dollars(low)} to {dollars(high)})"


def _months(months: tuple[float, float, float] | None) -> str:
    if months is None:
        return UNKNOWN
    least, middle, most = (f"{one:.1f}" if math.isfinite(one) else "never" for one in months)
    if middle == "never":
        return "never" if least == "never" else f"never (at best {least} months)"
    return f"{middle} months ({least} to {most})"


def _more_record(one: Payback) -> dict[str, Json]:
    return {
        "labels": one.labels,
        "score": one.then.score,
        "low": one.then.low,
        "high": one.then.high,
        "alpha": one.then.alpha,
        "gain": list(one.gain),
        "dollars": one.dollars,
        "dollars_per_month": None if one.dollars_per_month is None else [*one.dollars_per_month],
        "months_to_pay_back": None
        if one.months is None
        else [value if math.isfinite(value) else None for value in one.months],
    }


def _economics(economics: Economics) -> str:
    if economics.dollars_per_label is None:
        return "What they cost is unknown: set dollars_per_label in [economics]."
    worth: Mapping[str, float | None] = {
        "requests_per_month": economics.requests_per_month,
        "dollars_per_success or dollars_per_error": economics.dollars_per_success
        or economics.dollars_per_error,
    }
    missing = [name for name, value in worth.items() if value is None]
    if missing:
        return f"What they bring is unknown: set {' and '.join(missing)} in [economics]."
    return (
        f"At {dollars(economics.dollars_per_label)} a label and "
        f"{count(economics.requests_per_month)} requests a month."
    )


def _chart(found: Labels, task: Task) -> Spec:
    """Dots as measured, the curve as a line in its band, the target dashed."""
    last = found.now + max(one.labels for one in found.more)
    first = min(point.measured.examples for point in found.points)
    reach = [round(first * (last / first) ** (k / (BAND_POINTS - 1))) for k in range(BAND_POINTS)]
    law = []
    for size in dict.fromkeys(reach):
        guess = found.curve.at(size)
        said = f"{percent(guess.score)} ({interval(guess.low, guess.high)})"
        law.append({"train": size, "score": guess.score, "low": guess.low, "high": guess.high,
                    "said": said})  # fmt: skip
    dots = [
        {"train": point.measured.examples, "score": point.score, "said": percent(point.score)}
        for point in found.points
    ]
    x = log_number("train", "train examples", "~s", [float(first), float(last)])
    y = number("score", task.metric.name, ".0%", nice=True)
    shown = tip("train", "said")
    band: Spec = {"type": "area", "opacity": 0.18, "color": "@accent"}
    line: Spec = {"type": "line", "strokeWidth": 2, "color": "@accent"}
    dot: Spec = {"type": "point", "filled": True, "size": 45, "opacity": 0.8, "color": "@ink"}
    return {
        "height": 300,
        "data": {"values": law},
        "layer": [
            *plain_rule("y", "score", task.target.score, f"target {percent(task.target.score)}"),
            layer(band, {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}}),
            layer(line, {"x": x, "y": y, "tooltip": shown}),
            layer(dot, {"x": x, "y": y, "tooltip": shown}, dots),
        ],
    }
