"""Bundles that are followed while the server runs: a deploy and a rollback need no restart."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from served_models import ask, events_of, served, text_of
from task_folders import make_task_folder

from stepladder.bundles import Bundle, deploy, load_bundle, rollback
from stepladder.data.split import load_split
from stepladder.errors import ModelError, StepladderError, StoreError
from stepladder.fake_live import FakeEngine
from stepladder.serve.log import LOGGER
from stepladder.serve.served.bases import Bases
from stepladder.serve.served.bundle import BundleServed, open_bundle
from stepladder.serve.served.directory import ServedModels
from stepladder.serve.served.following import AGAIN, Following
from stepladder.session import Options, run_climb
from stepladder.task import load_task

LADDER = '[steps.baseline]\nsolvers = ["majority", "linear"]\n'


@pytest.fixture(scope="session")
def climbed_without_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task that needs no model: its solvers count words."""
    folder = tmp_path_factory.mktemp("served") / "task"
    make_task_folder(folder, "openai:nobody", easy=True, more=LADDER)
    loaded = load_task(folder)
    options = Options(steps=("baseline",), whole_ladder=True)
    run_climb(loaded, load_split(loaded), options, lambda event, fields: None)
    return folder


@pytest.fixture
def task(climbed_without_models: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "task"
    shutil.copytree(climbed_without_models, folder, ignore=shutil.ignore_patterns(".lock"))
    return folder


@pytest.fixture
def opener() -> Iterator[partial]:  # type: ignore[type-arg]
    def no_base(name: str, artifacts: Path) -> None:
        raise AssertionError("these solvers ask no model")

    with ThreadPoolExecutor(2) as threads:
        yield partial(open_bundle, bases=Bases(no_base), threads=threads)  # type: ignore[arg-type]


def deployed(task: Path, solver: str) -> Path:
    (run,) = (task / "runs").glob("climb-*")
    return deploy(run, solver=f"baseline/{solver}", unconfirmed=True).folder


def answer(following: Following) -> str:
    model = following.get("colours")
    assert model is not None
    return text_of(events_of(model, ask("paint it blue")))


def test_a_deploy_and_a_rollback_are_served_without_a_restart(task: Path, opener: partial) -> None:  # type: ignore[type-arg]
    first = deployed(task, "majority")
    assert load_bundle(first).evaluation["inputs"] == {"kind": "text"}
    following = Following([task], opener)
    before = following.get("colours")
    majority = answer(following)
    second = deployed(task, "linear")
    following.look()
    assert answer(following) == "blue"
    assert [card.version for card in following.cards(None)] == [second.name]
    assert before is not following.get("colours")
    rollback(task)
    following.look()
    assert (answer(following), following.cards(None)[0].version) == (majority, first.name)
    same = following.get("colours")
    following.look()
    assert following.get("colours") is same, "what did not change stays open"
    following.close()


def test_a_bundle_that_cannot_be_served_leaves_the_old_one(
    task: Path,
    opener: partial,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,  # type: ignore[type-arg]
) -> None:
    monkeypatch.setattr(LOGGER, "propagate", True)
    deployed(task, "linear")
    following = Following([task], opener)
    broken = deployed(task, "majority")
    (broken / "solver.json").chmod(0o644)
    (broken / "solver.json").write_text("{}")
    models = ServedModels(following=following)
    with caplog.at_level(logging.ERROR, logger=LOGGER.name):
        following.look()
        following.look()
    assert answer(following) == "blue"
    (problem,) = models.problems()
    assert str(task) in problem
    assert len(caplog.records) == 1, "told once, not with every look"
    rollback(task)
    following.look()
    assert models.problems() == []
    following.close()


def test_what_failed_is_not_tried_with_every_look_and_the_old_one_is_retired_when_it_works(
    task: Path,
    opener: partial,  # type: ignore[type-arg]
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(LOGGER, "propagate", False)
    tried: list[str] = []
    retired: list[str] = []
    broken = True

    def open_one(bundle: Bundle) -> BundleServed:
        tried.append(bundle.id)
        if broken and len(tried) > 1:
            raise ModelError("its model is not here yet")
        made: BundleServed = opener(bundle)
        retire = made.retire
        made.retire = lambda: (retired.append(bundle.id), retire())  # type: ignore[assignment]
        return made

    first = deployed(task, "majority")
    following = Following([task], open_one)
    second = deployed(task, "linear")
    for _ in range(AGAIN):
        following.look()
    assert (tried, retired) == ([first.name, second.name], [])
    broken = False
    following.look()
    assert (tried[2:], retired) == ([second.name], [first.name])
    assert not following.problems()
    following.close()
    assert retired == [first.name, second.name]


def test_a_damaged_pointer_is_a_problem_until_it_is_mended(task: Path, opener: partial) -> None:  # type: ignore[type-arg]
    deployed(task, "linear")
    following = Following([task], opener)
    pointer = task / "bundles" / "current.json"
    good = pointer.read_bytes()
    pointer.write_text("{")
    following.look()
    assert following.problems()
    assert answer(following) == "blue"
    pointer.write_bytes(good)
    following.look()
    assert not following.problems()
    following.close()


def test_one_bundle_may_be_served_alone(task: Path, opener: partial) -> None:  # type: ignore[type-arg]
    first = deployed(task, "linear")
    following = Following([first], opener)
    deployed(task, "majority")
    following.look()
    assert following.cards(None)[0].version == first.name
    following.close()


def test_at_the_start_nothing_is_passed_over(task: Path, opener: partial) -> None:  # type: ignore[type-arg]
    with pytest.raises(StepladderError, match="nothing was deployed"):
        Following([task], opener)
    folder = deployed(task, "linear")
    with pytest.raises(StepladderError, match=r"two of the bundles.*'colours'"):
        Following([task, folder], opener)
    (folder / "task.json").chmod(0o644)
    (folder / "task.json").write_text(json.dumps({}))
    with pytest.raises(StoreError):
        Following([task], opener)


def test_the_server_looks_now_and_then(task: Path, opener: partial) -> None:  # type: ignore[type-arg]
    deployed(task, "majority")
    engine = FakeEngine()
    following = Following([task], opener)
    models = ServedModels([served(engine)], following=following, close=following.close)
    second = deployed(task, "linear")
    looks = 0

    async def sleep(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks > 2:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(models.follow(sleep))
    assert models.get("colours").card.version == second.name
    models.close()
    engine.close()
