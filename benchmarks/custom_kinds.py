"""Every custom kind of model on one public data set: score, training, speed and size.

Fitted on train as it is, measured once on all of test, one after the other on this machine. Latency
is that of one request alone. The published figures are those of the data's own descriptions; they
are on the full official sets, and so for orientation only.

    python benchmarks/custom_kinds.py banking77 --data FOLDER --write

FOLDER holds `train.jsonl` and `test.jsonl` with `id`, `input`, `output` and `meta`.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from environment import finish, parser, where

from stepladder.core import (
    Candidate,
    DataSource,
    Evaluation,
    Example,
    Json,
    Kind,
    MetricSpec,
    Target,
    Task,
    Workshop,
)
from stepladder.embeddings import ENCODER
from stepladder.encoders.running import ENCODER_FILE
from stepladder.errors import MissingExtra, NotApplicable
from stepladder.evaluate import Bench, evaluate
from stepladder.metrics import load_metric
from stepladder.models.local.weights import fetch_package
from stepladder.solvers import artifacts_of
from stepladder.steps.baseline import Baseline
from stepladder.steps.encoder import Encoder
from stepladder.steps.heads import Heads

ALONE = 50  # requests that are timed one by one


@dataclass(frozen=True)
class Data:
    """What a data set asks, how it is scored, and what others reached on it."""

    kind: Kind
    metric: str
    options: Mapping[str, Json] = field(default_factory=dict)
    also: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)  # micro-F1 read otherwise
    slices: tuple[str, ...] = ()
    published: Mapping[str, Json] = field(default_factory=dict)


EVENTS = {
    "list": "events", "type_key": "event", "ignore": ["negated", "speculated", "severity"],
}  # fmt: skip
DATA: Mapping[str, Data] = {
    "banking77": Data(
        "classification",
        "accuracy",
        published={"USE+ConveRT, all": 0.934, "BERT, all": 0.937, "USE+ConveRT, 10 a label": 0.852},
    ),
    "clinc150": Data(
        "classification",
        "accuracy",
        slices=("scope",),
        published={"BERT in scope / oos recall": [0.969, 0.403], "SVM": [0.910, 0.145]},
    ),
    "cuad_clauses": Data(
        "classification",
        "accuracy",
        published={"TF-IDF and logistic regression, same files": 0.774},
    ),
    "nusax_senti": Data(
        "classification",
        "macro_f1",
        slices=("language",),
        published={"XLM-R large, about": [0.75, 0.80], "TF-IDF models, about": [0.70, 0.75]},
    ),
    "phee_events": Data(
        "extraction",
        "micro_f1",
        EVENTS,
        published={
            "gpt-3.5 with 5 retrieved examples, all arguments": 0.6418,
            "tuned generative QA, main / sub-arguments": [0.6860, 0.7616],
        },
    ),
    "maintie": Data(
        "extraction",
        "micro_f1",
        {"list": "entities", "unit": "record"},
        also={"relations": {"list": "relations", "unit": "record"}},
        published={"SpERT entities": 0.874, "SpERT relations, loose / strict": [0.683, 0.671]},
    ),
}


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("name", choices=DATA)
    options.add_argument("--data", type=Path, required=True, help="the folder of the data set")
    options.add_argument("--per-label", type=int, help="train on so many examples of each label")
    options.add_argument("--steps", default="baseline,heads,encoder", help="which kinds, by step")
    options.add_argument("--artifacts", type=Path, help="keep what was fitted here, to go on")
    chosen = options.parse_args()
    place = where()
    train, test = (read(chosen.data / f"{name}.jsonl") for name in ("train", "test"))
    if chosen.per_label:
        train = few(train, chosen.per_label)
    task = make_task(chosen.name, [*train, *test])
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.artifacts or Path(scratch)
        workshop = Workshop(_no_model, folder, lambda event, fields: None)
        kinds = [
            measured(candidate, task, test, workshop)
            for candidate in candidates(task, train, workshop, chosen.steps.split(","))
        ]
    result = {
        **place,
        "data": chosen.name,
        "examples": {"train": len(train), "test": len(test)},
        "per_label": chosen.per_label,
        "metric": task.metric.name,
        "kinds": kinds,
        "published": dict(DATA[chosen.name].published),
    }
    few_of = f"_{chosen.per_label}" if chosen.per_label else ""
    finish(f"custom_{chosen.name}{few_of}", result, write=chosen.write)


def read(path: Path) -> list[Example]:
    """The examples of a file; out-of-scope queries are a slice of their own."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [
        Example(
            row["id"],
            row["input"],
            row["output"],
            metadata={**row["meta"], "scope": "out" if row["output"] == "oos" else "in"},
        )
        for row in rows
    ]


