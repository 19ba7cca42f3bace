"""Two finished climbs side by side, from their folders: what changed, in pairs where it can be.

Both runs must have answered the same examples (by id) and kept their rows; otherwise it says that
the comparison is not in pairs. Nothing here decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ..core import Gain, Json, Row
from .record import load_decision_record
from .terminal import as_text
from .verdict import VERDICTS, best_record
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

__all__ = ["Comparison", "compare_runs", "compare_text"]

Record = Mapping[str, Json]


@dataclass(frozen=True)
class Comparison:
    """Two decision records, and b's solver over a's in pairs; None where rows are missing."""

    a: Record
    b: Record
    gain: Gain | None = None


def compare_runs(first: Path, second: Path, *, alpha: float = 0.05) -> Comparison:
    """Compare the chosen (or best) solvers of two runs, in pairs where both kept their rows.

    Args:
        first: a run folder, or its decision.json; the earlier one.
        second: the later one.
        alpha: of the interval of the paired gain.

    Raises:
        StoreError: a record is missing, damaged or of another version.
    """
    a, b = load_decision_record(first), load_decision_record(second)
    best_a, best_b = best_record(a), best_record(b)
    if best_a is None or best_b is None or best_a["metric"] != best_b["metric"]:
        return Comparison(a, b)
    rows_a, rows_b = list(_rows(first, best_a)), list(_rows(second, best_b))
    if not {row.id for row in rows_a} & {row.id for row in rows_b}:
        return Comparison(a, b)
    from ..compare import paired_gain

    scale = _scale([*rows_a, *rows_b])
    return Comparison(a, b, paired_gain(rows_b, rows_a, scale, alpha, against=_who(best_a)))


def compare_text(comparison: Comparison, *, width: int | None = None) -> str:
    """What differs between two runs, a line per fact; a is before, b is after."""
    a, b = comparison.a, comparison.b
    first, second = best_record(a), best_record(b)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for heading in ("", "a", "b", "change"):
        table.add_column(heading, overflow="fold")
    for name, was, now, change in _facts(a, b, first, second):
        table.add_row(name, Text(was), Text(now), Text(change))
    heads: list[RenderableType] = [Text(f"a: {_head(a)}"), Text(f"b: {_head(b)}")]
    warnings = [Text(f"Beware: {warning}") for warning in _warnings(a, b, first, second)]
    paired = Text(_pairing(comparison.gain, first, second))
    steps = [Text(line) for line in _step_lines(a, b)]
    return as_text([*heads, *warnings, Text(), table, Text(), paired, *steps], width)


def _rows(where: Path, trial: Record) -> Iterator[Row]:
    """The rows that a run kept of one trial; none where it kept none."""
    from ..store import read_rows, rows_name

    folder = (where if where.is_dir() else where.parent) / "rows"
    files = folder.glob(rows_name(trial["step"], trial["solver"], "*", trial["set"]))
    for file in sorted(files, key=lambda file: file.stat().st_mtime)[-1:]:
        for row in read_rows(file):
            counts = tuple((str(name), float(top), float(of)) for name, top, of in row["counts"])
            yield Row(row["id"], counts, row.get("group"), row.get("failure"), row.get("error"))


def _scale(rows: Sequence[Row]) -> Literal["binary", "bounded", "ratio"]:
    """The scale of the metric, as its counts show it; failed rows may have none."""
    counted = [row.counts for row in rows if row.counts]
    if any(len(counts) != 1 or counts[0][2] != 1 for counts in counted):
        return "ratio"
    return "binary" if all(counts[0][1] in (0.0, 1.0) for counts in counted) else "bounded"


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
