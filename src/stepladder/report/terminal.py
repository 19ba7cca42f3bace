"""The verdict, the table of trials and the plan, as text for a terminal or a log.

The live ladder that is seen while a climb runs is in `live.py`. Nothing here decides.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..core import Decision, Estimate, Skipped, Task, Trial
from .live import LiveLadder
from .verdict import target_text, verdict_sentence
from .words import (
    UNKNOWN,
    count,
    dollars,
    duration,
    interval,
    key_of,
    name_of,
    one_line,
    p_value,
    percent,
    points,
    points_interval,
    tokens,
)

__all__ = ["LiveLadder", "plan_text", "summary_table", "verdict_text"]


def verdict_text(decision: Decision, task: Task, *, width: int = 100) -> str:
    """The verdict in a sentence, the table of trials, what was skipped and what to beware of."""
    parts: list[RenderableType] = [
        Text(verdict_sentence(decision, task), style="bold"),
        Text(f"Why: {one_line(decision.reason, 600)}"),
        Text(f"Target: {target_text(task.target, task.metric.name)}."),
    ]
    if decision.trials:
        parts += [Text(), summary_table(decision), Text(_legend(decision))]
    parts += _openings(decision)
    parts += _bullets("Skipped", (f"{each.step}: {each.reason}" for each in decision.skipped))
    parts += _bullets("Cautions", decision.cautions)
    return as_text(parts, width)


def summary_table(decision: Decision) -> Table:
    """One line per trial; the interval, the p-value and the 95th percentile stand below."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    table.add_column("solver", overflow="fold", min_width=14, ratio=1)
    for heading in ("score\n95%", "gain\n95%", "p50\np95", "tokens\nin+out", "$/1,000", "build"):
        table.add_column(heading, justify="right", no_wrap=True)
    chosen = key_of(decision.chosen) if decision.chosen else None
    for trial in decision.trials:
        table.add_row(*_cells(trial, key_of(trial) == chosen))
    return table


def plan_text(
    task: Task, plan: Sequence[tuple[str, Estimate | Skipped]], *, width: int = 100
) -> str:
    """What a climb would do, step by step, before anything is spent."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    table.add_column("step", no_wrap=True)
    for heading in ("calls", "time", "dollars"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("note", overflow="fold", ratio=1)
    for step, entry in plan:
        if isinstance(entry, Skipped):
            table.add_row(step, "", "", "", Text(f"skipped: {one_line(entry.reason)}"))
            continue
        cells = (count(entry.calls), duration(entry.seconds), dollars(entry.dollars))
        table.add_row(step, *cells, Text(one_line(entry.note)))
    table.add_row("in all", *_totals([e for _, e in plan if isinstance(e, Estimate)]), "")
    head = f"Plan for {task.name!r}: {target_text(task.target, task.metric.name)}."
    foot = "At most this: the climb stops at the first step that is confirmed."
    return as_text([Text(head, style="bold"), Text(), table, Text(), Text(foot)], width)


def as_text(parts: Iterable[RenderableType], width: int) -> str:
    """Renderables as plain text, without colour, at a given width."""
    console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _cells(trial: Trial, chosen: bool) -> tuple[RenderableType, ...]:
    seen, candidate = trial.evaluation, trial.candidate
    stopped = trial.stopped_early is not None
    name = Text(f"{'→' if chosen else ' '} {name_of(candidate)}", style="bold" if chosen else "")
    if stopped:
        name.append(f"\n  stopped at {count(seen.n)} of {count(seen.planned)}", style="dim")
    gain = trial.gain
    gained = Text("")
    if gain is not None:
        gained = Text(f"{points(gain.difference)} {p_value(gain.p_value)}".rstrip())
        gained.append(f"\n{points_interval(gain)}", style="dim")
    build = dollars(candidate.build_dollars) if candidate.build_dollars is not None else UNKNOWN
    return (
        name,
        _pair(percent(seen.score), interval(seen.low, seen.high)),
        gained,
        _pair(duration(seen.p50_seconds), duration(seen.p95_seconds)),
        _pair(tokens(seen.input_tokens), f"+{tokens(seen.output_tokens)}"),
        Text(dollars(seen.dollars_per_1000)),
        _pair(duration(candidate.build_seconds), build),
    )


def _pair(first: str, second: str) -> Text:
    text = Text(first)
    if second.lstrip("+") == UNKNOWN and first == UNKNOWN:
        return text
    return text.append(f"\n{second}", style="dim")


def _legend(decision: Decision) -> str:
    seen = decision.trials[0].evaluation
    sets = sorted({trial.evaluation.set for trial in decision.trials})
    return (
        f"{seen.metric} on {' and '.join(sets)}; gains are in points, in pairs on the same "
        "examples, over the best of the step before; build is time and dollars."
    )


def _openings(decision: Decision) -> list[RenderableType]:
    lines = []
    for each in decision.confirmations:
        outcome = "passed" if each.passed else f"not shown: {', '.join(each.failed) or 'score'}"
        lines.append(
            f"{each.opening}. {each.step} / {one_line(each.name, 60)}: {percent(each.score)}, at "
            f"least {percent(each.low)} (n = {count(each.n)}, alpha {each.alpha_spent:.4g}): "
            + outcome
        )
    return _bullets("Sealed test opened", lines)


def _bullets(title: str, lines: Iterable[str]) -> list[RenderableType]:
    shown: list[RenderableType] = [
        Padding(Text(f"- {one_line(line, 400)}"), (0, 0, 0, 2)) for line in lines
    ]
    return [Text(), Text(f"{title}:", style="bold"), *shown] if shown else []


def _totals(estimates: Sequence[Estimate]) -> tuple[str, str, str]:
    seconds = [each.seconds for each in estimates]
    money = [each.dollars for each in estimates]
    return (
        count(sum(each.calls for each in estimates)),
        _total(seconds, duration),
        _total(money, dollars),
    )


def _total(values: Sequence[float | None], words: Callable[[float], str]) -> str:
    known = [value for value in values if value is not None]
    if values and not known:
        return UNKNOWN
    text = words(sum(known))
    return text if len(known) == len(values) else f"{text} + {UNKNOWN}"
