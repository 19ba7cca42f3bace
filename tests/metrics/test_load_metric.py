"""From a task to its metric: registered names, options, and the user's own functions."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from stepladder.core import DataSource, Example, MetricSpec, Output, Target, Task
from stepladder.errors import TaskError
from stepladder.metrics import load_also, load_metric, metric_names
from stepladder.metrics.json_validity import JsonValidity
from stepladder.metrics.macro_f1 import MacroF1
from stepladder.metrics.micro_f1 import MicroF1
from stepladder.registry import known

EXAMPLE = Example("7", "take 5 mg", "5 mg")
OWN = """
import math
from dataclasses import dataclass

@dataclass
class Dose:
    text: str

def mentions_dose(example, output) -> bool:
    return Dose("mg").text in output.value

def share(example, output, *, of=10):
    return len(output.value) / of

def broken(example, output):
    raise KeyError("dose")

def too_much(example, output) -> float:
    return 1.5

def not_a_number(example, output):
    return math.nan

def no_answer(example, output):
    pass

def half(example, output) -> bool:
    return 0.5

def _private(example, output):
    return 1.0
"""


def task(name: str, folder: Path = Path("nowhere"), **options) -> Task:
    return Task(
        "doses", "classification", "Find the dose.", Target(0.9), MetricSpec(name, options),
        DataSource("examples.csv"), labels=("5 mg", "none"), schema={"type": "string"},
        folder=folder,
    )  # fmt: skip


@pytest.fixture
def own(tmp_path):
    (tmp_path / "metrics.py").write_text(OWN, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("name", known("metric"))
def test_every_registered_metric_loads_by_its_name(name):
    metric = load_metric(task(name))
    assert metric.name == name
    assert metric.scale in ("binary", "bounded", "ratio")
    assert pickle.loads(pickle.dumps(metric)) == metric


def test_options_and_what_the_task_knows_reach_the_constructor():
    assert load_metric(task("macro_f1")) == MacroF1(("5 mg", "none"))
    assert load_metric(task("macro_f1", labels=["x", "y"])) == MacroF1(("x", "y"))
    assert load_metric(task("json_validity")) == JsonValidity({"type": "string"})
    options = {"match": "partial", "ignore": ["negated"], "list": "events"}
    assert load_metric(task("micro_f1", **options)) == MicroF1(
        "partial", list="events", ignore=("negated",)
    )


@pytest.mark.parametrize(
    ("name", "options", "message", "hint"),
    [
        ("acuracy", {}, "no metric is called 'acuracy'", "accuracy"),
        ("micro_f1", {"mach": "exact"}, "no option 'mach'", "match"),
        ("micro_f1", {"match": "fuzzy"}, "match = 'fuzzy'", "partial"),
        ("token_f1", {"stem": True}, "no option 'stem'", "no options"),
    ],
)
def test_mistakes_are_told_with_what_would_have_worked(name, options, message, hint):
    with pytest.raises(TaskError, match=message) as raised:
        load_metric(task(name, **options))
    assert hint in raised.value.hint


def test_the_users_own_functions_are_metrics(own):
    assert {"mentions_dose", "share", "accuracy"} <= set(metric_names(task("share", own)))
    assert "_private" not in metric_names(task("share", own))
    right = load_metric(task("mentions_dose", own))
    assert (right.name, right.scale) == ("mentions_dose", "binary")
    assert right.score(EXAMPLE, Output("9 mg")) == (("all", 1.0, 1.0),)
    assert right.score(EXAMPLE, Output("9 g")) == (("all", 0.0, 1.0),)
    share = load_metric(task("share", own, of=8))
    assert share.scale == "bounded"
    assert share.score(EXAMPLE, Output("9 mg")) == (("all", 0.5, 1.0),)
    assert pickle.loads(pickle.dumps(share)).score(EXAMPLE, Output("9 mg"))[0][1] == 0.5


def test_a_failed_answer_is_not_shown_to_the_users_function(own):
    metric = load_metric(task("broken", own))
    assert metric.score(EXAMPLE, Output(None)) == (("all", 0.0, 1.0),)
    assert metric.score(EXAMPLE, Output("x", error="down")) == (("all", 0.0, 1.0),)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", r"metrics\.py:16: 'broken' raised KeyError\('dose'\) on example '7'"),
        ("too_much", r"'too_much' gave 1\.5 for example '7'"),
        ("not_a_number", r"'not_a_number' gave nan"),
        ("no_answer", r"'no_answer' gave None"),
        ("half", r"'half' gave 0\.5"),
    ],
)
def test_a_wrong_function_is_named_with_its_place(own, name, message):
    metric = load_metric(task(name, own))
    with pytest.raises(TaskError, match=message):
        metric.score(EXAMPLE, Output("9 mg"))


def test_an_edited_file_is_read_again(own):
    metric = load_metric(task("too_much", own))
    path = own / "metrics.py"
    path.write_text("def too_much(example, output): return 0.25\n", encoding="utf-8")
    assert metric.score(EXAMPLE, Output("9 mg")) == (("all", 0.25, 1.0),)


def test_a_name_may_not_stand_for_two_things(tmp_path):
    (tmp_path / "metrics.py").write_text("def accuracy(example, output): return 1.0\n")
    with pytest.raises(TaskError, match="'accuracy', which is also"):
        load_metric(task("accuracy", tmp_path))


def test_a_file_that_does_not_parse_or_run_says_where(tmp_path):
    (tmp_path / "metrics.py").write_text("def f(example, output)\n    return 1\n")
    with pytest.raises(TaskError, match=r"metrics\.py:1:"):
        load_metric(task("f", tmp_path))
    (tmp_path / "metrics.py").write_text("def f(example, output): return 1\n1 / 0\n")
    with pytest.raises(TaskError, match="ZeroDivisionError"):
        load_metric(task("f", tmp_path)).score(EXAMPLE, Output("x"))


def test_metrics_beside_are_loaded_like_the_metric_itself(own):
    specs = (
        MetricSpec("abstention", {"of": "recall"}),
        MetricSpec("abstention"),
        MetricSpec("share", {"of": 5}),
    )
    steps = {"retrieval": {"absent": "no idea"}}
    found = load_also(replace(task("accuracy", own), also_measured=specs, steps=steps))
    assert [metric.name for metric in found] == ["abstention_recall", "abstention", "share"]
    assert found[0].absent == "no idea"
    with pytest.raises(TaskError, match="'abstention' twice"):
        load_also(replace(task("accuracy", own), also_measured=(specs[1], specs[1])))
    with pytest.raises(TaskError, match="no option 'off'"):
        load_also(replace(task("accuracy"), also_measured=(MetricSpec("abstention", {"off": 1}),)))
