"""The first half of the page as plain values: the verdict, the ladder, the gains, the changes.

All wording and rounding happens here and in `page_facts.py`, so that templates hold no logic:
whatever comes out is text, and the template engine escapes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..compare import reading
from ..core import Decision, Evaluation, Gain, Task, Trial
from .changes import as_text, changes, full_texts, prompt_text, solver_fields
from .failures import Failures, compared_trials
from .hosted import call_sentences, upgrade_sentences
from .picks import baseline_of, best_trial, confirmation_of, owner_of
from .record import decision_record
from .verdict import VERDICTS, target_text, verdict_sentence
from .words import (
    UNKNOWN,
    count,
    dollars,
    duration,
    interval,
    key_of,
    latency,
    moment,
    name_of,
    p_value,
    percent,
    points,
    points_interval,
    tokens,
)

__all__ = ["failures_view", "gains_view", "ladder_view", "steps_view", "verdict_view"]

View = dict[str, Any]


def verdict_view(decision: Decision, task: Task, run: Mapping[str, Any]) -> View:
    """The sentence, the four figures that matter, and what to beware of."""
    record = decision_record(decision, task, run)
    return {
        "task": task.name,
        "verdict": decision.verdict,
        "badge": VERDICTS[decision.verdict],
        "sentence": _without_badge(record),
        "reason": decision.reason,
        "target": target_text(record["target"]),
        "tiles": _tiles(decision, task),
        "limits": run.get("limits"),
        "cautions": decision.cautions,
        "finished": moment(run.get("finished")),
    }


def ladder_view(decision: Decision, record: Mapping[str, Any] | None = None) -> View:
    """Every trial as a row, what the sealed test said, what was skipped, what calls were like."""
    chosen = key_of(decision.chosen) if decision.chosen else None
    rows, step = [], None
    for trial in decision.trials:
        rows.append(
            {
                **_trial_row(trial),
                "chosen": key_of(trial) == chosen,
                "new_step": step is not None and trial.candidate.step != step,
            }
        )
        step = trial.candidate.step
    return {
        "rows": rows,
        "metric": decision.trials[0].evaluation.metric if decision.trials else "score",
        "stopped": sum(trial.stopped_early is not None for trial in decision.trials),
        "skipped": decision.skipped,
        "calls": call_sentences(record) if record else [],
        "upgrades": upgrade_sentences(record) if record else [],
        "slices": _slices(best_trial(decision), _floors(record)),
    }


def gains_view(decision: Decision) -> list[View]:
    """Every paired comparison as a row."""
    return [
        {
            "name": name_of(trial.candidate),
            **_gain_row(trial.gain),
            "against": _against(trial, decision),
        }
        for trial in decision.trials
        if trial.gain is not None
    ]


def steps_view(decision: Decision) -> list[View]:
    """What each step's best candidate, and the chosen one, changed of what they started from."""
    shown = {key_of(trial) for trial in compared_trials(decision)}
    views = []
    for trial in decision.trials:
        if key_of(trial) not in shown:
            continue
        before = baseline_of(trial, decision)
        views.append(
            {
                "name": name_of(trial.candidate),
                "against": name_of(before.candidate) if before else None,
                "changed": trial.candidate.changed,
                "cautions": trial.candidate.cautions,
                "tried": _tried(trial),
                "built": _built(trial),
                "changes": changes(before.candidate.solver if before else None,
                                   trial.candidate.solver),
                "prompt": prompt_text(trial.candidate.solver),
                "texts": full_texts(trial.candidate.solver),
                "record": as_text(_short_record(trial)),
            }
        )  # fmt: skip
    return views


def _tried(trial: Trial) -> list[View]:
    """What the step compared on train, as tables: those with the same measures together."""
    tables: dict[tuple[str, ...], list[View]] = {}
    for one in trial.candidate.tried:
        scores = [
            {"score": percent(score), "interval": interval(low, high), "n": n}
            for score, low, high, n in one.scores.values()
        ]
        row = {"name": one.name, "note": one.note, "scores": scores}
        tables.setdefault(tuple(one.scores), []).append(row)
    return [{"measures": names, "rows": rows} for names, rows in tables.items()]


def failures_view(decision: Decision, failures: Failures, task: Task) -> View:
    """Kinds of failure per compared solver, what they point to, and the sampled cases."""
    from ..diagnose import KINDS, advice  # it imports metrics, which --help can do without

    trials = failures.trials
    kinds: dict[str, int] = {}
    for trial in trials:
        for kind, times in trial.diagnosis.kinds.items():
            kinds[kind] = kinds.get(kind, 0) + times
    ordered = sorted(kinds, key=lambda kind: -kinds[kind])
    return {
        "solvers": [name_of(trial.candidate) for trial in trials],
        "kinds": [
            {
                "kind": kind,
                "meaning": KINDS.get(kind, ""),
                "counts": [_share(trial, kind) for trial in trials],
            }
            for kind in ordered
        ],
        "confusions": [
            {"expected": expected, "answered": answered, "times": count(times)}
            for expected, answered, times in (trials[0].diagnosis.confusions[:12] if trials else ())
        ],
        "advice": [
            {"solver": name_of(trial.candidate), "step": step or "none", "sentence": sentence}
            for trial in trials
            for step, sentence in advice(trial.diagnosis, task)
        ],
        "cases": failures.cases,
        "choices": failures.kinds,
        "total": count(failures.total),
        "shown": count(len(failures.cases)),
        "all_shown": len(failures.cases) >= failures.total,
        "problems": failures.problems,
    }


