"""Bundles over the fake engine, for tests of the server."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepladder.bundles.bundle import Bundle, BundledModel
from stepladder.core import DataSource, MetricSpec, Output, Target, Task
from stepladder.fake_live import FakeEngine, FakeTokenizer
from stepladder.serve.served.bases import Base, Bases
from stepladder.serve.served.bundle import BundleServed, open_bundle
from stepladder.serve.served.scoring import Scores
from stepladder.solvers.prompt import PromptSolver

__all__ = ["NAME", "PLAIN", "Says", "Scorer", "base", "bundle", "opened"]

NAME = "local:fake"
PLAIN = PromptSolver(NAME, "Say it.")


@dataclass
class Scorer:
    """Scores each choice by its first id; remembers its batches."""

    batches: list[int] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)

    def run(
        self, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[Sequence[int]]]
    ) -> Iterator[tuple[int, tuple[float, ...], float]]:
        self.batches.append(len(prompts))
        self.go.wait(10)
        for index, options in enumerate(choices):
            yield index, tuple(-float(option[0]) for option in options), 0.1


@dataclass(frozen=True)
class Says:
    """A solver that answers with a given output."""

    output: Output
    kind: str = "says"

    def answer(self, inputs: Any, workshop: Any) -> Any:
        yield 0, self.output


def base(engine: FakeEngine, scorer: Scorer | None = None) -> Base:
    scores = {} if scorer is None else {"scores": Scores(lambda: scorer)}
    return Base(NAME, engine, FakeTokenizer(), "f" * 16, sha256=lambda: "b" * 64, **scores)


def bundle(solver: Any, folder: Path, *models: BundledModel, **evaluation: Any) -> Bundle:
    task = Task(
        "colours", "generation", "Say it.", Target(0.8), MetricSpec("accuracy"), DataSource(),
        folder=folder,
    )  # fmt: skip
    seen: Mapping[str, Any] = {
        "step": "prompt", "solver": "plain", "confirmed": None,
        "trial": {"score": 0.9, "low": 0.8, "n": 30}, **evaluation,
    }  # fmt: skip
    named = models or (BundledModel(NAME, NAME, fingerprint="f" * 16),)
    return Bundle("a" * 64, folder, solver, task, named, seen, ())


def opened(
    solver: Any, folder: Path, engine: FakeEngine, threads: ThreadPoolExecutor, **evaluation: Any
) -> BundleServed:
    return open_bundle(
        bundle(solver, folder, **evaluation), Bases(lambda name, _: base(engine)), threads
    )
