"""The second half of the page as plain values: costs, the data, how it was decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..core import Decision, Ownership, Task
from .charts import PRACTICALLY_FREE, frontier_measure
from .money import break_evens, cost_lines, never_crossed
from .picks import best_trial, owner_of
from .words import (
    about,
    count,
    dollars,
    duration,
    finite,
    key_of,
    listing,
    moment,
    name_of,
    percent,
    tokens,
    who_of,
)

__all__ = ["costs_view", "data_view", "frontier_view", "learning_view", "method_view"]

View = dict[str, Any]
Facts = list[tuple[str, str]]
NOT_RECORDED = "not recorded"
MOST_LABELS = 40


def frontier_view(decision: Decision) -> View:
    """Which cost the chart is over, and who could not be drawn because it is unknown."""
    field, words = frontier_measure(decision.trials)
    missing = [
        name_of(trial.candidate)
        for trial in decision.trials
        if finite(getattr(trial.evaluation, field)) is None
    ]
    return {
        "words": words,
        "missing": listing(missing) if missing else None,
        "free": listing(
            name_of(trial.candidate)
            for trial in decision.trials
            if (cost := finite(getattr(trial.evaluation, field))) is not None
            and cost <= PRACTICALLY_FREE
        ),
        "instead": field != "dollars_per_1000",
    }


def learning_view(decision: Decision) -> list[View]:
    """The training runs: first, best and last held-out loss, and where the best was."""
    views = []
    for trial in decision.trials:
        held = [p for p in trial.candidate.learning if finite(p.held_out_loss) is not None]
        if not trial.candidate.learning:
            continue
        last = trial.candidate.learning[-1]
        best = min(held, key=lambda point: point.held_out_loss or 0.0, default=None)
        views.append(
            {
                "name": name_of(trial.candidate),
                "steps": count(last.step),
                "epochs": f"{last.epoch:.1f}",
                "train": f"{last.train_loss:.3f}",
                "held_out": f"{held[-1].held_out_loss:.3f}" if held else "none held out",
                "best": f"{best.held_out_loss:.3f} at step {count(best.step)}" if best else "",
                "seconds": duration(last.seconds or None),
                "cautions": trial.candidate.cautions,
            }
        )
    return views


def costs_view(decision: Decision, task: Task) -> View:
    """Ownership per candidate, break-even points, and the assumptions under them."""
    economics, chosen = task.economics, key_of(decision.chosen) if decision.chosen else None
    volume = economics.requests_per_month
    lines = cost_lines(decision)
    drawn = {line.name for line in lines}
    never = never_crossed(lines, volume) if volume else ([], [])
    best = owner_of(decision, best_trial(decision))
    assumed = dict.fromkeys(text for each in decision.ownership for text in each.assumptions)
    return {
        "rows": [
            {**_own_row(own, task), "chosen": key_of(own) == chosen} for own in decision.ownership
        ],
        "volume": f"{count(volume)} requests a month" if volume else None,
        "months": f"{economics.months:g} months",
        "break_evens": [
            f"{each.cheaper} costs less to own than {each.dearer} from about {about(each.volume)} "
            f"requests a month on ({dollars(each.dollars)} a month there)."
            for each in (break_evens(lines, volume) if volume else ())
        ],
        "dearer": listing(never[0]),
        "cheaper": listing(never[1]),
        "undrawn": listing(
            name
            for each in decision.ownership
            if (name := who_of(each.step, each.name)) not in drawn
        ),
        "errors": any(each.error_dollars_per_month is not None for each in decision.ownership),
        "sensitivity": _sensitivity(best),
        "assumptions": list(assumed),
        "economics": _economics(task),
    }  # fmt: skip


def data_view(task: Task, run: Mapping[str, Any]) -> View:
    """The data card: counts, labels, lengths, warnings, split, hashes, licence."""
    data = _mapping(run.get("data"))
    labels = Counter({str(k): int(v) for k, v in _mapping(data.get("labels")).items()})
    most = max(labels.values(), default=0)
    lengths = _mapping(data.get("input_tokens"))
    facts: Facts = [
        (f"{name} examples", count(data[name]) if data.get(name) is not None else NOT_RECORDED)
        for name in ("train", "dev", "test")
    ]
    facts += [
        ("Input length", f"{tokens(lengths.get('mean'))} tokens on average, 95% within "
                         f"{tokens(lengths.get('p95'))}" if lengths else NOT_RECORDED),
        ("Split", str(data.get("split") or NOT_RECORDED)),
        ("Licence", str(data.get("licence") or data.get("license") or NOT_RECORDED)),
    ]  # fmt: skip
    named = {"train", "dev", "test", "labels", "input_tokens", "split", "licence", "license",
             "sha256", "warnings", "counts"}  # fmt: skip
    counts = _mapping(data.get("counts"))
    if counts:
        facts[:3] = [(f"{name} examples", count(value)) for name, value in counts.items()]
    facts += [(str(name), _say(each)) for name, each in data.items() if name not in named]
    return {
        "facts": facts,
        "labels": [
            {"label": label, "n": count(n), "part": round(n / most, 4) if most else 0.0}
            for label, n in labels.most_common(MOST_LABELS)
        ],
        "labels_left": max(0, len(labels) - MOST_LABELS),
        "warnings": [str(each) for each in data.get("warnings") or ()],
        "checked": data.get("warnings") is not None,
        "sha256": [(str(k), str(v)) for k, v in _mapping(data.get("sha256")).items()],
        "kind": task.kind,
    }


def method_view(decision: Decision, task: Task, run: Mapping[str, Any]) -> View:
    """How it was decided: openings of the sealed test, racing, methods, and where it ran."""
    racing, cache = _mapping(run.get("racing")), _mapping(run.get("cache"))
    machine = _mapping(run.get("machine"))
    spent = sum(each.alpha_spent for each in decision.confirmations)
    methods = dict.fromkeys(trial.evaluation.method for trial in decision.trials)
    paired = dict.fromkeys(trial.gain.method for trial in decision.trials if trial.gain)
    facts: Facts = [
        ("Allowed error rate", f"{percent(task.target.alpha)} over the whole climb: the chance of "
                               "saying “met” when it is not"),
        ("Spent so far", f"{percent(spent, 2)} in {count(len(decision.confirmations))} openings of "
                         "the sealed test"),
        ("Intervals of scores", listing(methods) or NOT_RECORDED),
        ("Paired comparisons", listing(paired) or "none"),
        ("Racing", _racing(racing)),
        ("Cache", f"{count(cache.get('hits'))} answers reused, {count(cache.get('misses'))} asked"
                  if cache else NOT_RECORDED),
        ("Budget", _say(_mapping(run.get("budget"))) or "none set"),
        ("Seed", _say(run.get("seed", task.seed))),
        ("Started", moment(run.get("started")) or NOT_RECORDED),
        ("Finished", moment(run.get("finished")) or NOT_RECORDED),
        ("Machine", _machine(machine)),
        ("stepladder", f"{_say(run.get('version'))}, commit {_say(run.get('commit'))}"),
    ]  # fmt: skip
    return {"facts": facts, "openings": [_opening(each) for each in decision.confirmations]}


def _opening(each: Any) -> View:
    return {
        "opening": count(each.opening),
        "name": who_of(each.step, each.name),
        "score": percent(each.score),
        "low": percent(each.low),
        "n": count(each.n),
        "alpha": percent(each.alpha_spent, 2),
        "method": each.method,
        "passed": each.passed,
        "failed": listing(each.failed),
    }


def _own_row(own: Ownership, task: Task) -> View:
    total = own.total_dollars_per_month
    missing = dollars(None) if total is None else "none"
    worth_unknown = task.economics.dollars_per_success is None
    return {
        "name": who_of(own.step, own.name),
        "build": dollars(own.build_dollars),
        "run": dollars(own.run_dollars_per_month),
        "keep": dollars(own.keep_dollars_per_month),
        "errors": dollars(own.error_dollars_per_month),
        "total": dollars(total[1]) if total else dollars(None),
        "range": f"{dollars(total[0])} to {dollars(total[2])}" if total else "",
        "extra": _or(own.dollars_per_extra_success, dollars, missing),
        "roi": _or(own.roi, _whole_percent, dollars(None) if worth_unknown else missing),
        "break_even": _or(own.break_even_requests_per_month, count, missing),
        "best": percent(own.probability_best, 0),
    }


def _whole_percent(value: float | None) -> str:
    return percent(value, 0)


def _or(value: float | None, words: Callable[[float | None], str], missing: str) -> str:
    return missing if value is None else words(value)


def _sensitivity(own: Ownership | None) -> list[View]:
    if own is None:
        return []
    ranked = sorted(own.sensitivity.items(), key=lambda item: -abs(item[1][1] - item[1][0]))
    return [
        {"name": name, "low": dollars(low), "high": dollars(high)} for name, (low, high) in ranked
    ]


def _economics(task: Task) -> Facts:
    money = task.economics
    return [
        ("Requests per month", count(money.requests_per_month)),
        ("Horizon", f"{money.months:g} months"),
        ("Value of a success", dollars(money.dollars_per_success)),
        ("Cost of an error", dollars(money.dollars_per_error)),
        ("Cost of a label", dollars(money.dollars_per_label)),
        ("An engineer's hour", dollars(money.dollars_per_engineer_hour)),
        ("Hardware", task.hardware.name or (
            f"{dollars(task.hardware.dollars_per_hour)} an hour"
            if task.hardware.dollars_per_hour is not None else dollars(None))),
    ]  # fmt: skip


def _racing(racing: Mapping[str, Any]) -> str:
    if not racing:
        return NOT_RECORDED
    planned, saved = racing.get("calls_planned"), racing.get("calls_saved")
    text = f"{count(racing.get('calls_made'))} of {count(planned)} planned calls made"
    if planned and saved is not None:
        text += f"; {count(saved)} saved ({percent(saved / planned, 0)})"
    return text


def _machine(machine: Mapping[str, Any]) -> str:
    if not machine:
        return NOT_RECORDED
    known = dict(machine)
    parts = [str(known.pop("cpu", "") or "")]
    if known.pop("bfloat16", None) is False:
        parts.append("no units for bfloat16")
    if known.get("cores") is not None:
        parts.append(f"{known.pop('cores')} cores")
    if known.get("memory_gib") is not None:
        parts.append(f"{known.pop('memory_gib'):.0f} GiB of memory")
    if known.get("python"):
        parts.append(f"Python {known.pop('python')}")
    return ", ".join([*filter(None, parts), *(str(each) for each in known.values() if each)])


def _say(value: Any) -> str:
    if value is None:
        return NOT_RECORDED
    if isinstance(value, Mapping):
        return ", ".join(f"{str(k).replace('_', ' ')}: {_say(v)}" for k, v in value.items()
                         if v is not None)  # fmt: skip
    if isinstance(value, Sequence) and not isinstance(value, str):
        return listing((_say(each) for each in value), 12)
    return f"{value:,.6g}" if isinstance(value, float) else str(value)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
