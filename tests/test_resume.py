"""kill -9, Ctrl-C and two at once, on real climbs: no finished call is made twice."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_process import Command, answers_in, wait_for
from task_folders import make_climbing_model, make_task_folder

pytest.importorskip("openvino_genai")
pytest.importorskip("torch")

SEARCHED = "[steps.prompt]\nsample = 8\nkeep = 3\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model; the engine built for it stays in its cache."""
    folder = tmp_path_factory.mktemp("climbs")
    make_climbing_model(folder / "model")
    return folder


Start = Callable[..., Command]


@pytest.fixture
def task(place: Path, tmp_path: Path) -> Path:
    model = f"local:{place / 'model'}"
    return make_task_folder(tmp_path / "task", model, rows=200, score=0.2, more=SEARCHED)


@pytest.fixture
def start(place: Path, tmp_path: Path) -> Start:
    environment = {"STEPLADDER_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1"}
    counted = iter(range(100))

    def start(task: Path, *more: str) -> Command:
        arguments = ("climb", str(task), "--steps", "prompt", "--json", *more)
        return Command(tmp_path / f"command-{next(counted)}", *arguments, environment=environment)

    return start


def decided(command: Command) -> dict[str, Any]:
    assert command.wait() in (0, 1), command.errors
    record: dict[str, Any] = json.loads(command.output)
    return record


def outcome(record: dict[str, Any]) -> tuple[Any, ...]:
    confirmed = record["confirmed"] or {}
    return record["verdict"], record["chosen"], confirmed.get("n"), confirmed.get("alpha")


@pytest.fixture(scope="module")
def uninterrupted(place: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    folder = tmp_path_factory.mktemp("whole")
    model = f"local:{place / 'model'}"
    task = make_task_folder(folder / "task", model, rows=200, score=0.2, more=SEARCHED)
    environment = {"STEPLADDER_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1"}
    arguments = ("climb", str(task), "--steps", "prompt", "--json")
    whole = outcome(decided(Command(folder, *arguments, environment=environment)))
    assert whole[0] == "met"  # else no climb would open its test set, and nothing would be shown
    return whole


def openings(task: Path) -> list[str]:
    path = task / "openings.jsonl"
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "first answer": lambda task: len(answers_in(task / "runs")) >= 1,
    "in the search": lambda task: len(answers_in(task / "runs")) >= 20,
    "on dev": lambda task: any((task / "runs").glob("*/rows/*.dev.jsonl")),
    "the test is open": lambda task: bool(openings(task)),
}


def assert_not_asked_again(task: Path, kept: dict[str, str]) -> None:
    """A call that is made again is written again, and took other seconds."""
    after = answers_in(task / "runs")
    assert {key: after.get(key) for key in kept} == kept
    assert len(after) > len(kept)


@pytest.mark.parametrize(
    "moment",
    [
        "first answer",
        pytest.param("in the search", marks=pytest.mark.slow),
        pytest.param("on dev", marks=pytest.mark.slow),
        "the test is open",
    ],
)
def test_after_kill_9_only_what_was_not_finished_is_done(
    moment: str, task: Path, start: Start, uninterrupted: tuple[Any, ...]
) -> None:
    first = start(task)
    wait_for(lambda: MOMENTS[moment](task), first)
    first.process.kill()
    assert first.wait() == -signal.SIGKILL
    kept = answers_in(task / "runs")
    assert kept

    record = decided(start(task))

    assert_not_asked_again(task, kept)
    assert outcome(record) == uninterrupted
    assert len(openings(task)) == 1


def test_ctrl_c_says_how_to_go_on(task: Path, start: Start, uninterrupted: tuple[Any, ...]) -> None:
    first = start(task)
    wait_for(lambda: len(answers_in(task / "runs")) >= 3, first)
    os.kill(first.process.pid or 0, signal.SIGINT)
    assert first.wait() == 130
    assert "Run the same command again to go on" in first.errors
    assert "Traceback" not in first.errors
    assert first.output == ""
    kept = answers_in(task / "runs")
    assert kept

    record = decided(start(task))
    assert_not_asked_again(task, kept)
    assert outcome(record) == uninterrupted


@pytest.mark.slow
def test_the_same_command_again_calls_no_model(task: Path, start: Start) -> None:
    first = decided(start(task))
    kept = answers_in(task / "runs")
    again = decided(start(task))
    assert answers_in(task / "runs") == kept
    same = ("verdict", "reason", "chosen", "confirmed")
    assert {key: again[key] for key in same} == {key: first[key] for key in same}
    assert len(openings(task)) == 1


def test_two_climbs_at_once_agree_and_open_the_test_once(
    task: Path, start: Start, uninterrupted: tuple[Any, ...]
) -> None:
    both = [start(task), start(task)]
    records = [decided(command) for command in both]
    assert [outcome(record) for record in records] == [uninterrupted] * 2
    assert len(openings(task)) == 1
    folders = sorted(path.name for path in (task / "runs").glob("climb-*"))
    assert len(folders) == 2
    assert folders[1] == f"{folders[0]}-2"
    for folder in folders:
        for rows in (task / "runs" / folder / "rows").glob("*.jsonl"):
            for line in rows.read_text(encoding="utf-8").splitlines():
                json.loads(line)
