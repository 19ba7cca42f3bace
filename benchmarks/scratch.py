"""When is a model from scratch worth it? A notation that nobody else has seen.

SYNTHETIC: commands of a private notation with rules of its own, made by the grammar below; each is
rewritten into the steps that carry it out (exact match). Fitted on train, measured once on test,
one kind after the other on this machine:

    python benchmarks/scratch.py --write

The tuned model is SmolLM2-135M-Instruct under LoRA, bounded by --minutes, as is the model from
scratch. What one from scratch does on languages is in `custom_kinds.py`, beside all other kinds.
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
from stepladder.steps.scratch import Scratch

ALONE = 20  # requests that are timed one by one
ACTIONS = {"\u2641": "lift", "\u2643": "turn", "\u2644": "press", "\u2646": "seal", "\u2649": "dip"}
TIMES = {"\u25b3": 2, "\u25bd": 3}
THEN, AFTER = "\u22a2", "\u22a3"  # what follows comes next; what follows was to be done before
BACK = "\u21ba"  # the last step is undone at the end


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--train", type=int, default=2000, help="use so many train examples")
    options.add_argument("--test", type=int, default=300, help="measure on so many")
    options.add_argument("--minutes", type=float, default=10.0, help="of each training")
    options.add_argument("--kinds", default="baseline,scratch,fine_tune")
    chosen = options.parse_args()
    place = where()
    rows = symbols(chosen.train + chosen.test, seed=0)
    train, test = rows[: chosen.train], rows[chosen.train :]
    task = Task(
        "symbols", "generation", "Write the steps.", Target(0.5), MetricSpec("exact_match"),
        DataSource(), max_output_tokens=128,
    )  # fmt: skip
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
        "data": "a private notation",
        "examples": {"train": len(train), "test": len(test)},
        "minutes": chosen.minutes,
        "metric": task.metric.name,
        "kinds": kinds,
    }
    finish("scratch", result, write=chosen.write)


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


def _steps(minutes: float) -> dict[str, Callable[[], Step]]:
    return {
        "baseline": lambda: Baseline(("nearest",)),
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
