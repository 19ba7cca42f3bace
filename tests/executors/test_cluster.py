"""A cluster of several worker processes on this machine, which are killed at work."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from climbing import number_task
from plugin_solvers import Fussy, install
from task_folders import make_climbing_model, make_task_folder

from stepladder.answers import Answers, CachedModel
from stepladder.core import Example, Output, Workshop
from stepladder.executors.ray_data import RayCluster
from stepladder.executors.ray_start import disconnect
from stepladder.models import ProviderSettings
from stepladder.models.local import LocalProvider
from stepladder.solvers.linear import LinearSolver, fit_linear
from stepladder.solvers.prompt import PromptSolver

pytestmark = [
    pytest.mark.slow,
    pytest.mark.network,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # sockets of Ray's own threads
]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the workers inherit when the cluster starts: a plugin, and a cache of their own."""
    folder = tmp_path_factory.mktemp("cluster")
    install(folder)
    here = str(Path(__file__).parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), here]))
        patch.setenv("STEPLADDER_CACHE", str(folder / "cache"))
        patch.setenv("OPENAI_API_KEY", "made-up-key-of-this-test")
        patch.syspath_prepend(str(folder))
        yield
        disconnect()


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(lambda name: None, tmp_path / "artifacts", lambda event, told: None)  # type: ignore[arg-type, return-value]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RayCluster]:
    """Two workers; the cluster stays up between tests, since starting one takes seconds."""
    answers = Answers(tmp_path / "answers.sqlite")
    yield RayCluster(number_task(tmp_path), answers, workers=2, cores=1)
    answers.close()


@pytest.fixture(autouse=True)
def _no_luck() -> Iterator[None]:
    """Whatever is to be freed is freed by the code here, not by a collection that came by."""
    gc.disable()
    yield
    gc.enable()


