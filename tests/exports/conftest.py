from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from encoding import make_encoder, use_encoder
from exporting_runs import climb_to
from task_folders import COLOURS, make_climbing_model, make_task_folder

TUNED = """
[steps.fine_tune]
method = "lora"
learning_rate = 1e-2
epochs = 2
threads = 1
device = "cpu"
"""
HEADS = """
[steps.heads]
solvers = ["linear", "joined"]

[steps.encoder]
epochs = 1
"""


@pytest.fixture(scope="session")
def tuned_task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A climbed task with a tiny tuned model; tests work on copies."""
    folder = tmp_path_factory.mktemp("tuned")
    model = make_climbing_model(folder / "tiny")
    (model / "LICENSE").write_text("do as you like")
    (model / "origin.json").write_text('{"licence": "MIT"}')
    task = make_task_folder(folder / "task", f"local:{model}", easy=True, more=TUNED)
    climb_to(task, "fine_tune")
    return task


@pytest.fixture
def tuned(tuned_task: Path, tmp_path: Path) -> Path:
    """Its run, of the test's own."""
    return _copied(tuned_task, tmp_path)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder"), ["paint", "it", *COLOURS])


@pytest.fixture(scope="session")
def headed_task(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> Path:
    folder = tmp_path_factory.mktemp("headed")
    task = make_task_folder(folder / "task", "local:none", easy=True, more=HEADS)
    with pytest.MonkeyPatch.context() as patch:
        use_encoder(encoder, patch)
        climb_to(task, "heads", "encoder")
    return task


@pytest.fixture
def headed(
    headed_task: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The run of a task whose encoder was tuned, beside heads on the open one."""
    use_encoder(encoder, monkeypatch)
    return _copied(headed_task, tmp_path)


def _copied(task: Path, to: Path) -> Path:
    shutil.copytree(task, to / "task", ignore=shutil.ignore_patterns(".lock"))
    (run,) = (to / "task" / "runs").glob("climb-*")
    return run
