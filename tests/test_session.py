"""A climb put together for a task, with a provider, a step and a metric that come as plugins."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from climbing import number_split, number_task

from stepladder.core import Json, MetricSpec, Skipped, Split, Task
from stepladder.errors import ModelError, StepladderError, TaskError
from stepladder.registry import known, look_up
from stepladder.session import (
    LADDER,
    Options,
    make_steps,
    open_model,
    run_climb,
    run_plan,
    unheard_of,
)

PLUGIN = '''
from collections.abc import Iterator
from dataclasses import dataclass, field

from climbing import answers_right
from stepladder.core import Candidate, Estimate
from stepladder.solvers.prompt import PromptSolver
from stepladder.testing import FakeModel

OPEN = []
CALLS = []


class Provider:
    """`echo:0.97` is right on 97 % of the numbers."""

    def __init__(self, artifacts):
        self.artifacts = artifacts
        OPEN.append(self)

    def model(self, name):
        share = float(name.partition(":")[2])

        def reply(request):
            CALLS.append(request)
            if share < 0:
                raise RuntimeError("the service is down")
            return answers_right(share)(request)

        return FakeModel(reply, name=name)

    def close(self):
        OPEN.remove(self)


@dataclass(frozen=True)
class Ask:
    models: tuple[str, ...] = ()
    times: int = 1
    name: str = field(default="ask", init=False)

    def estimate(self, task, train, workshop):
        return Estimate(1.0, 0.0, 10)

    def propose(self, task, train, base, workshop):
        for model in self.models or task.models:
            solver = PromptSolver(
                model, task.instructions, "classification", task.labels, output_format="label"
            )
            yield Candidate(self.name, model, solver, build_dollars=0.0)


class Lenient:
    name, scale = "lenient", "binary"

    def __init__(self, **options):
        pass

    def score(self, example, output):
        return (("all", float(output.error is None and output.value is not None), 1.0),)
'''
ENTRY_POINTS = """
[stepladder.provider]
echo = a_plugin:Provider
[stepladder.step]
ask = a_plugin:Ask
[stepladder.metric]
lenient = a_plugin:Lenient
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A distribution that is installed as far as Python can tell."""
    site = tmp_path / "site"
    about = site / "a_plugin-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "a_plugin.py").write_text(PLUGIN, encoding="utf-8")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: a-plugin\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(site))
    import a_plugin  # type: ignore[import-not-found]

    yield a_plugin
    del sys.modules["a_plugin"]


@pytest.fixture
def task(plugin: Any, tmp_path: Path) -> Task:
    return replace(number_task(tmp_path / "task"), models=("echo:0.97",))


def quiet(event: str, fields: Mapping[str, Json]) -> None:
    """Nobody watches."""


ASK = Options(steps=("ask",))


def test_a_plugin_is_found_by_its_entry_points(plugin: Any) -> None:
    assert look_up("provider", "echo") is plugin.Provider
    assert {"echo", "local"} <= set(known("provider"))
    assert "ask" in known("step")
    with pytest.raises(StepladderError, match="no step is called 'akk'") as told:
        look_up("step", "akk")
    assert "ask, baseline" in told.value.hint


def test_a_climb_leaves_a_run_that_explains_itself(task: Task) -> None:
    decision, folder = run_climb(task, number_split(), ASK, quiet)
    assert decision.verdict == "met"
    assert folder.parent == task.folder / "runs"
    record = json.loads((folder / "decision.json").read_text(encoding="utf-8"))
    assert record["verdict"] == "met"
    assert record["run"]["seed"] == task.seed
    assert record["run"]["machine"]["cores"] >= 1
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert run["task"]["instructions"] == task.instructions
    assert run["steps"] == ["ask"]
    assert "</html>" in (folder / "report.html").read_text(encoding="utf-8")
    assert len(list((folder / "rows").glob("ask.*.jsonl"))) == 2  # dev and test


def test_the_same_climb_is_the_same_folder_and_calls_nothing(task: Task, plugin: Any) -> None:
    first, folder = run_climb(task, number_split(), ASK, quiet)
    calls = len(plugin.CALLS)
    second, again = run_climb(task, number_split(), ASK, quiet)
    assert again == folder
    assert len(plugin.CALLS) == calls == 500
    assert (second.verdict, second.reason) == (first.verdict, first.reason)


@pytest.mark.parametrize(
    ("change", "split", "options"),
    [
        ({"instructions": "Odd or even?"}, number_split(), ASK),
        ({"seed": 1}, number_split(), ASK),
        ({}, number_split(dev=190), ASK),
        ({}, number_split(), Options(steps=("ask",), whole_ladder=True)),
    ],
    ids=["task", "seed", "data", "options"],
)
def test_whatever_changes_the_climb_is_another_run(
    task: Task, change: dict[str, Any], split: Split, options: Options
) -> None:
    _, folder = run_climb(task, number_split(), ASK, quiet)
    _, other = run_climb(replace(task, **change), split, options, quiet)
    assert other != folder


def test_a_larger_budget_goes_on_in_the_same_run(task: Task) -> None:
    blocked, folder = run_climb(task, number_split(), replace(ASK, budget_minutes=0.0), quiet)
    assert blocked.verdict == "blocked"
    done, again = run_climb(task, number_split(), replace(ASK, budget_minutes=9.0), quiet)
    assert (done.verdict, again) == ("met", folder)


def test_providers_are_closed_whatever_happens(task: Task, plugin: Any) -> None:
    run_climb(task, number_split(), ASK, quiet)
    assert plugin.OPEN == []
    down = replace(task, models=("echo:-1",))
    with pytest.raises(ModelError, match="the service is down"):
        run_climb(down, number_split(), ASK, quiet)
    assert plugin.OPEN == []


def test_an_outage_can_be_waited_out(task: Task, plugin: Any) -> None:
    """What failed was not kept, so that the same command asks again."""
    down = replace(task, models=("echo:-1",))
    with pytest.raises(ModelError, match="run the same command again"):
        run_climb(down, number_split(), ASK, quiet)
    calls = len(plugin.CALLS)
    with pytest.raises(ModelError):
        run_climb(down, number_split(), ASK, quiet)
    assert len(plugin.CALLS) == 2 * calls


def test_a_plan_calls_nothing(task: Task, plugin: Any) -> None:
    found = run_plan(task, number_split(), ASK, quiet)
    assert [(name, isinstance(what, Skipped)) for name, what in found] == [
        ("ask", False),
        ("measuring, at most", False),
    ]
    assert plugin.CALLS == []


def test_a_metric_of_a_plugin_scores(task: Task) -> None:
    lenient = replace(task, metric=MetricSpec("lenient"), models=("echo:0.1",))
    decision, _ = run_climb(lenient, number_split(), ASK, quiet)
    assert decision.trials[0].evaluation.score == 1.0


def test_events_tell_the_story(task: Task) -> None:
    events: list[str] = []
    run_climb(task, number_split(), ASK, lambda event, fields: events.append(event))
    story = ["step", "building", "candidate", "trial", "confirming", "confirmed"]
    assert [event for event in events if event in story] == story
    assert events.count("rows") == 500  # 200 of dev, 300 of the sealed test


def test_watching_may_stop_the_climb(task: Task, plugin: Any) -> None:
    def impatient(event: str, fields: Mapping[str, Json]) -> None:
        if event == "rows":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_climb(task, number_split(), ASK, impatient)
    assert plugin.OPEN == []
    assert run_climb(task, number_split(), ASK, quiet)[0].verdict == "met"


# --- steps and models by name --------------------------------------------------------------------


def test_steps_are_in_the_order_of_what_they_cost_to_build(task: Task) -> None:
    steps = make_steps(task, ["ask", *reversed(LADDER), "baseline"])
    assert [step.name for step in steps] == [*LADDER, "ask"]


def test_options_of_the_task_reach_the_step(task: Task) -> None:
    told = replace(task, steps={"ask": {"models": ["echo:0.5", "echo:0.9"], "times": 3}})
    (step,) = make_steps(told, ["ask"])
    assert step == look_up("step", "ask")(models=("echo:0.5", "echo:0.9"), times=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "x"}, "has no option 'model'"),
        ({"name": "other"}, "has no option 'name'"),
        ({"times": "often"}, "times = 'often' cannot be used"),
        ({"models": "echo:1"}, "models = 'echo:1' cannot be used"),
    ],
)
def test_options_that_a_step_cannot_take_are_named(
    task: Task, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(TaskError, match=r"task\.toml: \[steps\.ask\]") as told:
        make_steps(replace(task, steps={"ask": options}), ["ask"])
    assert message in told.value.message
    assert told.value.hint


def test_a_model_without_a_provider_is_refused() -> None:
    with pytest.raises(TaskError, match="does not say who provides it") as told:
        open_model("smollm2-135m-instruct")
    assert "local:smollm2-135m-instruct" in told.value.hint


def test_a_provider_that_nobody_knows_is_refused() -> None:
    with pytest.raises(StepladderError, match="no provider is called 'oracle'"):
        open_model("oracle:delphi")


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"models": ("oracle:delphi",)}, "the model 'oracle:delphi'"),
        ({"prompt_model": "oracle:delphi"}, "the model 'oracle:delphi'"),
        ({"providers": {"gemni": {"batch": True}}}, r"\[providers.gemni\]"),
    ],
)
def test_a_task_that_names_a_provider_that_nobody_knows_is_refused(
    task: Task, change: dict[str, Any], where: str
) -> None:
    named = replace(task, **change)
    with pytest.raises(TaskError, match=f"{where}: no provider is called") as told:
        run_plan(named, number_split(), ASK, quiet)
    assert "gemini" in told.value.hint


def test_pairs_that_cannot_be_read_are_found_before_any_step(task: Task, tmp_path: Path) -> None:
    options = {"fine_tune": {"method": "preference"}}
    hosted = replace(task, models=("vertex:gemini-3.5-flash",), steps=options, folder=tmp_path)
    with pytest.raises(TaskError, match=r"preferences\.jsonl"):
        run_climb(hosted, number_split(), Options(), quiet)
    assert not (tmp_path / "runs").exists()  # nothing was begun
    with pytest.raises(TaskError, match=r"preferences\.jsonl"):
        make_steps(replace(hosted, models=("local:some-model",)), ["fine_tune"])


def test_models_that_the_table_does_not_have_are_told(task: Task) -> None:
    named = replace(task, models=("gemini:gemini-3.5-flahs", "gemini:gemini-3.5-flash", "vllm:x"))
    (finding,) = unheard_of(named, Options())
    assert "'gemini:gemini-3.5-flahs'" in finding.message
    assert "stepladder models --provider gemini" in finding.cure
