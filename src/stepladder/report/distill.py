"""What distilling did, before and after: in words, as a record and as a page with the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core import Evaluation, Json, Task, Trial
from ..distilling import Distilled
from .html import render_page, write_page
from .words import (
    UNKNOWN,
    about,
    count,
    dollars,
    duration,
    interval,
    latency,
    name_of,
    percent,
    points,
    points_interval,
    tokens,
)

__all__ = ["distill_record", "distill_text", "render_distilled", "write_distilled"]


def distill_text(found: Distilled, task: Task) -> str:
    """The table, what was left out of the lesson and why, and when it pays."""
    columns = _columns(found)
    names = [str(one["name"]) for one in columns]
    widths = [max(len(name), 22) for name in names]
    lines = [_sentence(found, task), ""]
    heads = ["", *names]
    lines.append(_line(heads, widths))
    lines += [_line([label, *values], widths) for label, values in _table(found, task)]
    lines += ["", *_lesson(found), *_cautions(found)]
    return "\n".join(lines)


def distill_record(found: Distilled, task: Task) -> dict[str, Json]:
    """The same for machines; unknown is null."""
    return {
        "schema": "stepladder.distill/1",
        "task": task.name,
        "metric": task.metric.name,
        "verdict": found.decision.verdict,
        "reason": found.decision.reason,
        "labelling": dict(found.labelling),
        "teacher": _trial_record(found.teacher),
        "students": [_trial_record(one) for one in found.students],
        "cautions": _cautions(found),
    }


def write_distilled(path: Path, found: Distilled, task: Task) -> Path:
    """The page; raises StoreError when it cannot be written."""
    return write_page(path, render_distilled(found, task))


def render_distilled(found: Distilled, task: Task) -> str:
    """The whole page as text."""
    view = {
        "task": task.name,
        "sentence": _sentence(found, task),
        "names": [one["name"] for one in _columns(found)],
        "rows": [{"label": label, "values": values} for label, values in _table(found, task)],
        "left_out": [
            {"why": why, "count": count(many)}
            for why, many in dict(found.labelling.get("left_out") or {}).items()
        ],
        "kept": count(found.labelling.get("kept")),
        "file": str(found.labelling.get("rows") or ""),
        "cautions": _cautions(found),
    }
    return render_page("distill.html.j2", f"{task.name}: distilled", {}, {"distilled": view})


def _sentence(found: Distilled, task: Task) -> str:
    """What the best student gains and loses on its teacher."""
    best = _best(found.students)
    before, after = found.teacher.evaluation, best.evaluation
    said = (
        f"{name_of(best.candidate)} reaches {percent(after.score)} {task.metric.name} on dev where "
        f"its teacher, {name_of(found.teacher.candidate)}, has {percent(before.score)}"
    )
    if before.input_tokens and after.input_tokens:
        said += f", on {tokens(after.input_tokens)} input tokens instead of "
        said += tokens(before.input_tokens)
    return f"{said}."


def _table(found: Distilled, task: Task) -> list[tuple[str, list[str]]]:
    seen = [one.evaluation for one in (found.teacher, *found.students)]
    gains = ["", *(_gain(one) for one in found.students)]
    builds = [one.candidate for one in (found.teacher, *found.students)]
    return [
        (f"{task.metric.name} on dev", [_score(one) for one in seen]),
        ("difference, in pairs", gains),
        *((name, [_slice(one, name) for one in seen]) for name in seen[0].slices),
        ("input tokens", [tokens(one.input_tokens) for one in seen]),
        ("output tokens", [tokens(one.output_tokens) for one in seen]),
        ("latency p50 / p95", [latency(one.p50_seconds, one.p95_seconds) for one in seen]),
        ("dollars per 1,000", [dollars(one.dollars_per_1000) for one in seen]),
        ("built in", [duration(one.build_seconds) for one in builds]),
        ("built for", [dollars(one.build_dollars) for one in builds]),
        ("pays back after", ["", *(_pays(found.teacher, one) for one in found.students)]),
    ]


def _score(seen: Evaluation) -> str:
    return f"{percent(seen.score)} ({interval(seen.low, seen.high)})"


def _slice(seen: Evaluation, name: str) -> str:
    if name not in seen.slices:
        return UNKNOWN
    score, low, high, n = seen.slices[name]
    return f"{percent(score)} ({interval(low, high)}), n = {count(n)}"


def _gain(trial: Trial) -> str:
    if trial.gain is None:
        return UNKNOWN
    return f"{points(trial.gain.difference)} ({points_interval(trial.gain)})"


def _pays(teacher: Trial, student: Trial) -> str:
    """Requests after which the student's building is saved."""
    requests = _requests(teacher, student)
    if requests is None:
        return UNKNOWN
    return "never: it is no cheaper" if requests < 0 else f"{about(requests)} requests"


def _requests(teacher: Trial, student: Trial) -> float | None:
    before = teacher.evaluation.dollars_per_1000
    after = student.evaluation.dollars_per_1000
    built = student.candidate.build_dollars
    if before is None or after is None or built is None:
        return None
    return 1000 * built / (before - after) if before > after else -1.0


def _lesson(found: Distilled) -> list[str]:
    told: Mapping[str, Json] = found.labelling
    lines = [f"{count(told.get('kept'))} answers of the teacher were learned from"]
    for why, many in dict(told.get("left_out") or {}).items():
        lines.append(f"{count(many):>8} left out: {why}")
    return [*lines, f"each of them: {told.get('rows')}"]


def _cautions(found: Distilled) -> list[str]:
    said = [one for trial in found.students for one in trial.candidate.cautions]
    stopped = [one for one in found.students if one.stopped_early is not None]
    said += [f"{name_of(one.candidate)} stopped early: {one.stopped_early}" for one in stopped]
    if found.teacher.evaluation.score < 0.5:
        said.append("the teacher's own score is low: much of what it teaches is its mistakes")
    return list(dict.fromkeys(said))


def _best(students: Sequence[Trial]) -> Trial:
    whole = [one for one in students if one.stopped_early is None] or list(students)
    return max(whole, key=lambda one: one.evaluation.score)


def _columns(found: Distilled) -> list[dict[str, str]]:
    return [
        {"name": f"before: {name_of(found.teacher.candidate)}"},
        *({"name": f"after: {name_of(one.candidate)}"} for one in found.students),
    ]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = cells
    padded = [f"{one:<{width}}" for one, width in zip(rest, widths, strict=True)]
    return "  ".join([f"{first:<22}", *padded]).rstrip()


def _trial_record(trial: Trial) -> dict[str, Json]:
    seen, gain, made = trial.evaluation, trial.gain, trial.candidate
    return {
        "step": made.step,
        "solver": made.name,
        "changed": made.changed,
        "score": seen.score,
        "low": seen.low,
        "high": seen.high,
        "n": seen.n,
        "slices": {
            name: dict(zip(("score", "low", "high", "n"), measured, strict=True))
            for name, measured in seen.slices.items()
        },
        "gain": None
        if gain is None
        else {"difference": gain.difference, "low": gain.low, "high": gain.high},
        "input_tokens": seen.input_tokens,
        "output_tokens": seen.output_tokens,
        "p50_seconds": seen.p50_seconds,
        "p95_seconds": seen.p95_seconds,
        "dollars_per_1000": seen.dollars_per_1000,
        "build_seconds": made.build_seconds,
        "build_dollars": made.build_dollars,
        "stopped_early": trial.stopped_early,
    }
