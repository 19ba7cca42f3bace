"""Which baselines are proposed for which task."""

from dataclasses import replace
from pathlib import Path

import pytest
from step_tasks import EXTRACT, SORT, messages, reports

from stepladder.core import Example, Message, Part
from stepladder.errors import NotApplicable, StepladderError
from stepladder.steps.baseline import Baseline
from stepladder.testing import FakeModel, check_solver, check_step, fake_workshop


@pytest.mark.parametrize(
    ("task", "train", "names"),
    [
        (SORT, messages(20), ["majority", "nearest", "linear"]),
        (EXTRACT, reports(20), ["majority", "dictionary", "nearest"]),
        (replace(SORT, kind="qa"), messages(20), ["majority", "nearest"]),
    ],
)
def test_what_fits_the_kind_is_proposed_without_a_model_call(task, train, names, tmp_path) -> None:
    model = FakeModel()
    workshop = fake_workshop(model, tmp_path)
    check_step(Baseline(), task, train, workshop)
    candidates = list(Baseline().propose(task, train, None, workshop))
    assert [candidate.name for candidate in candidates] == names
    assert model.seen == []
    assert all(candidate.build_dollars == 0.0 for candidate in candidates)
    for candidate in candidates:
        check_solver(candidate.solver, [example.input for example in train[:3]], workshop)


def test_only_majority_reads_no_input(tmp_path: Path) -> None:
    photo = (Message("user", (Part("image", uri="x.png"),)),)
    train = [replace(example, input=photo) for example in messages(4)]
    candidates = Baseline().propose(SORT, train, None, fake_workshop(FakeModel(), tmp_path))
    assert [candidate.name for candidate in candidates] == ["majority"]


def test_what_finds_nothing_to_learn_is_left_out_and_told(tmp_path: Path) -> None:
    told = []
    workshop = replace(
        fake_workshop(FakeModel(), tmp_path), tell=lambda event, fields: told.append(fields)
    )
    train = [Example("1", "hello there", "refund"), Example("2", "hello again", "refund")]
    names = [candidate.name for candidate in Baseline().propose(SORT, train, None, workshop)]
    assert names == ["majority", "nearest"]
    assert told == [
        {
            "step": "baseline",
            "name": "linear",
            "why": "a linear model needs at least two labels in train",
        }
    ]


def test_options_are_checked_and_misfits_say_why(tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(), tmp_path)
    with pytest.raises(StepladderError, match="no solver 'svm'"):
        Baseline(solvers=("svm",))
    assert Baseline(solvers=["linear"]).solvers == ("linear",)  # type: ignore[arg-type]
    with pytest.raises(NotApplicable, match="extraction"):
        Baseline(solvers=("linear",)).propose(EXTRACT, reports(3), None, workshop)
    with pytest.raises(NotApplicable, match="no train examples"):
        Baseline().estimate(SORT, [], workshop)
