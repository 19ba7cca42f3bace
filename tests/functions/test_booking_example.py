"""The example that books: its data, its functions and its task go together, without a model."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepladder.core import Example, Message, Request, Response, Split, Task, Usage, Workshop
from stepladder.data.split import load_split
from stepladder.metrics import load_metric
from stepladder.session import make_steps
from stepladder.solvers.calling import CallingSolver
from stepladder.steps.functions import calling_solver, plain_calls
from stepladder.task import load_task
from stepladder.testing import fake_workshop

EXAMPLE = Path(__file__).parents[2] / "examples" / "booking-functions"


@pytest.fixture
def task(tmp_path: Path) -> Task:
    folder = tmp_path / "task"
    skip = shutil.ignore_patterns("runs", "*.sqlite", "__pycache__", "openings*")
    shutil.copytree(EXAMPLE, folder, ignore=skip)
    return load_task(folder)


@pytest.fixture
def split(task: Task) -> Split:
    return load_split(task)


class Knowing:
    """Writes the calls that are expected of an input, or others where it is told to."""

    name = "fake:knowing"

    def __init__(self, examples: Sequence[Example], **instead: Any) -> None:
        self._said = {str(one.input): json.dumps(one.expected) for one in examples} | instead

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Response]]:
        for index, request in enumerate(requests):
            asked = str(request.messages[-1].content)
            yield index, Response(self._said[asked], Usage(self.name, 1, 1, seconds=0.01))

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return len(messages)


def solved(task: Task, examples: Sequence[Example], workshop: Workshop, **changes: Any) -> Any:
    solver = plain_calls(task, task.models[0], workshop)
    assert isinstance(solver, CallingSolver)
    inputs = [one.input for one in examples]
    outputs = dict(replace(solver, **changes).answer(inputs, workshop))
    return [outputs[place] for place in range(len(inputs))]


def booked(task: Task) -> int:
    with closing(sqlite3.connect(task.folder / "bookings.sqlite")) as connection:
        (count,) = connection.execute("SELECT count(*) FROM bookings").fetchone()
    return int(count)


def test_the_expected_calls_give_the_expected_results(task: Task, split: Split) -> None:
    workshop = fake_workshop(Knowing(split.dev), task.folder / "artifacts")
    metric = load_metric(task)
    for _ in range(2):  # what was booked before changes nothing
        outputs = solved(task, split.dev, workshop)
        scores = [metric.score(*pair)[0][1] for pair in zip(split.dev, outputs, strict=True)]
        assert scores == [1.0] * len(split.dev)
    acting = [one for out in outputs for one in out.value["calls"] if one["side_effects"]]
    assert 0 < booked(task) <= len(acting)
    silent = [out.value["calls"] == [] for out in outputs]
    assert 0.2 < sum(silent) / len(silent) < 0.4, "calls and their absence are both tested"


def test_a_dry_run_books_nothing_and_what_is_not_allowed_does_not_run(
    task: Task, split: Split
) -> None:
    cancel = '[{"name": "cancel_booking", "arguments": {"reference": "78d39369"}}]'
    asked = replace(split.dev[0], input="cancel it", expected=[])
    workshop = fake_workshop(Knowing(split.dev, **{"cancel it": cancel}), task.folder / "artifacts")
    outputs = solved(task, [*split.dev, asked], workshop, dry=True)
    states = {one["state"] for out in outputs for one in out.value["calls"]}
    assert states == {"recorded"}
    assert not (task.folder / "bookings.sqlite").exists()
    (output,) = solved(task, [asked], workshop)
    (call,) = output.value["calls"]
    assert (call["state"], call["error"]) == (
        "refused", "the function 'cancel_booking' is not allowed to run",
    )  # fmt: skip


def test_a_wrong_call_is_told_by_the_database_and_scores_nothing(task: Task, split: Split) -> None:
    asked = next(one for one in split.dev if one.expected and "hotel" in one.expected[0]["name"])
    wrong = json.loads(json.dumps(asked.expected))
    wrong[0]["arguments"]["city"] = "Nowhere"
    model = Knowing([replace(asked, expected=wrong)])
    (output,) = solved(task, [asked], fake_workshop(model, task.folder / "artifacts"))
    assert load_metric(task).score(asked, output)[0][1] == 0


def test_the_climb_tunes_on_calls_with_nothing_of_the_functions_in_the_prompt(
    task: Task, split: Split
) -> None:
    workshop = fake_workshop(Knowing(split.train), task.folder / "artifacts")
    names = [step.name for step in make_steps(task, ("functions", "fine_tune"))]
    assert names == ["functions", "fine_tune"]
    tuned = calling_solver(task, task.models[0], workshop)
    assert tuned is not None
    assert (tuned.form, tuned.shown, tuned.gives, tuned.steps) == ("json", "nothing", "record", 1)
    assert tuned.allowed == tuple(task.steps["functions"]["allowed"])


def test_no_dialogue_is_on_both_sides(split: Split) -> None:
    groups = [{one.group for one in part} for part in (split.train, split.dev, split.test)]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
