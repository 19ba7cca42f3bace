"""The real ladder on a real task with the embedded model: score, time and tokens of every step.

Every step is measured on dev, whatever was confirmed before. Beside the ladder stands a prompt with
20 demonstrations, since that is what a fine-tuned model with a short prompt must beat. Training and
measuring share the run folder of the task, so a second run only repeats what is not there yet.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from environment import finish, parser, where

from stepladder.compare import paired_gain
from stepladder.core import Decision, Evaluation, Json, Trial
from stepladder.data.split import load_split
from stepladder.evaluate import evaluate
from stepladder.report.live import LiveLadder
from stepladder.session import Options, open_climb, run_climb
from stepladder.steps.prompt_variants import plain_prompt
from stepladder.store import RowFile
from stepladder.task import load_task

EXAMPLES = Path(__file__).parents[1] / "examples"
DEMOS = 20


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("task", choices=["pharmacovigilance", "customer-intents"])
    options.add_argument("--limit", type=int, help="at most so many examples of each set")
    options.add_argument("--fine-tune-minutes", type=float, help="bound the training")
    chosen = options.parse_args()
    place = where()
    task = load_task(EXAMPLES / chosen.task)
    steps = dict(task.steps)
    if chosen.fine_tune_minutes:
        steps["fine_tune"] = {**steps.get("fine_tune", {}), "minutes": chosen.fine_tune_minutes}
    task = replace(task, data=replace(task.data, limit=chosen.limit), steps=steps)
    split = load_split(task)
    how = Options(whole_ladder=True)
    with LiveLadder() as ladder:
        decision, folder = run_climb(task, split, how, ladder.tell)
        with open_climb(task, split, how, ladder.tell) as on:
            demos = tuple((e.input, e.expected) for e in split.train[:DEMOS])
            long = replace(plain_prompt(task), demos=demos)
            with closing(RowFile(folder / "rows" / "prompt-with-20.dev.jsonl")) as rows:
                twenty = evaluate(long, split.dev, on.bench, "dev", rows.write)
            scale = on.bench.metric.scale
    result = {
        **place,
        "task": task.name,
        "model": task.models[0],
        "examples": {"train": len(split.train), "dev": len(split.dev), "test": len(split.test)},
        "fine_tune_minutes_at_most": chosen.fine_tune_minutes,
        "verdict": decision.verdict,
        "reason": decision.reason,
        "confirmations": [
            {"step": c.step, "score": c.score, "low": c.low, "n": c.n, "passed": c.passed}
            for c in decision.confirmations
        ],
        "trials": [_trial(trial) for trial in decision.trials],
        f"prompt_with_{DEMOS}_examples": _evaluation(twenty),
        "fine_tune_against": _against(decision, twenty, scale),
        "racing": _racing(decision),
    }
    finish(f"ladder_{task.name}", result, write=chosen.write)


def _trial(trial: Trial) -> dict[str, Json]:
    candidate = trial.candidate
    return {
        "step": candidate.step,
        "solver": candidate.name,
        "changed": candidate.changed,
        **_evaluation(trial.evaluation),
        "build_seconds": round(candidate.build_seconds, 1),
        "build_calls": candidate.build_calls,
        "build_tokens": candidate.build_tokens,
        "stopped_early": trial.stopped_early,
        "failures": dict(trial.diagnosis.kinds),
        "cautions": list(candidate.cautions),
    }


def _evaluation(seen: Evaluation) -> dict[str, Json]:
    return {
        "score": round(seen.score, 4),
        "low": round(seen.low, 4),
        "high": round(seen.high, 4),
        "n": seen.n,
        "p50_seconds": seen.p50_seconds,
        "p95_seconds": seen.p95_seconds,
        "input_tokens": seen.input_tokens,
        "output_tokens": seen.output_tokens,
        "wall_seconds": seen.wall_seconds,
    }


def _against(decision: Decision, twenty: Evaluation, scale: Any) -> dict[str, Json]:
    """The fine-tuned model in pairs against the best of each earlier step and the long prompt."""
    best: dict[str, Trial] = {}
    for trial in decision.trials:
        step = trial.candidate.step
        if trial.stopped_early is None and (
            step not in best or trial.evaluation.score > best[step].evaluation.score
        ):
            best[step] = trial
    tuned = best.pop("fine_tune", None)
    if tuned is None:
        return {}
    rivals = {step: trial.evaluation for step, trial in best.items()}
    rivals[f"prompt with {DEMOS} examples"] = twenty
    found: dict[str, Json] = {}
    for name, rival in rivals.items():
        gain = paired_gain(tuned.evaluation.rows, rival.rows, scale, 0.05, against=name, seed=0)
        found[name] = {
            "gain": round(gain.difference, 4),
            "low": round(gain.low, 4),
            "high": round(gain.high, 4),
            "relative": round(gain.difference / rival.score, 3) if rival.score else None,
            "share_of_its_input_tokens": _share(tuned.evaluation, rival),
        }
    return found


def _share(tuned: Evaluation, rival: Evaluation) -> float | None:
    if not rival.input_tokens or tuned.input_tokens is None:
        return None
    return round(tuned.input_tokens / rival.input_tokens, 3)


def _racing(decision: Decision) -> dict[str, Json]:
    planned = sum(trial.evaluation.planned for trial in decision.trials)
    made = sum(trial.evaluation.n for trial in decision.trials)
    return {"planned": planned, "made": made, "share_saved": round(1 - made / planned, 3)}


if __name__ == "__main__":
    main()
