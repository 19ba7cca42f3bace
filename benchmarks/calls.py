"""Calls of functions by the embedded model, before and after it was tuned on them, in pairs.

Two public data sets, each tuned on by itself as `--steps functions,fine_tune` does it, and measured
on test examples that no choice saw:

    sgd_calls    a dialogue so far: which call comes next, or none (Rastogi et al., AAAI 2020). Test
                 dialogues are of services of which some are not in train; rows of one dialogue
                 stand or fall together
    bfcl         a request: which calls, or none (Patil et al., ICML 2025: its categories simple,
                 multiple, parallel, parallel multiple, irrelevance, cut at random by row; the
                 leaderboard has no training part, so these are not its official scores)

Both times the answer is held to a JSON list of calls. Before, the functions are shown by their
schemas, which the untuned model does better with; the tuned one is shown signatures. How long a
training takes is bounded, so that all of it ends within 35 minutes on two quiet cores.
The data is given as a folder with a folder for each set: train.jsonl, test.jsonl, functions.json.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from environment import RESULTS, finish, parser, where

from stepladder.compare import paired_gain
from stepladder.core import (
    Candidate,
    DataSource,
    Evaluation,
    Example,
    Json,
    MetricSpec,
    Row,
    Solver,
    Split,
    Target,
    Task,
)  # fmt: skip
from stepladder.evaluate import Bench, evaluate
from stepladder.functions.calls import calls_in
from stepladder.metrics import load_metric
from stepladder.report.live import LiveLadder
from stepladder.session import Options, make_steps, open_climb

ASKED = {
    "sgd_calls": "Call the function that is due next in the conversation, if one is. Today is "
    "2019-03-01. Write dates as 2019-03-01 and times as 17:30.",
    "bfcl": "Call the functions that answer the request, if there are such.",
}
METRICS: Mapping[str, Mapping[str, Json]] = {
    "call_match": {},
    "function names": {"compare": "name"},
    "decision to call": {"compare": "decision"},
    "argument_f1": {},
}
CATEGORY = "category"
# two cores learn slowly: the longer train rows, with many candidates, are left out, and a step is
# short; no test row is
LONGEST, PER_STEP = 800, 1024  # tokens


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--data", type=Path, required=True, help="the folder of the data sets")
    options.add_argument("--runs", type=Path, required=True, help="where runs are kept")
    options.add_argument("--sets", nargs="*", default=sorted(ASKED, reverse=True))
    options.add_argument("--test", type=int, default=120, help="test examples of each set")
    options.add_argument("--minutes", type=float, default=11.0, help="of each training")
    options.add_argument("--threads", type=int, help="of training; one where others work as well")
    chosen = options.parse_args()
    kept = RESULTS / "calls.json"  # of a set that is not asked for, what was measured before
    found = json.loads(kept.read_text())["sets"] if chosen.write and kept.is_file() else {}
    for name in chosen.sets:
        place, started = where(), time.perf_counter()
        found[name] = {**place, **measure_set(name, chosen)}
        found[name]["minutes"] = round((time.perf_counter() - started) / 60, 1)
    finish("calls", {"sets": found}, write=chosen.write)


def measure_set(name: str, chosen: Any) -> dict[str, Json]:
    folder = chosen.data / name
    train, test = list(examples(folder / "train.jsonl")), list(examples(folder / "test.jsonl"))
    random.Random(0).shuffle(test)
    test = test[: chosen.test]
    task = _task(name, folder, chosen.minutes, chosen.threads)
    split = Split(tuple(train), (), tuple(test))
    with ExitStack() as stack:
        ladder = stack.enter_context(LiveLadder())
        how = Options(steps=("functions", "fine_tune"), runs=chosen.runs / name)
        on = stack.enter_context(open_climb(task, split, how, ladder.tell))
        workshop = on.bench.workshop
        functions, fine_tune = make_steps(task, ["functions", "fine_tune"])
        (base,) = (
            one.solver
            for one in functions.propose(task, train, None, workshop)
            if one.name == "json"
        )
        before = measure(base, test, on.bench)
        (candidate,) = fine_tune.propose(task, train, None, workshop)
        after = measure(candidate.solver, test, on.bench)
    return {
        "model": task.models[0],
        "train": len(train),
        "test": len(test),
        "test without a call": sum(not wanted(one) for one in test),
        "training": _training(candidate),
        "before": _told(before, test),
        "after": _told(after, test),
        "gain": {
            metric: _gain(after[metric], before[metric], metric) for metric in METRICS
        },
    }  # fmt: skip


def measure(solver: Solver, test: Sequence[Example], bench: Bench) -> dict[str, Evaluation]:
    """One evaluation by each metric, of the same answers: they are asked for once."""
    found = {}
    for label, options in METRICS.items():
        name = "argument_f1" if label == "argument_f1" else "call_match"
        task = replace(bench.task, metric=MetricSpec(name, options))
        by = replace(bench, task=task, metric=load_metric(task))
        found[label] = evaluate(solver, test, by, "test", lambda record: None)
    return found


def examples(path: Path) -> Iterator[Example]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            meta = row["meta"]
            asked = {"text": row["input"], "functions": meta["functions"]}
            dialogue = row["id"].rpartition("-")[0] if "services" in meta else None
            about = {key: meta[key] for key in ("acceptable", CATEGORY) if key in meta}
            yield Example(row["id"], asked, row["output"], dialogue, about)


def wanted(example: Example) -> bool:
    return bool(calls_in(example.expected))


def _task(name: str, folder: Path, minutes: float, threads: int | None) -> Task:
    more: dict[str, Json] = {} if threads is None else {"threads": threads}
    return Task(
        name, "calls", ASKED[name], Target(0.9), MetricSpec("call_match"), DataSource(),
        folder=folder,
        steps={
            "functions": {"catalogue": "functions.json", "candidates": "functions"},
            "fine_tune": {
                "minutes": minutes, "epochs": 2, "held_out": 0.02,
                "max_length": LONGEST, "tokens_per_batch": PER_STEP, **more,
            },
        },
    )  # fmt: skip


def _training(candidate: Candidate) -> dict[str, Json]:
    losses = [p.held_out_loss for p in candidate.learning if p.held_out_loss is not None]
    return {
        "changed": candidate.changed,
        "seconds": round(candidate.build_seconds),
        "tokens": candidate.build_tokens,
        "epochs": round(candidate.learning[-1].epoch, 2) if candidate.learning else None,
        "held_out_losses": [round(loss, 3) for loss in losses],
        "cautions": list(candidate.cautions),
    }


def _told(found: Mapping[str, Evaluation], test: Sequence[Example]) -> dict[str, Json]:
    match = found["call_match"]
    calls = {one.id for one in test if wanted(one)}
    told: dict[str, Json] = {metric: _interval(one) for metric, one in found.items()}
    told["where a call is wanted"] = _share(row for row in match.rows if row.id in calls)
    told["where none is wanted"] = _share(row for row in match.rows if row.id not in calls)
    categories = {one.id: one.metadata.get(CATEGORY) for one in test}
    for each in sorted({str(one) for one in categories.values() if one is not None}):
        told[each] = _share(row for row in match.rows if categories[row.id] == each)
    told["seconds_p50"] = match.p50_seconds
    told["input_tokens"], told["output_tokens"] = match.input_tokens, match.output_tokens
    return told


def _interval(seen: Evaluation) -> dict[str, Json]:
    return {"score": _r(seen.score), "low": _r(seen.low), "high": _r(seen.high), "n": seen.n}


def _share(rows: Iterator[Row]) -> dict[str, Json]:
    """Right ones of how many, with the interval of a share."""
    from stepladder.stats import interval

    chosen = list(rows)
    counts = [row.counts for row in chosen]
    found = interval(counts, "binary", 0.05, groups=[row.group for row in chosen])
    return {
        "score": _r(found.score), "low": _r(found.low), "high": _r(found.high), "n": len(chosen),
    }  # fmt: skip


def _gain(after: Evaluation, before: Evaluation, metric: str) -> dict[str, Json]:
    scale: Any = "ratio" if metric == "argument_f1" else "binary"
    gain = paired_gain(after.rows, before.rows, scale, 0.05, against="before")
    return {
        "difference": _r(gain.difference), "low": _r(gain.low), "high": _r(gain.high),
        "p_value": gain.p_value, "n": gain.n, "method": gain.method,
    }  # fmt: skip


def _r(value: float) -> float:
    return round(float(value), 4)


if __name__ == "__main__":
    main()
