"""The functions step: which candidates it proposes, and that a whole climb can use them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ride_functions import write_functions

from stepladder.core import (
    Call,
    DataSource,
    Example,
    MetricSpec,
    Request,
    Response,
    Target,
    Task,
    Usage,
)
from stepladder.errors import NotApplicable, TaskError
from stepladder.metrics.call_match import CallMatch
from stepladder.session import LADDER, make_steps
from stepladder.steps.fine_tune_plan import conversation
from stepladder.steps.functions import Functions, calling_solver
from stepladder.steps.measure import try_solver
from stepladder.testing import check_step, fake_workshop

TRAIN = [
    Example(
        f"{number}",
        {"text": f"play song {number}", "may": ["play", "stop"]},
        [{"name": "music.play", "arguments": {"song": number}}],
    )
    for number in range(20)
]
CATALOGUE = {
    "play": {
        "name": "music.play",
        "parameters": {"properties": {"song": {"type": "integer"}}, "required": ["song"]},
    },
    "stop": {"name": "music.stop"},
}


class Player:
    """Calls `music_play` with the number in what it is asked."""

    name = "fake:player"

    def generate(self, requests: list[Request]) -> Iterator[tuple[int, Response]]:
        for index, request in enumerate(requests):
            number = int(str(request.messages[-1].content).split()[-1])
            call = Call("music_play", {"song": number})
            yield index, Response("", Usage(self.name, 1, 1), calls=(call,))

    def count_tokens(self, messages) -> int:
        return len(messages)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    (tmp_path / "functions.json").write_text(json.dumps(CATALOGUE))
    return Task(
        "music", "calls", "Control the music.", Target(0.9), MetricSpec("call_match"),
        DataSource(), models=("fake:player",), folder=tmp_path,
        steps={"functions": {"catalogue": "functions.json", "candidates": "may", "shots": 3}},
    )  # fmt: skip


def test_it_keeps_the_contract_of_steps(task: Task, tmp_path: Path) -> None:
    (step,) = make_steps(task, ["functions"])
    check_step(step, task, TRAIN, fake_workshop(Player(), tmp_path / "artifacts"))


def test_it_proposes_the_model_with_functions_and_with_demonstrations(
    task: Task, tmp_path: Path
) -> None:
    (step,) = make_steps(task, ["functions"])
    workshop = fake_workshop(Player(), tmp_path / "artifacts")
    plain, shown, picked = step.propose(task, TRAIN, None, workshop)
    assert (plain.name, shown.name, picked.name) == ("plain", "shots-3", "bm25-3")
    assert plain.solver.candidates == "may"
    assert plain.solver.sources == ()
    for one in (plain, shown, picked):
        attempt = try_solver(one.solver, TRAIN, CallMatch(), workshop)
        assert attempt.score == 1


def test_a_local_model_is_held_to_a_list_of_calls_as_well(task: Task, tmp_path: Path) -> None:
    (step,) = make_steps(task, ["functions"])
    local = replace(task, models=("local:some-model",))
    found = step.propose(local, TRAIN, None, fake_workshop(Player(), tmp_path / "artifacts"))
    forms = {one.name: (one.solver.form, len(one.solver.demos)) for one in found}
    assert forms == {
        "plain": ("native", 0), "json": ("json", 0), "shots-3": ("json", 3), "bm25-3": ("json", 0),
    }  # fmt: skip
    assert len(step.measured(local, TRAIN)) == 4


def test_calls_run_through_the_sources_that_are_named(task: Task, tmp_path: Path) -> None:
    write_functions(tmp_path)
    sources = [{"kind": "python", "path": "functions.py"}]
    options = {"sources": sources, "gives": "record", "allowed": ["book_ride"], "turns": 3}
    task = replace(task, steps={"functions": options})
    (step,) = make_steps(task, ["functions"])
    (only,) = step.propose(task, TRAIN, None, fake_workshop(Player(), tmp_path / "artifacts"))
    assert only.solver.gives == "record"
    assert only.solver.allowed == ("book_ride",)
    assert only.solver.steps == 3
    assert Path(only.solver.sources[0]["path"]).is_absolute()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "names no functions"),
        ({"catalogue": "functions.json", "gives": "record"}, "needs sources"),
        ({"catalogue": "functions.json", "shots": -1}, "shots=-1"),
        ({"catalogue": "functions.json", "fly": 1}, "no option 'fly'"),
    ],
)
def test_options_that_do_not_go_together_are_found_before_the_climb(
    task: Task, options: dict, said: str
) -> None:
    with pytest.raises(TaskError, match=said):
        make_steps(replace(task, steps={"functions": options}), LADDER)


def test_a_task_without_functions_has_no_such_rung(task: Task, tmp_path: Path) -> None:
    without = replace(task, steps={})
    assert "functions" not in [step.name for step in make_steps(without, LADDER)]
    assert "functions" in [step.name for step in make_steps(task, LADDER)]
    workshop = fake_workshop(Player(), tmp_path / "artifacts")
    (named,) = make_steps(without, ["functions"])
    with pytest.raises(NotApplicable, match="names no functions"):
        named.estimate(without, TRAIN, workshop)
    assert calling_solver(without, "fake:player", workshop) is None
    with pytest.raises(NotApplicable, match="names no model"):
        Functions().propose(replace(task, models=()), TRAIN, None, workshop)


def test_what_is_tuned_on_is_what_is_asked(task: Task, tmp_path: Path) -> None:
    workshop = fake_workshop(Player(), tmp_path / "artifacts")
    solver = calling_solver(task, "local:some-model", workshop)
    assert solver is not None
    messages, said = conversation(solver, TRAIN[7], workshop)
    assert "music_play\n  song: integer" in str(messages[0].content)
    assert messages[-1].content == "play song 7"
    assert said == '[{"name": "music_play", "arguments": {"song": 7}}]'
    assert solver.form == "json"
    options = {"sources": [{"kind": "python", "path": "functions.py"}], "gives": "answer"}
    write_functions(tmp_path)
    running = replace(task, steps={"functions": options})
    assert calling_solver(running, "local:some-model", workshop) is None


def test_rows_for_services_have_tools_and_calls_in_their_form(task: Task, tmp_path: Path) -> None:
    from stepladder.steps.fine_tune_managed import _rows
    from stepladder.steps.fine_tune_plan import Lesson
    from stepladder.trainers.tuning_data import to_row, tokens_of

    workshop = fake_workshop(Player(), tmp_path / "artifacts")
    solver = calling_solver(task, "openai:some-model", workshop)
    assert solver is not None
    native = replace(solver, form="native")
    silent = replace(TRAIN[8], expected=[])
    lesson = Lesson("openai:some-model", native, (TRAIN[7], silent), ())
    one, none = _rows(lesson, lesson.train, workshop)
    row = to_row(one, "openai", "supervised")
    assert row["tools"][0]["function"]["name"] == "music_play"
    (call,) = row["messages"][-1]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == (
        "music_play", {"song": 7},
    )  # fmt: skip
    row = to_row(one, "gemini", "supervised")
    assert row["tools"][0]["functionDeclarations"][1]["name"] == "music_stop"
    called = {"functionCall": {"name": "music_play", "args": {"song": 7}}}
    assert row["contents"][-1] == {"role": "model", "parts": [called]}
    said = to_row(none, "openai", "supervised")["messages"][-1]
    assert said == {"role": "assistant", "content": "No function is called."}
    assert tokens_of(one, Player().count_tokens) == 4
