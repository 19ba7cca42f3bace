"""How often a training should pass over little data, and how it should end.

The embedded model under LoRA on slices of the examples and of public data (`--data NAME=FOLDER`).
"chosen" is what the step does when nothing is said; the others train so many epochs to the end,
whatever the held-out loss does. All keep the weights of the lowest held-out loss, so what differs
is how far the learning rate had fallen by then. All of a task are measured on the same dev
examples, and compared in pairs with "chosen".

    python benchmarks/passes.py pharmacovigilance customer-intents [--data phee_events=FOLDER]
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from custom_data import make_task, read
from environment import finish, parser, where

from stepladder.compare import paired_gain
from stepladder.core import Evaluation, Example, Task, Workshop
from stepladder.data.split import load_split
from stepladder.evaluate import Bench, evaluate
from stepladder.metrics import load_metric
from stepladder.models.local import LocalProvider
from stepladder.steps.fine_tune import FineTune
from stepladder.task import load_task

EXAMPLES = Path(__file__).parents[1] / "examples"
ALL = 1000  # evaluations without a better loss: never ended early


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("examples", nargs="*", help="folders of examples/")
    options.add_argument("--data", action="append", default=[], metavar="NAME=FOLDER")
    options.add_argument("--train", type=int, default=150)
    options.add_argument("--dev", type=int, default=150)
    options.add_argument("--epochs", type=float, nargs="*", default=[3, 5])
    options.add_argument("--name", default="passes", help="of the result")
    chosen = options.parse_args()
    place = where()
    tasks = [_of_example(name) for name in chosen.examples]
    tasks += [_of_data(*one.split("=", 1)) for one in chosen.data]
    found = {}
    for task, train, dev in tasks:
        train, dev = train[: chosen.train], dev[: chosen.dev]
        found[task.name] = compared(task, train, dev, chosen.epochs)
    sizes = {"train": chosen.train, "dev": chosen.dev}
    finish(chosen.name, {**place, **sizes, "tasks": found}, write=chosen.write)


def compared(
    task: Task, train: Sequence[Example], dev: Sequence[Example], epochs: Sequence[float]
) -> list[dict[str, Any]]:
    """One line for each way of training."""
    steps = {"chosen": FineTune(model=task.models[0])}
    for count in epochs:
        steps[f"{count:g} epochs"] = replace(steps["chosen"], epochs=count, patience=ALL)
    lines: list[dict[str, Any]] = []
    first: Evaluation | None = None
    metric = load_metric(task)
    with tempfile.TemporaryDirectory() as folder:
        provider = LocalProvider(Path(folder))
        workshop = Workshop(provider.model, Path(folder), lambda event, told: None)
        bench = Bench(task, metric, workshop, lambda usage: None)
        for way, step in steps.items():
            [candidate] = step.propose(task, train, None, workshop)
            seen = evaluate(candidate.solver, dev, bench, "dev", lambda row: None)
            first = first or seen
            gain = paired_gain(seen.rows, first.rows, metric.scale, 0.05, against="chosen")
            lines.append({
                "way": way, "n": len(seen.rows),
                "score": seen.score, "low": seen.low, "high": seen.high,
                "train_seconds": round(candidate.build_seconds, 1),
                "gain": {"difference": gain.difference, "low": gain.low, "high": gain.high},
                "changed": candidate.changed, "cautions": list(candidate.cautions),
            })  # fmt: skip
            print(task.name, json.dumps(lines[-1]), flush=True)
        provider.close()
    return lines


def _of_example(name: str) -> tuple[Task, Sequence[Example], Sequence[Example]]:
    task = replace(load_task(EXAMPLES / name), steps={})
    split = load_split(task)
    chance = random.Random(0)
    return task, *(chance.sample(each, len(each)) for each in (split.train, split.dev))


def _of_data(name: str, folder: str) -> tuple[Task, Sequence[Example], Sequence[Example]]:
    train, test = (read(Path(folder) / f"{each}.jsonl") for each in ("train", "test"))
    chance = random.Random(0)
    return make_task(name, train), chance.sample(train, len(train)), chance.sample(test, len(test))


if __name__ == "__main__":
    main()
