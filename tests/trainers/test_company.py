"""Several processes train as one does: the same loss at every step, whatever is killed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepladder.core import LearningPoint
from stepladder.trainers import TrainedModel, TrainingJob, job_hash
from stepladder.trainers.local import LocalTrainer, finished_model

from .company_process import train_together
from .tiny import make_job

pytestmark = [pytest.mark.slow, pytest.mark.network]


@pytest.fixture(autouse=True)
def _float32(monkeypatch: pytest.MonkeyPatch) -> None:
    from stepladder.trainers import learner, opening

    for module in (learner, opening):
        monkeypatch.setattr(module, "has_bfloat16", lambda device: False)


def job_of(tiny: Path, method: str, **options: object) -> TrainingJob:
    settings: dict[str, Any] = {"method": method, "clip": 0.5, "epochs": 3.0, **options}
    if method == "lora":
        settings.setdefault("rank", 4)
    return make_job(tiny, **settings)


def alone(job: TrainingJob, folder: Path) -> tuple[TrainedModel, list[dict[str, Any]]]:
    told: list[dict[str, Any]] = []
    return LocalTrainer().train(job, folder, lambda event, said: told.append(dict(said))), told


def told_by(folder: Path, rank: int) -> list[dict[str, Any]]:
    lines = (folder / f"told-{rank}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def losses(told: list[dict[str, Any]]) -> list[float]:
    """The train loss of each step; of one that was done twice, the later."""
    by_step = {one["step"]: one["train_loss"] for one in told if "train_loss" in one}
    return [by_step[step] for step in sorted(by_step)]


def curve(learning: tuple[LearningPoint, ...]) -> list[float]:
    return [value for p in learning for value in (p.train_loss, p.held_out_loss or 0.0)]


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return load_file(folder / "model" / "model.safetensors")


@pytest.mark.parametrize("method", ["lora", "full", "freeze"])
def test_two_workers_learn_what_one_process_learns(tiny: Path, tmp_path: Path, method: str) -> None:
    job = job_of(tiny, method, layers=1 if method == "freeze" else 0)
    one, told = alone(job, tmp_path / "one")
    folder = tmp_path / "two" / job_hash(job)
    assert train_together(job, folder) == [0, 0]
    two = finished_model(folder.parent, folder.name)
    assert two is not None
    steps = losses(told)
    assert len(steps) >= 10
    assert losses(told_by(folder, 0)) == pytest.approx(steps, abs=1e-4)
    assert losses(told_by(folder, 1)) == losses(told_by(folder, 0))
    assert curve(two.learning) == pytest.approx(curve(one.learning), abs=1e-4)
    assert two.tokens == one.tokens
    mine, theirs = weights(one.folder), weights(two.folder)
    assert mine.keys() == theirs.keys()
    for name, weight in mine.items():
        assert theirs[name] == pytest.approx(weight, abs=2e-3), name


@pytest.mark.parametrize("method", ["lora", "full"])
def test_workers_that_pack_their_rows_learn_what_one_process_learns_padded(
    tiny: Path, tmp_path: Path, method: str
) -> None:
    job = job_of(tiny, method)
    _, told = alone(replace(job, packing=False), tmp_path / "one")
    folder = tmp_path / "two" / job_hash(job)
    assert train_together(replace(job, packing=True), folder) == [0, 0]
    two = finished_model(folder.parent, folder.name)
    assert two is not None
    assert two.facts["packing"]["used"]
    assert losses(told_by(folder, 0)) == pytest.approx(losses(told), abs=1e-4)


def test_more_workers_than_rows_in_a_batch(tiny: Path, tmp_path: Path) -> None:
    """A batch of one row: the others take part with nothing, and nobody waits for ever."""
    job = job_of(tiny, "full", epochs=0.3, rows_per_batch=1)
    _, told = alone(job, tmp_path / "one")
    folder = tmp_path / "three" / job_hash(job)
    assert train_together(job, folder, size=3) == [0, 0, 0]
    assert losses(told_by(folder, 0)) == pytest.approx(losses(told), abs=1e-4)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_after_a_kill_they_go_on_from_the_checkpoint(
    tiny: Path, tmp_path: Path, method: str
) -> None:
    job = job_of(tiny, method, checkpoint_seconds=0.0)
    _, told = alone(job, tmp_path / "one")
    folder = tmp_path / "two" / job_hash(job)
    assert -9 in train_together(job, folder, die_at=4)
    assert finished_model(folder.parent, folder.name) is None
    before = len(told_by(folder, 0))
    assert train_together(job, folder) == [0, 0]
    again = told_by(folder, 0)[before:]
    assert again[0]["resumed"]
    assert again[0]["step"] >= 3
    assert losses(told_by(folder, 0)) == pytest.approx(losses(told), abs=1e-4)


def test_checkpoints_are_for_any_number_of_workers(tiny: Path, tmp_path: Path) -> None:
    job = job_of(tiny, "full", checkpoint_seconds=0.0)
    _, told = alone(job, tmp_path / "one")
    folder = tmp_path / "many" / job_hash(job)
    assert -9 in train_together(job, folder, die_at=4)
    before = told_by(folder, 0)
    done, after = alone(replace(job, threads=1), folder.parent)  # one process goes on
    assert after[0]["resumed"]
    assert losses([*before, *after]) == pytest.approx(losses(told), abs=1e-4)
    assert done.folder == folder
