"""Heads and tuned encoders in a bundle: they answer there as they were measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from bundling import climb_to, rows_of
from encoding import make_encoder, use_encoder
from task_folders import COLOURS, make_task_folder

from stepladder.bundles import deploy, load_bundle
from stepladder.embeddings import ENCODER

STEPS = """
[steps.heads]
solvers = ["nearest", "joined"]

[steps.encoder]
epochs = 1
"""
DRUGS = ("aspirin", "codeine", "heparin")
EXTRACT = """
kind = "extraction"
instructions = "Which drug?"
model = "parrot:grey"
metric = "micro_f1"

[target]
score = 0.3

[data]
examples = "examples.jsonl"

[steps.encoder]
epochs = 30
learning_rate = 3e-3
"""


@pytest.fixture(autouse=True)
def _tiny_encoder(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> None:
    words = ["paint", "it", "case", "after", "rash", *COLOURS, *DRUGS]
    use_encoder(make_encoder(tmp_path_factory.mktemp("encoder"), words), monkeypatch)


def bundled(run: Path, name: str, to: Path) -> tuple[Path, list[str]]:
    """The solver's bundle on what might be another machine, and the models it says it needs."""
    done = deploy(run, solver=name, unconfirmed=True)
    there = to / done.folder.name
    shutil.copytree(done.folder, there)
    return there, [one.name for one in load_bundle(there).models]


def same(folder: Path, rows: list[dict[str, object]]) -> None:
    bundle = load_bundle(folder)
    with bundle.open() as workshop:
        said = dict(bundle.solver.answer([row["input"] for row in rows], workshop))  # type: ignore[misc]
    for index, row in enumerate(rows):
        assert said[index].value == row["value"]
        assert said[index].confidence == pytest.approx(row["confidence"], abs=0.02)


def test_labels_come_from_a_bundle_as_from_the_trial(tmp_path: Path) -> None:
    task = make_task_folder(tmp_path / "task", "parrot:grey", easy=True, more=STEPS)
    run = climb_to(task, "heads", "encoder")
    open_encoder = f"encoder:{ENCODER.name}"
    wanted = {"heads/nearest": [open_encoder], "heads/joined": [open_encoder], "encoder/labels": []}
    trials = json.loads((run / "decision.json").read_text())["trials"]
    assert {f"{one['step']}/{one['solver']}" for one in trials} == set(wanted)
    for number, (name, models) in enumerate(wanted.items()):
        there, needed = bundled(run, name, tmp_path / f"there-{number}")
        assert needed == models, "a tuned encoder is in the bundle, the open one is fetched"
        same(there, rows_of(run, name))


def test_extraction_comes_from_a_bundle_as_from_the_trial(tmp_path: Path) -> None:
    task = tmp_path / "task"
    task.mkdir()
    (task / "task.toml").write_text(EXTRACT)
    rows = [
        {
            "input": f"case {n} {n * n}: rash after {DRUGS[n % 3]}",
            "expected": {"drug": DRUGS[n % 3]},
        }
        for n in range(120)
    ]
    (task / "examples.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run = climb_to(task, "encoder")
    there, needed = bundled(run, "encoder/spans", tmp_path / "there")
    assert needed == []
    found = rows_of(run, "encoder/spans")
    same(there, found)
    assert any(row["value"]["drug"] for row in found)
