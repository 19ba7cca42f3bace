"""The verdict, the table of trials and the plan, as text for a terminal or a log.

Drawn from the public record, so that a decision reads the same when it is made and when its
decision.json is read back. The live ladder that is seen meanwhile is in `live.py`.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..core import Decision, Estimate, Json, Skipped, Task
from ..measuring import MEASURING
from .hosted import call_sentences, upgrade_sentences
from .live import LiveLadder
from .record import decision_record
from .verdict import target_text, verdict_sentence
from .words import (
    UNKNOWN,
    count,
    dollars,
    duration,
    interval,
    one_line,
    p_value,
    percent,
    points,
    tokens,
    who_of,
)

__all__ = ["LiveLadder", "as_text", "plan_text", "record_text", "summary_table", "verdict_text"]

Record = Mapping[str, Json]
WHOLE = 800  # characters of a sentence: its end is often the cure
MOST_SLICES = 15
NARROW = 96  # columns below which the table gives up one of its own


def verdict_text(decision: Decision, task: Task, *, width: int | None = None) -> str:
    """The verdict in a sentence, the table of trials, what was skipped and what to beware of.

    Without a `width` it is the terminal's, and 100 columns where there is none.
    """
    return record_text(decision_record(decision, task, {}), width=width)


def record_text(record: Record, *, width: int | None = None) -> str:
    """The same of a record that was read back with `load_decision_record`."""
    parts: list[RenderableType] = [
        Text(one_line(verdict_sentence(record), 2_000), style="bold"),
        Text(f"Why: {one_line(record['reason'], 600)}"),
        Text(f"Target: {target_text(record['target'])}."),
    ]
    if record["trials"]:
        table = summary_table(record, narrow=_columns(width) < NARROW)
        parts += [Text(), table, Text(_legend(record))]
    limits = (record.get("run") or {}).get("limits")
    parts += _bullets("Not all of the data was used", [limits] if limits else [])
    parts += _openings(record)
    parts += _bullets("Also measured", _also(record))
    parts += _slices(record)
    parts += _bullets("Dearer against cheaper models", upgrade_sentences(record))
    parts += _bullets("Calls to models", call_sentences(record))
    parts += _bullets("Skipped", (f"{e['step']}: {e['reason']}" for e in record["skipped"]))
    parts += _bullets("Cautions", record["cautions"])
    return as_text(parts, width)


def summary_table(record: Record, *, narrow: bool = False) -> Table:
    """One line per trial, its intervals below; narrow, the time to build stands below the price."""
    table = Table(box=None, padding=(0, 2 - narrow, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("", width=1)
    table.add_column("solver", overflow="fold", min_width=12, ratio=1)
    last = ("$/1,000\nbuild",) if narrow else ("$/1,000", "build")
    for heading in ("score\n95%", "gain\n95%", "p50\np95", "tokens\nin+out", *last):
        table.add_column(heading, justify="right", no_wrap=True)
    chosen = record["chosen"]
    for trial in record["trials"]:
        is_chosen = chosen == {"step": trial["step"], "solver": trial["solver"]}
        table.add_row(*_cells(trial, is_chosen), *_price_cells(trial, narrow))
    return table


def plan_text(
    task: Task,
    plan: Sequence[tuple[str, Estimate | Skipped]],
    *,
    width: int | None = None,
) -> str:
    """What a climb would do, step by step, and what measuring takes, before anything is spent."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    table.add_column("step", no_wrap=True)
    for heading in ("calls", "time", "dollars"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("note", overflow="fold", ratio=1)
    for step, entry in plan:
        if isinstance(entry, Skipped):
            table.add_row(step, "", "", "", Text(f"skipped: {one_line(entry.reason, WHOLE)}"))
            continue
        cells = (count(entry.calls), duration(entry.seconds), dollars(entry.dollars))
        table.add_row(step, *cells, Text(one_line(entry.note, WHOLE)))
    totals = _totals([e for _, e in plan if isinstance(e, Estimate)])
    measured = any(step == MEASURING for step, _ in plan)
    table.add_row("in all", *totals, "building and measuring" if measured else "building alone")
    bar = decision_record(Decision("blocked", "", None, ()), task, {})["target"]
    head = f"Plan for {one_line(task.name)}: {target_text(bar)}."
    foot = "At most this: the climb stops at the first step that is confirmed."
    if measured:
        foot += (
            " Racing mostly measures fewer dev examples; each further opening of the test comes "
            "on top."
        )
    return as_text([Text(head, style="bold"), Text(), table, Text(), Text(foot)], width)


def as_text(parts: Iterable[RenderableType], width: int | None) -> str:
    """Renderables as plain text, without colour, at a given width or the terminal's."""
    console = Console(file=io.StringIO(), width=_columns(width), color_system=None, highlight=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _columns(width: int | None) -> int:
    return width or min(140, max(60, shutil.get_terminal_size((100, 24)).columns))


def _cells(trial: dict[str, Any], chosen: bool) -> tuple[RenderableType, ...]:
    who = who_of(trial["step"], trial["solver"])
    name = Text(who, style="bold" if chosen else "")
    if trial["stopped_early"] is not None:
        stopped = f"{count(trial['n'])} of {count(trial['planned'])}"
        name.append(f"\nstopped at {stopped}", style="dim")
    return (
        Text("→" if chosen else ""),
        name,
        _pair(percent(trial["score"]), interval(trial["low"], trial["high"])),
        _gain(trial["gain"]),
        _pair(duration(trial["p50_seconds"]), duration(trial["p95_seconds"])),
        _pair(tokens(trial["input_tokens"]), f"+{tokens(trial['output_tokens'])}"),
    )


def _also(record: Record) -> list[str]:
    """Per trial, the scores by the metrics beside the task's own."""
    return [
        f"{who_of(trial['step'], trial['solver'])}: "
        + ", ".join(
            f"{name} {percent(one['score'])} ({interval(one['low'], one['high'])})"
            for name, one in trial["also"].items()
        )
        for trial in record["trials"]
        if trial.get("also")
    ]


def _slices(record: Record) -> list[RenderableType]:
    """The slices of the chosen trial, or of the best: the worst first, beside their floors."""
    trials = record["trials"]
    chosen = [t for t in trials if record["chosen"] == {k: t[k] for k in ("step", "solver")}]
    whole = [trial for trial in trials if trial["stopped_early"] is None] or trials
    trial = max(chosen or whole, key=lambda one: one["score"] or 0.0, default=None)
    if trial is None or not trial.get("slices"):
        return []
    floors = record["target"].get("floors") or {}
    lines = [
        f"{name}: {percent(one['score'])} ({interval(one['low'], one['high'])}), "
        f"n = {count(one['n'])}"
        + (f"; has to be at least {percent(floors[name])}" if name in floors else "")
        for name, one in sorted(trial["slices"].items(), key=lambda item: item[1]["score"] or 0.0)
    ]
    more = len(lines) - MOST_SLICES
    if more > 0:
        lines[MOST_SLICES:] = [f"{more} more, which are better, in the report"]
    return _bullets(f"By slice, {who_of(trial['step'], trial['solver'])}", lines)


def _price_cells(trial: dict[str, Any], narrow: bool) -> tuple[Text, ...]:
    price, built = dollars(trial["dollars_per_1000"]), duration(trial["build_seconds"])
    if narrow:
        return (_pair(price, built),)
    return Text(price), _pair(built, dollars(trial["build_dollars"]))


def _gain(gain: Record | None) -> Text:
    if gain is None:
        return Text("")
    text = Text(f"{points(gain['difference'])} {p_value(gain['p_value'])}".rstrip())
    return text.append(f"\n{points(gain['low'])} to {points(gain['high'])}", style="dim")


def _pair(first: str, second: str) -> Text:
    text = Text(first)
    if second.lstrip("+") == UNKNOWN and first == UNKNOWN:
        return text
    return text.append(f"\n{second}", style="dim")


def _legend(record: Record) -> str:
    sets = sorted({trial["set"] for trial in record["trials"]})
    return (
        f"{record['trials'][0]['metric']} on {' and '.join(sets)}; gains are in points, in pairs "
        "on the same examples, over the best that the step started from."
    )


def _openings(record: Record) -> list[RenderableType]:
    lines = []
    for each in record["confirmations"]:
        failed = ", ".join(each["failed"]) or "score"
        outcome = "passed" if each["passed"] else f"not shown ({failed})"
        lines.append(
            f"{each['opening']}. {who_of(each['step'], each['solver'])}: {percent(each['score'])}, "
            f"at least {percent(each['low'])} (n = {count(each['n'])}, alpha {each['alpha']:.4g}): "
            + outcome
        )
    return _bullets("Sealed test opened", lines)


def _bullets(title: str, lines: Iterable[str]) -> list[RenderableType]:
    shown: list[RenderableType] = [
        Padding(Text(f"- {one_line(line, WHOLE)}"), (0, 0, 0, 2)) for line in lines
    ]
    return [Text(), Text(f"{title}:", style="bold"), *shown] if shown else []


def _totals(estimates: Sequence[Estimate]) -> tuple[str, str, str]:
    return (
        count(sum(each.calls for each in estimates)),
        _total([each.seconds for each in estimates], duration),
        _total([each.dollars for each in estimates], dollars),
    )


def _total(values: Sequence[float | None], words: Callable[[float], str]) -> str:
    known = [value for value in values if value is not None]
    if values and not known:
        return UNKNOWN
    text = words(sum(known))
    return text if len(known) == len(values) else f"{text} + {UNKNOWN}"
