"""Training by several workers of a Ray cluster on this machine, one of which is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from stepladder.errors import BudgetExceeded, ModelError, StepladderError
from stepladder.executors.ray_start import connect, disconnect
from stepladder.steps.fine_tune import FineTune
from stepladder.trainers.local import LocalTrainer
from stepladder.trainers.ray_train import RayTrainer

from .tiny import make_job


@pytest.fixture(scope="module")
def _cluster() -> Iterator[None]:
    """One for all tests: starting one takes seconds."""
    connect(None)
    yield
    disconnect()


def training_workers() -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if entry.read_text().startswith("ray::RayTrainWorker"):
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return sorted(found)


def silent(event: str, told: Mapping[str, Any]) -> None:
    """Nobody is watching."""


def test_workers_are_for_a_cluster() -> None:
    with pytest.raises(StepladderError, match="is for a cluster"):
        FineTune(workers=2)
    assert FineTune(trainer="ray", workers=2).workers == 2


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.usefixtures("_cluster")
def test_a_killed_worker_is_started_again_and_the_model_is_that_of_one_process(
    tiny: Path, tmp_path: Path
) -> None:
    job = make_job(tiny, method="lora", rank=4, clip=0.5, epochs=3.0, checkpoint_seconds=0.0)
    one = LocalTrainer().train(job, tmp_path / "one", silent)
    killed: list[int] = []
    told: list[dict[str, Any]] = []

    def tell(event: str, said: Mapping[str, Any]) -> None:
        told.append(dict(said))
        if said.get("step", 0) >= 3 and not killed:
            killed.extend(training_workers()[-1:])
            os.kill(killed[0], signal.SIGKILL)

    two = RayTrainer(2).train(job, tmp_path / "two", tell)
    assert killed
    assert any(said.get("resumed") for said in told), told
    assert any("seconds_left" in said for said in told)
    mine = [(p.step, p.train_loss) for p in one.learning]
    theirs = [(p.step, p.train_loss) for p in two.learning]
    assert [step for step, _ in theirs] == [step for step, _ in mine]
    # bfloat16 rounds by the shape of a product, and two workers have smaller ones
    assert [loss for _, loss in theirs] == pytest.approx([loss for _, loss in mine], abs=0.03)
    assert not (two.folder / "checkpoints").exists()
    assert RayTrainer(2).train(job, tmp_path / "two", silent) == two


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.usefixtures("_cluster")
def test_what_is_expected_to_go_wrong_is_said_and_not_tried_again(
    tiny: Path, tmp_path: Path
) -> None:
    job = make_job(tiny, learning_rate=50.0, epochs=9.0)
    with pytest.raises(ModelError, match="diverged"):
        RayTrainer(2).train(job, tmp_path, silent)

    def spent(event: str, told: Mapping[str, Any]) -> None:
        if "step" in told:
            raise BudgetExceeded("no minute is left")

    with pytest.raises(BudgetExceeded):
        RayTrainer(2).train(make_job(tiny), tmp_path, spent)
    # neither of the two holds on to the cluster
    assert RayTrainer(2).train(make_job(tiny), tmp_path, silent).facts["steps"] > 0
    with pytest.raises(StepladderError, match="64 workers cannot train on a cluster of"):
        RayTrainer(64).train(make_job(tiny), tmp_path / "many", silent)