def _without_badge(record: Mapping[str, Any]) -> str:
    """The sentence after its first words, which the badge above it says already."""
    text = verdict_sentence(record).partition(": ")[2]
    starts_with_a_name = record["verdict"] == "met" and record["chosen"] is not None
    return text if starts_with_a_name else text[:1].upper() + text[1:]


def _tiles(decision: Decision, task: Task) -> list[View]:
    best = best_trial(decision)
    if best is None:
        return []
    seen, proof, own = best.evaluation, confirmation_of(decision, best), owner_of(decision, best)
    if proof is not None:
        score = (f"≥ {percent(proof.low)}", f"{percent(proof.score)} on {count(proof.n)} sealed "
                 f"test examples; target {percent(task.target.score)}")  # fmt: skip
    else:
        score = (percent(seen.score), f"{interval(seen.low, seen.high)} on {count(seen.n)} "
                 f"{seen.set} examples; target {percent(task.target.score)}")  # fmt: skip
    volume = task.economics.requests_per_month
    total = own.total_dollars_per_month if own else None
    month = (UNKNOWN, "a price or a volume is missing")
    if total is not None:
        month = (dollars(total[1]), f"{dollars(total[0])} to {dollars(total[2])} (90% range)")
    at = f" at {count(volume)} requests" if volume else ""
    return [
        {"name": f"{task.metric.name}, {name_of(best.candidate)}", "figure": score[0],
         "under": score[1]},
        {"name": "per 1,000 requests", "figure": dollars(seen.dollars_per_1000),
         "under": f"tokens per request, in + out: {_token_pair(best)}"},
        {"name": "time to answer, 95%", "figure": duration(seen.p95_seconds),
         "under": f"half within {duration(seen.p50_seconds)}"},
        {"name": f"to own, per month{at}", "figure": month[0], "under": month[1]},
    ]  # fmt: skip


def _trial_row(trial: Trial) -> View:
    seen, candidate = trial.evaluation, trial.candidate
    return {
        "name": name_of(candidate),
        "stopped": trial.stopped_early,
        "score": percent(seen.score),
        "interval": interval(seen.low, seen.high),
        "also": [
            *(
                f"{name} {percent(score)} ({interval(low, high)})"
                for name, (score, low, high, _) in seen.also.items()
            ),
            *_confidence(seen),
        ],
        "n": count(seen.n),
        "planned": count(seen.planned) if seen.n < seen.planned else None,
        "latency": latency(seen.p50_seconds, seen.p95_seconds),
        "tokens": _token_pair(trial),
        "dollars": dollars(seen.dollars_per_1000),
        "build_time": duration(candidate.build_seconds),
        "build_dollars": dollars(candidate.build_dollars),
    }


def _confidence(seen: Evaluation) -> list[str]:
    """How far the answers' confidence can be believed, where they came with one."""
    if seen.calibration_error is None:
        return []
    return [f"calibration error {percent(seen.calibration_error)}"]


def _token_pair(trial: Trial) -> str:
    seen = trial.evaluation
    if seen.input_tokens is None and seen.output_tokens is None:
        return UNKNOWN
    return f"{tokens(seen.input_tokens)} + {tokens(seen.output_tokens)}"


def _gain_row(gain: Gain) -> View:
    return {
        "difference": points(gain.difference),
        "interval": points_interval(gain),
        "level": percent(1 - gain.alpha, 0),
        "p": p_value(gain.p_value).removeprefix("p = ").removeprefix("p "),
        "n": count(gain.n),
        "method": gain.method,
        "meaning": reading(gain.low, gain.high, gain.p_value, gain.alpha),
    }


def _against(trial: Trial, decision: Decision) -> str:
    before = baseline_of(trial, decision)
    if before is None:
        return trial.gain.against if trial.gain else ""
    return name_of(before.candidate)


def _floors(record: Mapping[str, Any] | None) -> Mapping[str, float]:
    return ((record or {}).get("target") or {}).get("floors") or {}


def _slices(trial: Trial | None, floors: Mapping[str, float]) -> View | None:
    if trial is None or not trial.evaluation.slices:
        return None
    rows = [
        {
            "name": name,
            "score": percent(score),
            "interval": interval(low, high),
            "n": count(n),
            "floor": percent(floors[name]) if name in floors else "",
        }
        for name, (score, low, high, n) in trial.evaluation.slices.items()
    ]
    floored = any(row["floor"] for row in rows)
    return {"name": name_of(trial.candidate), "rows": rows, "floored": floored}


def _built(trial: Trial) -> str:
    candidate = trial.candidate
    parts = [f"built in {duration(candidate.build_seconds)}"]
    if candidate.build_calls:
        many = "s" if candidate.build_calls != 1 else ""
        parts.append(f"{count(candidate.build_calls)} model call{many}")
    if candidate.build_tokens:
        parts.append(f"{count(candidate.build_tokens)} tokens")
    money = dollars(candidate.build_dollars)
    return ", ".join([*parts, money if money != UNKNOWN else "dollars unknown"])


def _short_record(trial: Trial) -> Any:
    """The record without its long fields, which stand in full in blocks of their own."""
    record = solver_fields(trial.candidate.solver)
    long = full_texts(trial.candidate.solver)
    return {name: "(in full above)" if name in long else each for name, each in record.items()}


def _share(trial: Trial, kind: str) -> View:
    times, n = trial.diagnosis.kinds.get(kind, 0), trial.diagnosis.n or trial.evaluation.n
    share = times / n if n else 0.0
    return {"times": count(times), "share": percent(share), "part": round(min(1.0, share), 4)}
