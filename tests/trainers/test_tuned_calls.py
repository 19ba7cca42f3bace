"""Calls tuned on and made for real: a tiny model, trained here, writes calls that run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepladder.core import (
    DataSource,
    Example,
    Hardware,
    MetricSpec,
    Solver,
    Target,
    Task,
    Workshop,
)  # fmt: skip
from stepladder.metrics.executed_result import ExecutedResult
from stepladder.models.local import LocalProvider
from stepladder.solvers.calling import CallingSolver
from stepladder.steps.fine_tune import FineTune

from .tiny import make_model

pytest.importorskip("torch")
pytest.importorskip("peft")
pytest.importorskip("openvino_genai")
pytestmark = pytest.mark.slow

PAINT = '''
READ_ONLY = {"paint"}


def paint(colour: str, coats: int = 1) -> str:
    """Paint something.

    Args:
        colour: in which colour.
        coats: how often.
    """
    return f"{colour} x {coats}"
'''
COLOURS = ("red", "blue")


def examples(n: int) -> list[Example]:
    return [
        Example(
            str(i),
            f"in {COLOURS[i % 2]}",
            # the coats come first, which the schema does not allow
            [{"name": "paint", "arguments": {"coats": 2, "colour": COLOURS[i % 2]}}],
            metadata={"results": [f"{COLOURS[i % 2]} x 2"]},
        )
        for i in range(n)
    ]


@pytest.fixture
def task(tmp_path: Path) -> Task:
    (tmp_path / "functions.py").write_text(PAINT)
    sources = [{"kind": "python", "path": "functions.py"}]
    return Task(
        "paint", "calls", "Paint.", Target(0.5), MetricSpec("executed_result"), DataSource(),
        models=(f"local:{make_model(tmp_path / 'tiny')}",), folder=tmp_path, max_output_tokens=96,
        hardware=Hardware(), steps={
            "functions": {"gives": "record", "turns": 1, "sources": sources},
        },
    )  # fmt: skip


def test_a_tuned_model_writes_calls_that_run_and_give_what_was_expected(
    task: Task, tmp_path: Path
) -> None:
    provider = LocalProvider(tmp_path / "artifacts")
    shop = Workshop(provider.model, tmp_path / "artifacts", lambda event, fields: None)
    step = FineTune(method="full", epochs=60, threads=1, device="cpu", learning_rate=3e-3)
    (candidate,) = step.propose(task, examples(40), None, shop)
    solver = candidate.solver
    assert isinstance(solver, CallingSolver)
    assert (solver.form, solver.shown, solver.steps) == ("json", "nothing", 1)
    asked = examples(4)
    try:
        tuned = scored(solver, asked, shop)
        assert tuned == [1.0] * 4
    finally:
        provider.close()


def scored(solver: Solver, asked: list[Example], shop: Workshop) -> list[float]:
    outputs: dict[int, Any] = dict(solver.answer([one.input for one in asked], shop))
    for one in outputs.values():
        assert one.value is not None
        assert json.loads(one.text)["ended"] in ("steps", "answer")
    metric = ExecutedResult(only=True)
    return [metric.score(one, outputs[place])[0][1] for place, one in enumerate(asked)]
