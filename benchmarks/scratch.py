"""When is a model from scratch worth it? Against the other kinds, on three sorts of task.

Fitted on train, measured once on test, one kind after the other on this machine:

    symbols       SYNTHETIC: a private notation with rules of its own, made by the grammar below;
                  each command is rewritten into the steps that carry it out (exact match)
    banking77     short texts with labels, in English
    nusax_senti   sentiment in twelve languages, ten of them with little text anywhere

    python benchmarks/scratch.py symbols --write
    python benchmarks/scratch.py nusax_senti --data FOLDER --write

FOLDER holds `train.jsonl` and `test.jsonl` with `id`, `input`, `output` and `meta`. The tuned model
is SmolLM2-135M-Instruct under LoRA, bounded by --minutes, as is the model from scratch: about ten
minutes of two cores for each task.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from custom_data import make_task, read
from custom_kinds import rounded, size
from environment import finish, parser, where

from stepladder.core import (
    Candidate,
    DataSource,
    Evaluation,
    Example,
    Json,
    MetricSpec,
    Step,
    Target,
    Task,
    Workshop,
)
from stepladder.errors import MissingExtra, NotApplicable
from stepladder.evaluate import Bench, evaluate
from stepladder.metrics import load_metric
from stepladder.models.local import LocalProvider
from stepladder.solvers import model_of
from stepladder.steps.baseline import Baseline
from stepladder.steps.fine_tune import FineTune
from stepladder.steps.heads import Heads
from stepladder.steps.scratch import Scratch

ALONE = 20  # requests that are timed one by one
ACTIONS = {"\u2641": "lift", "\u2643": "turn", "\u2644": "press", "\u2646": "seal", "\u2649": "dip"}
TIMES = {"\u25b3": 2, "\u25bd": 3}
THEN, AFTER = "\u22a2", "\u22a3"  # what follows comes next; what follows was to be done before
BACK = "\u21ba"  # the last step is undone at the end


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("name", choices=("symbols", "banking77", "nusax_senti"))
    options.add_argument("--data", type=Path, help="the folder of the data set")
    options.add_argument("--train", type=int, default=2000, help="use so many train examples")
    options.add_argument("--test", type=int, default=300, help="measure on so many")
    options.add_argument("--minutes", type=float, default=3.0, help="of each training")
    options.add_argument("--kinds", default="baseline,heads,scratch,fine_tune")
    chosen = options.parse_args()
    place = where()
    task, train, test = _data(chosen.name, chosen.data, chosen.train, chosen.test)
    with tempfile.TemporaryDirectory() as scratch:
        provider = LocalProvider(Path(scratch))
        workshop = Workshop(provider.model, Path(scratch), _tell)
        kinds = [
            measured(candidate, task, test, workshop)
            for name in chosen.kinds.split(",")
            for candidate in proposed(_steps(chosen.minutes)[name](), task, train, workshop)
        ]
        provider.close()
    result = {
        **place,
        "data": chosen.name,
        "synthetic": chosen.name == "symbols",
        "examples": {"train": len(train), "test": len(test)},
        "minutes": chosen.minutes,
        "metric": task.metric.name,
        "kinds": kinds,
    }
    finish(f"scratch_{chosen.name}", result, write=chosen.write)


def symbols(count: int, seed: int) -> list[Example]:
    """Commands of the private notation, each different, with the steps that they stand for.

    A command is one to four clauses. A clause is an action with how often; THEN puts the next
    clause behind what there is, AFTER before it; BACK undoes the last step at the end.
    """
    chance, found = random.Random(seed), dict[str, str]()
    while len(found) < count:
        command = _command(chance)
        found.setdefault(command, " ".join(meaning(command)))
    return [Example(f"{seed}-{n}", text, said) for n, (text, said) in enumerate(found.items())]


def meaning(command: str) -> list[str]:
    """The steps that a command stands for."""
    steps: list[str] = []
    before = False
    clause: list[str] = []
    for mark in [*command.split(), THEN]:
        if mark in ACTIONS:
            clause = [ACTIONS[mark]]
        elif mark in TIMES:
            clause = clause * TIMES[mark]
        elif mark in (THEN, AFTER):
            steps = [*clause, *steps] if before else [*steps, *clause]
            before, clause = mark == AFTER, []
    return [*steps, f"un{steps[-1]}"] if BACK in command else steps


def _command(chance: random.Random) -> str:
    marks: list[str] = []
    for number in range(chance.randint(1, 4)):
        if number:
            marks.append(chance.choice((THEN, AFTER)))
        marks.append(chance.choice(list(ACTIONS)))
        marks += [chance.choice(list(TIMES)) for _ in range(chance.randint(0, 2))]
    if chance.random() < 0.3:
        marks.append(BACK)
    return " ".join(marks)


def _data(
    name: str, folder: Path | None, train: int, test: int
) -> tuple[Task, list[Example], list[Example]]:
    if name == "symbols":
        rows = symbols(train + test, seed=0)
        metric = MetricSpec("exact_match")
        task = Task(
            name, "generation", "Write the steps.", Target(0.5), metric, DataSource(),
            max_output_tokens=128,
        )  # fmt: skip
        return task, rows[:train], rows[train:]
    if folder is None:
        raise SystemExit(f"{name}: say where its files are with --data")
    rows, held = read(folder / "train.jsonl"), read(folder / "test.jsonl")
    chance = random.Random(0)
    task = make_task(name, [*rows, *held])
    return (
        task,
        chance.sample(rows, min(train, len(rows))),
        chance.sample(held, min(test, len(held))),
    )


def _steps(minutes: float) -> dict[str, Callable[[], Step]]:
    return {
        "baseline": lambda: Baseline(("nearest", "linear")),
        "heads": lambda: Heads(("joined",)),
        "scratch": lambda: Scratch(minutes=minutes),
        "fine_tune": lambda: FineTune(minutes=minutes, max_length=512),
    }


def proposed(
    step: Step, task: Task, train: Sequence[Example], workshop: Workshop
) -> Sequence[Candidate]:
    """What a step proposes; one with nothing to offer says why."""
    try:
        return list(step.propose(task, train, None, workshop))
    except (NotApplicable, MissingExtra) as reason:
        print(f"{step.name}: {reason.message}", flush=True)
        return []


def measured(
    candidate: Candidate, task: Task, test: Sequence[Example], workshop: Workshop
) -> dict[str, Json]:
    """One line of the result."""
    bench = Bench(task, load_metric(task), workshop, lambda usage: None)
    found: Evaluation = evaluate(candidate.solver, test, bench, "test", lambda row: None)
    seconds = []
    for one in test[: ALONE + 1]:
        began = time.perf_counter()
        list(candidate.solver.answer([one.input], workshop))
        seconds.append(time.perf_counter() - began)
    line = {
        "step": candidate.step,
        "kind": candidate.name,
        **rounded(found),
        "slices": {name: [round(value, 4) for value in one] for name, one in found.slices.items()},
        "train_seconds": round(candidate.build_seconds, 1),
        "train_tokens": candidate.build_tokens,
        "ms_per_request": round(1000 * sorted(seconds[1:])[len(seconds[1:]) // 2], 2),
        "input_tokens": found.input_tokens,
        "megabytes": round(_bytes(candidate, workshop) / 1e6, 2),
        "told": candidate.changed,
        "cautions": list(candidate.cautions),
    }
    print(json.dumps({key: line[key] for key in ("kind", "score", "train_seconds")}), flush=True)
    return line


def _bytes(candidate: Candidate, workshop: Workshop) -> int:
    """On disk, of what answers."""
    name = (model_of(candidate.solver) or "").removeprefix("local:tuned/")
    folder = workshop.artifacts / name / "model"
    if name and folder.is_dir():
        return sum(path.stat().st_size for path in folder.iterdir())
    return size(replace(candidate), workshop)


def _tell(event: str, told: Any) -> None:
    if event == "training" and told.get("held_out_loss") and told["step"] % 100 == 0:
        print(f"{told['step']}/{told['steps']} held out {told['held_out_loss']:.3f}", flush=True)


if __name__ == "__main__":
    main()