def workers() -> dict[int, str]:
    """The processes that answer, of a cluster below this process: id and title."""
    found, parents = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                title = (entry / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
            parents[int(entry.name)] = int(stat[1])
            if title.startswith("ray::MapWorker"):
                found[int(entry.name)] = title
    return {pid: title for pid, title in found.items() if os.getpid() in lineage(pid, parents)}


def assert_freed() -> None:
    """No worker is left: one that is would keep its core from whatever comes next."""
    until = time.monotonic() + 60
    while workers() and time.monotonic() < until:
        os.sched_yield()
    assert not workers()


def lineage(pid: int, parents: dict[int, int]) -> list[int]:
    line = [pid]
    while line[-1] in parents:
        line.append(parents[line[-1]])
    return line


def linear(workshop: Workshop) -> LinearSolver:
    train = [
        Example(f"t{n}", f"paint number {n} {'red' if n % 2 else 'blue'}", str(n % 2))
        for n in range(60)
    ]
    return fit_linear(train, workshop)


def said(output: Output) -> tuple[Any, ...]:
    return output.value, output.text, output.confidence, output.error


def test_the_answers_of_a_cluster_are_those_of_one_process_to_the_bit(
    cluster: RayCluster, workshop: Workshop
) -> None:
    solver = linear(workshop)
    inputs = [f"number {n} {'red' if n % 3 else 'blue'}" for n in range(9000)]
    here = {at: said(output) for at, output in solver.answer(inputs, workshop)}
    there = [(at, said(output)) for at, output in cluster.answer(solver, inputs, workshop)]
    assert len(there) == 9000
    assert dict(there) == here


def test_rows_of_killed_workers_are_answered_again_each_once(
    cluster: RayCluster, workshop: Workshop
) -> None:
    solver = linear(workshop)
    inputs = [f"number {n} {'red' if n % 3 else 'blue'}" for n in range(60_000)]
    killed: set[int] = set()
    there: list[tuple[int, Output]] = []
    for at, output in cluster.answer(solver, inputs, workshop):
        there.append((at, output))
        if len(there) in (1, 20_000):  # all workers, with what they are at and what waits for them
            alive = workers().keys() - killed
            for pid in alive:
                os.kill(pid, signal.SIGKILL)
            killed |= alive
    assert len(killed) >= 3
    assert sorted(at for at, _ in there) == list(range(60_000))
    here = {at: said(output) for at, output in solver.answer(inputs, workshop)}
    assert {at: said(output) for at, output in there} == here


def test_an_input_that_kills_each_worker_fails_alone(
    cluster: RayCluster, workshop: Workshop
) -> None:
    told: list[str] = []
    noting = Workshop(
        workshop.model, workshop.artifacts, lambda event, fields: told.append(str(fields))
    )
    inputs = ["fine"] * 3000
    inputs[1500], inputs[7] = "die", "break"
    there = list(cluster.answer(Fussy(), inputs, noting))
    assert sorted(at for at, _ in there) == list(range(3000))
    failed = {at: output.error for at, output in there if output.error is not None}
    assert failed.keys() == {7, 1500}
    assert "broken by this row" in str(failed[7])
    assert "died 4 times" in str(failed[1500])
    assert any("one by one" in text for text in told)
    assert_freed()


def test_a_run_that_stalls_is_finished_without_it(
    cluster: RayCluster, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepladder.executors.ray_data.STALLED_SECONDS", 5)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    told: list[str] = []

    def tell(event: str, fields: Any) -> None:
        if "without an answer" in fields["text"]:
            if not told:
                pipe.write_text("go on", encoding="utf-8")  # its core is wanted by other tests
            told.append(fields["text"])

    inputs = ["fine"] * 3000
    inputs[2000] = "stall"
    noting = Workshop(workshop.model, workshop.artifacts, tell)
    there = list(cluster.answer(Fussy(str(pipe)), inputs, noting))
    assert told
    assert sorted(at for at, _ in there) == list(range(3000))
    assert not [output for _, output in there if output.error is not None]
    assert_freed()


def test_artifacts_reach_machines_that_do_not_see_them(
    cluster: RayCluster, workshop: Workshop, tmp_path: Path
) -> None:
    solver = linear(workshop)
    inputs = [f"number {n} red" for n in range(2048)]
    here = {at: said(output) for at, output in solver.answer(inputs, workshop)}
    cluster.ship = True
    there = {at: said(output) for at, output in cluster.answer(solver, inputs, workshop)}
    assert there == here
    kept = Path(os.environ["STEPLADDER_CACHE"]) / "cluster" / "artifacts"
    assert solver.artifact in [path.name for path in kept.iterdir()]


def test_nobody_wanting_more_frees_the_workers(cluster: RayCluster, workshop: Workshop) -> None:
    answers = cluster.answer(linear(workshop), ["red"] * 200_000, workshop)
    next(answers)
    assert workers()
    answers.close()  # type: ignore[attr-defined]
    assert_freed()


def test_a_local_model_says_the_same_in_a_worker_and_its_calls_are_kept_here(
    cluster: RayCluster, tmp_path: Path
) -> None:
    name = f"local:{make_climbing_model(tmp_path / 'model')}"
    provider = LocalProvider(tmp_path / "artifacts")

    def model(which: str) -> CachedModel:
        return CachedModel(provider.model(which), cluster.answers)

    def settings(kind: str) -> ProviderSettings:
        return ProviderSettings(kind, artifacts=tmp_path / "artifacts")

    workshop = Workshop(
        model,  # type: ignore[arg-type]
        tmp_path / "artifacts",
        lambda event, told: None,
        settings=settings,
    )
    solver = PromptSolver(name, "Which colour?", max_output_tokens=4)
    inputs = [f"paint {n} red" for n in range(96)]
    there = {at: said(output) for at, output in cluster.answer(solver, inputs, workshop)}
    assert not provider._loaded  # no engine ran here
    assert len(there) == 96
    again = {at: said(output) for at, output in cluster.answer(solver, inputs, workshop)}
    assert again == there
    fresh = Workshop(provider.model, tmp_path / "artifacts", lambda event, told: None)  # type: ignore[arg-type]
    here = {at: said(output) for at, output in solver.answer(inputs, fresh)}
    provider.close()
    assert there == here


def climb(folder: Path, *more: str) -> list[str]:
    program = "from stepladder.cli import main; main()"
    return [sys.executable, "-c", program, "climb", str(folder), "--steps", "baseline", *more]


def rows(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    found = {}
    for path in sorted((folder / "runs").glob("*/rows/*.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        found[path.name] = sorted((row["id"], row["value"], row["confidence"]) for row in lines)
    return found


def test_a_climb_on_a_cluster_writes_the_rows_of_a_climb_here(tmp_path: Path) -> None:
    decided = []
    for on in ("here", "ray"):
        folder = make_task_folder(
            tmp_path / on / "task", "local:smollm2-135m-instruct", rows=11_000, easy=True, more=""
        )
        done = subprocess.run(
            [*climb(folder, "--json"), "--on", on],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
            cwd=ROOT,
        )
        assert done.returncode == 0, done.stderr
        decided.append(json.loads(done.stdout)["verdict"])  # and nothing of Ray's on that output
        assert ("answering on a Ray cluster" in done.stderr) == (on == "ray")
        assert "made-up-key-of-this-test" not in done.stderr
    assert decided == ["met", "met"]
    assert rows(tmp_path / "ray" / "task") == rows(tmp_path / "here" / "task")


def test_ctrl_c_ends_the_climb_and_its_cluster(tmp_path: Path) -> None:
    folder = make_task_folder(
        tmp_path / "task", "local:smollm2-135m-instruct", rows=11_000, easy=True, more=""
    )
    process = subprocess.Popen(
        [*climb(folder), "--on", "ray"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "answering on a Ray cluster" in line:
            break
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to everybody in the foreground
    rest = process.stderr.read()
    assert process.wait(timeout=120) == 130
    assert "Run the same command again" in rest
    assert "Traceback" not in rest
    left = [
        path
        for path in Path("/proc").glob("[0-9]*/stat")
        if path.read_text().rpartition(")")[2].split()[3] == str(process.pid)
    ]
    assert not left
