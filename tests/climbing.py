"""A task whose right answers a fake model knows more or less well: for tests of whole climbs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from stepladder.budget import Budget
from stepladder.climb import Climb
from stepladder.core import (
    Candidate,
    DataSource,
    Economics,
    Estimate,
    Example,
    MetricSpec,
    Request,
    Split,
    Target,
    Task,
    Tell,
    Trial,
    Usage,
    Workshop,
)
from stepladder.cost import load_prices
from stepladder.evaluate import Bench
from stepladder.metrics import load_also, load_metric
from stepladder.solvers.prompt import PromptSolver
from stepladder.store import CachedModel, RunFolder
from stepladder.testing import FakeModel

LABELS = ("even", "odd")


def number_task(folder: Path, *, score: float = 0.8, alpha: float = 0.05) -> Task:
    return Task(
        name="numbers",
        kind="classification",
        instructions="Is the number even or odd?",
        target=Target(score=score, alpha=alpha),
        metric=MetricSpec("accuracy"),
        data=DataSource(examples="examples.jsonl"),
        labels=LABELS,
        models=("fake:model",),
        economics=Economics(requests_per_month=1000.0),
        folder=folder,
    )


def numbers(start: int, count: int) -> tuple[Example, ...]:
    return tuple(
        Example(f"n{n:05}", f"The number is {n}.", LABELS[n % 2])
        for n in range(start, start + count)
    )


def number_split(dev: int = 200, test: int = 300) -> Split:
    return Split(numbers(0, 60), numbers(1000, dev), numbers(5000, test))


def answers_right(share: float) -> Callable[[Request], str]:
    """Right on this share of the numbers; which ones depends on the number alone."""

    def reply(request: Request) -> str:
        words = str(request.messages[-1].content).rstrip(".").split()
        number = int(words[-1])
        digest = hashlib.blake2b(str(number).encode(), digest_size=4).digest()
        lucky = int.from_bytes(digest) < share * 2**32
        return LABELS[number % 2 if lucky else 1 - number % 2]

    return reply


@dataclass(frozen=True)
class Ask:
    """A step that proposes one prompt per model name."""

    models: tuple[str, ...]
    name: str = "prompt"
    seconds: float = 1.0

    def estimate(self, task: Task, train: object, workshop: Workshop) -> Estimate:
        return Estimate(self.seconds, 0.0, len(self.models))

    def propose(
        self, task: Task, train: object, base: Trial | None, workshop: Workshop
    ) -> Iterable[Candidate]:
        for model in self.models:
            solver = PromptSolver(
                model=model,
                instructions=task.instructions,
                task_kind="classification",
                labels=LABELS,
                output_format="label",
            )
            yield Candidate(self.name, model, solver, build_dollars=0.0)


def climb_on(
    run: RunFolder,
    task: Task,
    split: Split,
    models: dict[str, FakeModel],
    *,
    tell: Tell = lambda event, fields: None,
    budget: Budget | None = None,
    whole_ladder: bool = False,
) -> Climb:
    cached = {name: CachedModel(model, run.answers) for name, model in models.items()}
    workshop = Workshop(cached.__getitem__, run.artifacts, tell)

    def price(usage: Iterable[Usage]) -> float | None:
        return 0.001

    bench = Bench(task, load_metric(task), workshop, price, also=load_also(task))
    prices = load_prices(today=date(2026, 11, 21))
    return Climb(bench, split, run, prices, budget or Budget(), whole_ladder)


def fake(share: float, name: str) -> FakeModel:
    return FakeModel(answers_right(share), name=name)
