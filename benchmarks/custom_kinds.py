"""Every custom kind of model on one public data set: score, training, speed, size, calibration.

Fitted on train as it is and measured once on test, one kind after the other on this machine. What
is fitted without a language model is measured on all of test; the embedded model (its best prompt,
with demonstrations too, tuned, and a model from scratch) on --asked examples of it, and on those
the others are scored again, so that they can be compared. Latency is that of one request alone.

    python benchmarks/custom_kinds.py banking77 --data FOLDER --write
    python benchmarks/custom_kinds.py banking77 --data FOLDER --steps prompt,few_shot --write
    python benchmarks/custom_kinds.py banking77 --data FOLDER --steps scratch,fine_tune --write

With --write, kinds of other steps stay in the result. Each training ends after --minutes, so the
three commands take two cores at most about ten minutes each. FOLDER holds `train.jsonl` and
`test.jsonl` with `id`, `input`, `output` and `meta`.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from custom_data import DATA, few, make_task, read
from environment import RESULTS, finish, parser, where

from stepladder.core import (
    Candidate,
    Evaluation,
    Example,
    Json,
    MetricSpec,
    Step,
    Task,
    Trial,
    Workshop,
)
from stepladder.diagnose import diagnose
from stepladder.embeddings import ENCODER
from stepladder.encoders.running import ENCODER_FILE
from stepladder.errors import MissingExtra, NotApplicable
from stepladder.evaluate import Bench, evaluate, summarise
from stepladder.metrics import load_metric
from stepladder.models.local import LocalProvider
from stepladder.models.local.weights import fetch_package
from stepladder.solvers import artifacts_of, model_of
from stepladder.stats import expected_calibration_error
from stepladder.steps.baseline import Baseline
from stepladder.steps.encoder import Encoder
from stepladder.steps.few_shot import FewShot
from stepladder.steps.fine_tune import FineTune
from stepladder.steps.heads import Heads
from stepladder.steps.prompt import Prompt
from stepladder.steps.scratch import Scratch

ALONE = 50  # requests that are timed one by one
ASKING = ("prompt", "few_shot", "scratch", "fine_tune")  # those whose solvers ask a language model
JUDGED = 24  # train examples that say which prompt the demonstrations go into


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("name", choices=DATA)
    options.add_argument("--data", type=Path, required=True, help="the folder of the data set")
    options.add_argument("--per-label", type=int, help="train on so many examples of each label")
    options.add_argument("--train", type=int, help="use so many train examples, for a dry run")
    options.add_argument("--steps", default="baseline,heads,encoder", help="which kinds, by step")
    options.add_argument("--minutes", type=float, default=2.0, help="of each training")
    options.add_argument("--asked", type=int, default=100, help="ask a model so many test inputs")
    options.add_argument("--artifacts", type=Path, help="keep what was fitted here, to go on")
    chosen = options.parse_args()
    names = chosen.steps.split(",")
    if unknown := set(names) - set(steps(1.0)):
        options.error(f"no step {sorted(unknown)[0]!r}; known: {', '.join(steps(1.0))}")
    place = where()
    train, test = (read(chosen.data / f"{name}.jsonl") for name in ("train", "test"))
    task = make_task(chosen.name, [*train, *test])
    if chosen.per_label:
        train = few(train, chosen.per_label)
    train = random.Random(0).sample(train, min(chosen.train or len(train), len(train)))
    settings: dict[str, Json] = {
        "data": chosen.name,
        "examples": {"train": len(train), "test": len(test)},
        "per_label": chosen.per_label,
        "metric": task.metric.name,
        "asked": chosen.asked,
    }
    few_of = f"_{chosen.per_label}" if chosen.per_label else ""
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.artifacts or Path(scratch)
        provider = LocalProvider(folder)
        workshop = Workshop(provider.model, folder, lambda event, fields: None)
        measuring = Measuring(task, test, min(chosen.asked, len(test)), workshop)
        kinds = [
            {**measuring.line(candidate), "minutes": chosen.minutes, "measured": place}
            for candidate in candidates(task, train, workshop, names, chosen.minutes)
        ]
        provider.close()
    name = f"custom_{chosen.name}{few_of}"
    kept = [kind for kind in earlier(name, settings, "kinds") if kind["step"] not in names]
    result = {
        **place,
        **settings,
        "kinds": [*kept, *kinds],
        "published": dict(DATA[chosen.name].published),
    }
    finish(name, result, write=chosen.write)


def steps(minutes: float) -> dict[str, Step]:
    """The steps by name; searches of prompts are small enough for a processor."""
    return {
        "baseline": Baseline(),
        "heads": Heads(minutes=minutes),
        "encoder": Encoder(minutes=minutes),
        "prompt": Prompt(sample=JUDGED, keep=2),
        "few_shot": FewShot(k=(4, 8), methods=("bm25", "embedding"), keep=1),
        "scratch": Scratch(minutes=minutes),
        "fine_tune": FineTune(minutes=minutes, max_length=512),
    }


def earlier(name: str, settings: Mapping[str, Json], lines: str) -> list[dict[str, Any]]:
    """The lines of the result that is there, if it was of the same data and settings."""
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        return []
    found = json.loads(path.read_text("utf-8"))
    if any(found.get(key) != value for key, value in settings.items()):
        return []
    return list(found[lines])


def candidates(
    task: Task, train: Sequence[Example], workshop: Workshop, names: Sequence[str], minutes: float
) -> Iterator[Candidate]:
    """All that the steps propose; a step with nothing to offer says why.

    Demonstrations go into the prompt that does best on some of train.
    """
    prompts: list[Trial] = []
    for name in names:
        base = max(prompts, key=lambda one: one.evaluation.score, default=None)
        try:
            for candidate in steps(minutes)[name].propose(task, train, base, workshop):
                if name == "prompt":
                    prompts.append(tried(candidate, task, train[:JUDGED], workshop))
                yield candidate
        except (NotApplicable, MissingExtra) as reason:
            print(f"{name}: {reason.message}", flush=True)


def tried(
    candidate: Candidate, task: Task, examples: Sequence[Example], workshop: Workshop
) -> Trial:
    """The candidate on a few examples."""
    bench = Bench(task, load_metric(task), workshop, lambda usage: None)
    seen = evaluate(candidate.solver, examples, bench, "train", lambda row: None)
    return Trial(candidate, seen, diagnose(seen.rows))


@dataclass(frozen=True)
class Measuring:
    """Measures candidates on test, and on its first `asked` examples in an order of chance."""

    task: Task
    test: Sequence[Example]
    asked: int
    workshop: Workshop

    def line(self, candidate: Candidate) -> dict[str, Json]:
        """One line of the result."""
        also = DATA[self.task.name].also
        chosen = random.Random(0).sample(self.test, len(self.test))
        if candidate.step in ASKING:
            chosen = chosen[: self.asked]
        bench = Bench(
            self.task,
            load_metric(self.task),
            self.workshop,
            lambda usage: None,
            also=tuple(
                load_metric(replace(self.task, metric=MetricSpec("micro_f1", options)))
                for options in also.values()
            ),
        )
        kept: list[Mapping[str, Json]] = []
        found = evaluate(candidate.solver, chosen, bench, "test", kept.append)
        shared = chosen[: self.asked]
        asked = {example.id for example in shared}
        on_asked = [row for row in found.rows if row.id in asked]
        made: dict[str, Json] = {
            "step": candidate.step,
            "kind": candidate.name,
            "n": len(chosen),
            **rounded(found),
            "on_asked": rounded(summarise(on_asked, shared, bench, set_name="test")),
            "also": dict(zip(also, found.also.values(), strict=True)),
            "slices": {
                name: [round(value, 4) for value in one] for name, one in found.slices.items()
            },
            "calibration_error": calibration_error(kept) if self.task.labels else None,
            "train_seconds": round(candidate.build_seconds, 1),
            "train_tokens": candidate.build_tokens,
            "ms_per_request": round(1000 * self.alone(candidate), 2),
            "input_tokens": found.input_tokens,
            "megabytes": round(size(candidate, self.workshop) / 1e6, 2),
            "told": candidate.changed,
            "cautions": list(candidate.cautions),
        }
        print(
            json.dumps({key: made[key] for key in ("kind", "score", "train_seconds")}), flush=True
        )
        return made

    def alone(self, candidate: Candidate) -> float:
        """Seconds of a request that nothing is beside, in the median."""
        inputs = [example.input for example in self.test[:ALONE]]
        if candidate.step in ASKING:
            inputs = inputs[: ALONE // 5]
        list(candidate.solver.answer(inputs[-1:], self.workshop))
        seconds = []
        for one in inputs:
            began = time.perf_counter()
            list(candidate.solver.answer([one], self.workshop))
            seconds.append(time.perf_counter() - began)
        return sorted(seconds)[len(seconds) // 2]


def calibration_error(rows: Sequence[Mapping[str, Json]]) -> float | None:
    """By how much confidence and share of right answers differ, in the mean over equal bins."""
    sure = [
        (float(confidence), row["value"] == row["expected"])
        for row in rows
        if isinstance(confidence := row["confidence"], int | float)
    ]
    if not sure:
        return None
    confidence, right = zip(*sure, strict=True)
    return round(expected_calibration_error(confidence, right), 4)


def rounded(found: Evaluation) -> dict[str, Json]:
    """The score with its interval."""
    return {
        "score": round(found.score, 4),
        "low": round(found.low, 4),
        "high": round(found.high, 4),
    }


def size(candidate: Candidate, workshop: Workshop) -> int:
    """Bytes on disk of what answers: a tuned model, or the open encoder where it is read with."""
    tuned = (model_of(candidate.solver) or "").removeprefix("local:tuned/")
    folder = workshop.artifacts / tuned / "model"
    total = (
        sum(path.stat().st_size for path in folder.iterdir()) if tuned and folder.is_dir() else 0
    )
    for name in artifacts_of(candidate.solver):
        folder = workshop.artifacts / name
        total += sum(path.stat().st_size for path in folder.iterdir())
        record = folder / ENCODER_FILE
        if record.is_file() and "heads" not in json.loads(record.read_text("utf-8")):
            total += fetch_package(ENCODER).stat().st_size
    return total


if __name__ == "__main__":
    main()
