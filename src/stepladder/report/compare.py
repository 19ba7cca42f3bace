"""Two finished climbs side by side, from their decision.json files.

It shows; the paired difference itself is computed by whoever has the rows of both runs, and
without it the comparison says that it is not in pairs.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..core import Gain, Json
from .verdict import VERDICTS
from .words import (
    count,
    dollars,
    duration,
    interval,
    one_line,
    p_value,
    percent,
    points,
    points_interval,
    tokens,
    who_of,
)

__all__ = ["compare_text"]

Record = Mapping[str, Json]


def compare_text(
    record_a: Record, record_b: Record, gain: Gain | None = None, *, width: int = 100
) -> str:
    """What differs between two runs, a line per fact; a is before, b is after.

    Args:
        record_a: the earlier decision record, from `load_decision_record`.
        record_b: the later one.
        gain: b's solver over a's in pairs on the same examples, where both runs' rows exist.
        width: columns of the text.
    """
    first, second = _best(record_a), _best(record_b)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for heading in ("", "a", "b", "change"):
        table.add_column(heading, overflow="fold")
    for name, a, b, change in _facts(record_a, record_b, first, second):
        table.add_row(name, Text(a), Text(b), Text(change))
    console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False)
    with console.capture() as captured:
        console.print(Text(f"a: {_head(record_a)}"))
        console.print(Text(f"b: {_head(record_b)}"))
        for warning in _warnings(record_a, record_b, first, second):
            console.print(Text(f"Beware: {warning}"))
        console.print()
        console.print(table)
        console.print()
        console.print(Text(_pairing(gain, first, second)))
        for line in _step_lines(record_a, record_b):
            console.print(Text(line))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _head(record: Record) -> str:
    run = record.get("run") or {}
    when = str(run.get("finished") or "time not recorded")
    return (
        f"{one_line(str(record['task']))}, {VERDICTS[record['verdict']].lower()} "
        f"({when}, version {run.get('version') or 'not recorded'})"
    )


def _warnings(a: Record, b: Record, first: Record | None, second: Record | None) -> list[str]:
    found = []
    if a["task"] != b["task"]:
        found.append("these are different tasks")
    if first and second and (first["set"], first["metric"]) != (second["set"], second["metric"]):
        found.append("the scores are of different sets or metrics and do not compare")
    if a["target"] != b["target"]:
        found.append("the targets differ")
    for name, record in (("a", a), ("b", b)):
        if (record.get("run") or {}).get("limits"):
            found.append(f"{name} used {record['run']['limits']}")
    return found


def _facts(
    a: Record, b: Record, first: Record | None, second: Record | None
) -> list[tuple[str, str, str, str]]:
    rows = [
        ("verdict", _verdict(a), _verdict(b), "" if a["verdict"] == b["verdict"] else "changed"),
        ("target", percent(a["target"]["score"]), percent(b["target"]["score"]), ""),
        ("confirmed, at least", _low(a), _low(b), ""),
    ]
    if first is None or second is None:
        return rows
    change = points(_difference(first, second, "score"))
    rows += [
        ("solver", _who(first), _who(second), ""),
        (f"{second['metric']} on {second['set']}", percent(first["score"]),
         percent(second["score"]), f"{change} points"),
        ("  interval", interval(first["low"], first["high"]),
         interval(second["low"], second["high"]), ""),
        ("  examples", count(first["n"]), count(second["n"]), ""),
    ]  # fmt: skip
    words = {
        "dollars_per_1000": ("dollars per 1,000", dollars),
        "p50_seconds": ("time to answer, median", duration),
        "p95_seconds": ("time to answer, 95%", duration),
        "input_tokens": ("input tokens", tokens),
        "output_tokens": ("output tokens", tokens),
        "build_seconds": ("time to build", duration),
        "build_dollars": ("dollars to build", dollars),
    }
    for field, (name, say) in words.items():
        rows.append((name, say(first[field]), say(second[field]), _ratio(first, second, field)))
    months = [_month(record, best) for record, best in ((a, first), (b, second))]
    return [*rows, ("to own, per month", dollars(months[0]), dollars(months[1]), "")]


def _pairing(gain: Gain | None, first: Record | None, second: Record | None) -> str:
    if gain is not None:
        test = f", {p_value(gain.p_value)}" if gain.p_value is not None else ""
        return (
            f"In pairs, on the same {count(gain.n)} examples: b is {points(gain.difference)} "
            f"points against a ({percent(1 - gain.alpha, 0)} interval {points_interval(gain)}"
            f"{test}; {gain.method})."
        )
    if first is None or second is None:
        return "Nothing was measured in one of the runs, so there is nothing to compare."
    apart = first["high"] is not None and second["low"] is not None and (
        second["low"] > first["high"] or first["low"] > second["high"]
    )  # fmt: skip
    meaning = "do not overlap" if apart else "overlap, so this alone tells nothing"
    return f"Not in pairs (the rows of both runs are needed for that): the two intervals {meaning}."


def _step_lines(a: Record, b: Record) -> list[str]:
    best = [_best_by_step(record) for record in (a, b)]
    lines = []
    for step in dict.fromkeys([*best[0], *best[1]]):
        scores = [percent(side[step]["score"]) if step in side else "not tried" for side in best]
        lines.append(f"  {step}: {scores[0]} → {scores[1]}")
    return ["", "Best of each step, a → b:", *lines] if lines else []


def _best(record: Record) -> Record | None:
    """The chosen trial of a record, or the best one that was measured whole."""
    chosen, trials = record.get("chosen"), list(record["trials"])
    for trial in trials:
        if chosen and (trial["step"], trial["solver"]) == (chosen["step"], chosen["solver"]):
            return dict(trial)
    whole = [trial for trial in trials if not trial.get("stopped_early")] or trials
    return max(whole, key=lambda trial: trial["score"] or 0.0, default=None)


def _best_by_step(record: Record) -> dict[str, Any]:
    best: dict[str, Any] = {}
    for trial in record["trials"]:
        if trial.get("stopped_early"):
            continue
        now = best.get(trial["step"])
        if now is None or (trial["score"] or 0.0) > (now["score"] or 0.0):
            best[trial["step"]] = trial
    return best


def _verdict(record: Record) -> str:
    return VERDICTS[record["verdict"]]


def _low(record: Record) -> str:
    confirmed = record.get("confirmed")
    return percent(confirmed["low"]) if confirmed else "not confirmed"


def _who(trial: Record) -> str:
    return who_of(trial["step"], trial["solver"])


def _difference(first: Record, second: Record, field: str) -> float | None:
    a, b = first[field], second[field]
    return None if a is None or b is None else b - a


def _ratio(first: Record, second: Record, field: str) -> str:
    a, b = first[field], second[field]
    if not a or not b:
        return ""
    factor = b / a
    if 0.995 < factor < 1.005:
        return "same"
    return (
        f"{factor:.2g} times" if factor >= 1.995 or factor < 0.5 else f"{100 * (factor - 1):+.0f}%"
    )


def _month(record: Record, trial: Record) -> float | None:
    for own in record.get("ownership") or ():
        if (own["step"], own["solver"]) == (trial["step"], trial["solver"]):
            total = own["total_dollars_per_month"]
            return total[1] if total else None
    return None
