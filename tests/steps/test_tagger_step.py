"""A tuned tagger: spans that overlap, records, relations and classes become the task's JSON."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from encoding import make_encoder, use_encoder
from step_tasks import EXTRACT

from stepladder.core import Example, Json
from stepladder.errors import NotApplicable
from stepladder.session import LADDER, make_steps
from stepladder.steps.encoder import Encoder
from stepladder.testing import FakeModel, check_solver, check_step, fake_workshop

DRUGS = ("aspirin", "codeine", "heparin")
HARMS = ("rash", "severe rash", "fever")
PARTS = ("pump", "valve", "seal")
WORDS = ["case", "after", "of", "the", "no", "broken", "has", "severe", *DRUGS, "rash", "fever"]
QUICK = Encoder(epochs=25, learning_rate=3e-3)


@pytest.fixture(autouse=True)
def _tiny_encoder(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> None:
    folder = make_encoder(tmp_path_factory.mktemp("encoder"), [*WORDS, *PARTS])
    use_encoder(folder, monkeypatch)


def events(n: int) -> tuple[Example, ...]:
    """One event each: drug and harm, the drug also within the therapy, and whether it is denied."""
    draw = random.Random(2)
    found = []
    for i in range(n):
        drug, harm, denied = draw.choice(DRUGS), draw.choice(HARMS), draw.random() < 0.4
        text = f"case {'no ' if denied else ''}{harm} after the {drug}"
        event: dict[str, Json] = {"drug": [drug], "therapy": [f"the {drug}"], "effect": harm}
        if denied:
            event["negated"] = True
        found.append(Example(f"e{i}", text, {"events": [event]}))
    return tuple(found)


def orders(n: int) -> tuple[Example, ...]:
    """Things and states with what they are to each other."""
    draw = random.Random(3)
    found = []
    for i in range(n):
        whole, part = draw.sample(PARTS, 2)
        broken = draw.random() < 0.5
        text = f"the {whole} has the {part}{' broken' if broken else ''}"
        things = [{"text": whole, "type": "thing"}, {"text": part, "type": "thing"}]
        links = [{"head": whole, "relation": "hasPart", "tail": part}]
        if broken:
            things.append({"text": "broken", "type": "state"})
            links.append({"head": "broken", "relation": "hasPatient", "tail": part})
        found.append(Example(f"o{i}", text, {"entities": things, "relations": links}))
    return tuple(found)


def same(answer: Json) -> object:
    """The answer without the order of its lists."""
    if isinstance(answer, dict):
        return {key: same(value) for key, value in answer.items()}
    if isinstance(answer, list):
        return sorted(repr(same(one)) for one in answer)
    return answer


@pytest.mark.parametrize("make", [pytest.param(events, marks=pytest.mark.slow), orders])
def test_answers_come_in_the_shape_of_train(make, tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(), tmp_path)
    train, new = make(80), make(100)[80:]
    check_step(QUICK, EXTRACT, train, workshop)
    (candidate,) = QUICK.propose(EXTRACT, train, None, workshop)
    inputs = [one.input for one in new]
    check_solver(candidate.solver, inputs, workshop)
    answers = dict(candidate.solver.answer(inputs, workshop))
    right = [same(answers[i].value) == same(one.expected) for i, one in enumerate(new)]
    assert sum(right) >= 0.8 * len(right), candidate.changed


@pytest.mark.slow
def test_values_far_down_a_long_text_are_found(tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(), tmp_path)
    (candidate,) = QUICK.propose(EXTRACT, events(80), None, workshop)
    late = f"{'case ' * 600}rash after the heparin"
    answer = next(candidate.solver.answer([late], workshop))[1].value
    assert "heparin" in answer["events"][0]["drug"]


def test_what_cannot_be_learnt_is_counted_and_told(tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(), tmp_path)
    train = list(events(40))
    train[0] = replace(train[0], expected={"events": [{"drug": ["morphine"], "effect": "rash"}]})
    train[1] = replace(train[1], input=f"{train[1].input} {train[1].input}")
    short = Encoder(epochs=1)
    (candidate,) = short.propose(EXTRACT, train, None, workshop)
    told = " ".join(candidate.cautions)
    assert "1 of 119 values of train are not in their text" in told
    assert "3 of 119 values of train stand in their text more than once" in told


@pytest.mark.parametrize(
    ("expected", "why"),
    [
        ({"kind": "mail"}, "copied from the text"),
        (["a", "b"], "something else than JSON objects"),
        ("text", "needs JSON answers"),
    ],
)
def test_answers_that_are_not_copied_are_no_task_for_it(expected, why, tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(), tmp_path)
    train = [replace(one, expected=expected) for one in events(30)]
    with pytest.raises(NotApplicable, match=why):
        QUICK.propose(EXTRACT, train, None, workshop)
    assert "encoder" in [step.name for step in make_steps(EXTRACT, LADDER)]