def few(train: Sequence[Example], each: int) -> list[Example]:
    """At most so many examples of each label, drawn by a fixed seed."""
    by_label = defaultdict(list)
    for example in random.Random(0).sample(train, len(train)):
        by_label[example.expected].append(example)
    return [example for found in by_label.values() for example in found[:each]]


def make_task(name: str, examples: Sequence[Example]) -> Task:
    """The task as a task folder would give it."""
    data = DATA[name]
    labels = tuple(sorted({str(one.expected) for one in examples}))
    return Task(
        name,
        data.kind,
        "",
        Target(0.5),
        MetricSpec(data.metric, data.options),
        DataSource(),
        labels=labels if data.kind == "classification" else (),
        slices=data.slices,
    )


def candidates(
    task: Task, train: Sequence[Example], workshop: Workshop, names: Sequence[str]
) -> Iterator[Candidate]:
    """All that the steps propose; a step with nothing to offer says why."""
    steps = {"baseline": Baseline(), "heads": Heads(), "encoder": Encoder()}
    for name in names:
        try:
            yield from steps[name].propose(task, train, None, workshop)
        except (NotApplicable, MissingExtra) as reason:
            print(f"{name}: {reason.message}")


def measured(
    candidate: Candidate, task: Task, test: Sequence[Example], workshop: Workshop
) -> dict[str, Json]:
    """One line of the result."""
    found = score(candidate, task, test, workshop, task.metric)
    other = {
        name: rounded(score(candidate, task, test, workshop, MetricSpec("micro_f1", options)))
        for name, options in DATA[task.name].also.items()
    }
    inputs = [example.input for example in test[:ALONE]]
    list(candidate.solver.answer(inputs[:1], workshop))
    seconds = []
    for one in inputs:
        began = time.perf_counter()
        list(candidate.solver.answer([one], workshop))
        seconds.append(time.perf_counter() - began)
    made = {
        "step": candidate.step,
        "kind": candidate.name,
        **rounded(found),
        **({"also": other} if other else {}),
        "slices": {name: [round(value, 4) for value in one] for name, one in found.slices.items()},
        "train_seconds": round(candidate.build_seconds, 1),
        "train_tokens": candidate.build_tokens,
        "ms_per_request": round(1000 * sorted(seconds)[len(seconds) // 2], 2),
        "megabytes": round(size(candidate, workshop) / 1e6, 2),
        "told": candidate.changed,
        "cautions": list(candidate.cautions),
    }
    print(json.dumps({key: made[key] for key in ("kind", "score", "train_seconds")}), flush=True)
    return made


def score(
    candidate: Candidate,
    task: Task,
    test: Sequence[Example],
    workshop: Workshop,
    metric: MetricSpec,
) -> Evaluation:
    """The solver over all of test."""
    read_as = replace(task, metric=metric)
    bench = Bench(read_as, load_metric(read_as), workshop, lambda usage: None)
    return evaluate(candidate.solver, test, bench, "test", lambda row: None)


def rounded(found: Evaluation) -> dict[str, Json]:
    """The score with its interval."""
    return {
        "score": round(found.score, 4),
        "low": round(found.low, 4),
        "high": round(found.high, 4),
    }


def size(candidate: Candidate, workshop: Workshop) -> int:
    """Bytes on disk of what answers, the open encoder included where it is read with."""
    total = 0
    for name in artifacts_of(candidate.solver):
        folder = workshop.artifacts / name
        total += sum(path.stat().st_size for path in folder.iterdir())
        record = folder / ENCODER_FILE
        if record.is_file() and "heads" not in json.loads(record.read_text("utf-8")):
            total += fetch_package(ENCODER).stat().st_size
    return total


def _no_model(name: str) -> Any:
    raise AssertionError(f"no custom kind asks the model {name!r}")


if __name__ == "__main__":
    main()
