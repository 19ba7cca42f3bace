"""The retrieval step with the real encoder and the real small model, on a small handbook."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepladder.core import DataSource, Example, MetricSpec, Target, Task, Workshop
from stepladder.models.local import LocalProvider
from stepladder.solvers.prompt import PromptSolver
from stepladder.steps.retrieval import Retrieval

FACTS = {
    "leave": ("Everybody has 25 days of leave a year.", "How many days of leave are there?", "25"),
    "pay": ("Salaries are paid on the 27th of each month.", "When are salaries paid?", "the 27th"),
    "door": ("The front door is locked at 21:30.", "When is the front door locked?", "21:30"),
    "train": ("Trains are booked in second class.", "In which class are trains booked?", "second"),
    "hotel": ("A hotel may cost 120 euros a night.", "What may a hotel cost?", "120 euros"),
    "dog": ("Dogs are allowed on Fridays.", "When are dogs allowed?", "on Fridays"),
    "lunch": ("Lunch is served in room 4.", "Where is lunch served?", "room 4"),
    "phone": ("The help desk answers at extension 311.", "How is the help desk reached?", "311"),
}


@pytest.mark.slow
def test_a_small_model_answers_from_a_handbook(tmp_path: Path) -> None:
    (tmp_path / "knowledge").mkdir()
    for name, (text, _, _) in FACTS.items():
        page = f"# About {name}\n\n{text} Ask the office if something is unclear."
        (tmp_path / "knowledge" / f"{name}.md").write_text(page, encoding="utf-8")
    task = Task(
        "handbook", "qa", "Answer the question in a few words.", Target(0.5),
        MetricSpec("token_f1"), DataSource(), max_output_tokens=24, folder=tmp_path,
    )  # fmt: skip
    train = [
        Example(name, asked, said, metadata={"gold_docs": [f"{name}.md"]})
        for name, (_, asked, said) in FACTS.items()
    ]
    artifacts = tmp_path / "artifacts"
    provider = LocalProvider(artifacts)
    workshop = Workshop(provider.model, artifacts, lambda *told: None)
    step = Retrieval(sizes=(40,), k=(1, 2), slice=3)
    best, *_ = step.propose(task, train, None, workshop)
    assert isinstance(best.solver, PromptSolver)
    assert best.solver.knowledge is not None
    names = [one.name for one in best.tried]
    assert "searched by meaning, 40+10 words" in names or "searched by meaning, 40 words" in names
    asked = [one.input for one in train]
    said = dict(best.solver.answer(asked, workshop))
    right = sum(said[at].context[0].passage == f"{one.id}.md#0" for at, one in enumerate(train))
    assert right >= 7
    assert sum(bool(output.citations) for output in said.values()) >= 4
