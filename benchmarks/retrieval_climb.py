"""What passages gain over demonstrations: a real climb on COVID-QA with the embedded model.

The steps `few_shot` and `retrieval` climb the example as a user would, on dev; then the best of
each answers the same test questions, and the two are compared in pairs. Articles are the units, and
beside that questions are, since there are few articles. What an answer cites is held against the
gold passages. Nothing is opened that a user's climb counts: the example is copied.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from environment import finish, parser, where

from stepladder.compare import paired_gain
from stepladder.core import Decision, Evaluation, Example, Row, Trial
from stepladder.data.split import load_split
from stepladder.evaluate import evaluate
from stepladder.knowledge.scoring import gold_of
from stepladder.report.live import LiveLadder
from stepladder.session import Options, open_climb, run_climb
from stepladder.solvers.prompt import PromptSolver
from stepladder.store import RowFile, output_of, read_rows
from stepladder.task import load_task

EXAMPLE = Path(__file__).parents[1] / "examples" / "policy-answers"
STEPS = ("few_shot", "retrieval")
SHOTS = {
    "k": [4, 8]
}  # of what few_shot tries by itself, so that the whole stays below half an hour


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--test", type=int, default=200, help="at most so many test questions")
    options.add_argument("--kept", type=Path, help="a folder for the run, to go on later")
    chosen = options.parse_args()
    place = where()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.kept or Path(scratch)
        copy = folder / "policy-answers"
        shutil.copytree(EXAMPLE, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("runs"))
        result = climbed(copy, chosen.test)
    result["minutes"] = round((time.perf_counter() - started) / 60, 1)
    finish("retrieval_climb", {**place, **result}, write=chosen.write)


def climbed(folder: Path, most: int) -> dict[str, Any]:
    task = load_task(folder)
    task = replace(task, steps={**task.steps, "few_shot": SHOTS})
    split = load_split(task)
    asked = sorted(random.Random(0).sample(split.test, min(most, len(split.test))), key=_id)
    how = Options(steps=STEPS, whole_ladder=True)
    with LiveLadder() as ladder:
        decision, run = run_climb(task, split, how, ladder.tell)
        best = {step: _best(decision, step) for step in STEPS}
        rows = {step: run / "rows" / f"{step}-on-test.jsonl" for step in STEPS}
        with open_climb(task, split, how, ladder.tell) as on:
            seen = {}
            for step, trial in best.items():
                with closing(RowFile(rows[step])) as file:
                    solver = trial.candidate.solver
                    seen[step] = evaluate(solver, asked, on.bench, "test", file.write)
            scale = on.bench.metric.scale
    few, found = (seen[step] for step in STEPS)
    return {
        "model": task.models[0],
        "metric": task.metric.name,
        "examples": {"train": len(split.train), "dev": len(split.dev), "test": len(asked)},
        "articles_of_test": len({example.group for example in asked}),
        "dev": [_trial(trial) for trial in decision.trials],
        "test": {step: _evaluation(one) for step, one in seen.items()},
        "gain_on_test": {
            "articles as units": _gain(found.rows, few.rows, scale),
            "questions as units": _gain(_apart(found.rows), _apart(few.rows), scale),
        },
        "citations_on_test": _citations(rows["retrieval"], asked),
        "searched": _tried(best["retrieval"]),
    }


def _best(decision: Decision, step: str) -> Trial:
    trials = [trial for trial in decision.trials if trial.candidate.step == step]
    return max(trials, key=lambda trial: (trial.stopped_early is None, trial.evaluation.score))


def _trial(trial: Trial) -> dict[str, Any]:
    one = trial.candidate
    gain = trial.gain
    return {
        "step": one.step,
        "solver": one.name,
        "changed": one.changed,
        "build_seconds": round(one.build_seconds, 1),
        "build_calls": one.build_calls,
        "stopped_early": trial.stopped_early,
        "gain": None
        if gain is None
        else {"against": gain.against, "difference": _r(gain.difference), "low": _r(gain.low),
              "high": _r(gain.high), "p_value": gain.p_value, "n": gain.n},
        "cautions": list(one.cautions),
        **_evaluation(trial.evaluation),
    }  # fmt: skip


def _evaluation(one: Evaluation) -> dict[str, Any]:
    return {
        "score": _r(one.score),
        "low": _r(one.low),
        "high": _r(one.high),
        "n": one.n,
        "p50_seconds": one.p50_seconds and round(one.p50_seconds, 2),
        "input_tokens": one.input_tokens and round(one.input_tokens),
        "output_tokens": one.output_tokens and round(one.output_tokens),
    }


def _gain(after: Sequence[Row], before: Sequence[Row], scale: Any) -> dict[str, Any]:
    gain = paired_gain(after, before, scale, 0.05, against="few_shot")
    return {
        "difference": _r(gain.difference), "low": _r(gain.low), "high": _r(gain.high),
        "p_value": gain.p_value, "n": gain.n, "method": gain.method,
    }  # fmt: skip


def _apart(rows: Sequence[Row]) -> list[Row]:
    return [replace(row, group=None) for row in rows]


def _citations(file: Path, asked: Sequence[Example]) -> dict[str, int]:
    """How many answers cite, and how many of those a gold passage; and what they were shown."""
    gold = {example.id: gold_of(example) for example in asked}
    told = {"answers": 0, "gold passage shown": 0, "citing": 0, "citing a gold passage": 0}
    for row in read_rows(file):
        output, right = output_of(row), gold[row["id"]]
        cited = {one.passage.rpartition("#")[0] for one in output.citations}
        shown = {one.passage.rpartition("#")[0] for one in output.context}
        told["answers"] += 1
        told["gold passage shown"] += bool(shown & right)
        told["citing"] += bool(cited)
        told["citing a gold passage"] += bool(cited & right)
    return told


def _tried(trial: Trial) -> list[dict[str, Any]]:
    solver = trial.candidate.solver
    assert isinstance(solver, PromptSolver)
    return [
        {
            "name": one.name,
            "note": one.note,
            **{
                name: {"score": _r(score), "low": _r(low), "high": _r(high), "n": n}
                for name, (score, low, high, n) in one.scores.items()
            },
        }
        for one in trial.candidate.tried
    ]


def _id(example: Example) -> str:
    return example.id


def _r(value: float) -> float:
    return round(float(value), 4)


if __name__ == "__main__":
    main()
