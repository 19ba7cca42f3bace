from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from bundling import climb_to
from task_folders import make_task_folder

from stepladder.registry import BUILT_IN

LADDER = """
[steps.baseline]
solvers = ["majority", "linear", "nearest"]

[steps.prompt]
search = "none"

[steps.few_shot]
methods = ["balanced", "bm25"]
k = [2]
slice = 8
"""


@pytest.fixture(autouse=True)
def _parrots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILT_IN["provider"], "parrot", "bundling:open_parrots")


@pytest.fixture(scope="session")
def climbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task that the baseline solves and a parrot does not; tests work on copies."""
    folder = tmp_path_factory.mktemp("climbed") / "task"
    make_task_folder(folder, "parrot:grey", easy=True, more=LADDER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BUILT_IN["provider"], "parrot", "bundling:open_parrots")
        climb_to(folder, "baseline", "prompt", "few_shot")
    return folder


@pytest.fixture
def task(climbed: Path, tmp_path: Path) -> Path:
    """A climbed task of the test's own."""
    folder = tmp_path / "task"
    shutil.copytree(climbed, folder, ignore=shutil.ignore_patterns(".lock"))
    return folder


@pytest.fixture
def run(task: Path) -> Path:
    """Its run."""
    (found,) = (task / "runs").glob("climb-*")
    return found
