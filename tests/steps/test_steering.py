"""What the failures of the step before change in the next one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from step_tasks import LABELS, SORT, messages

from stepladder.core import Candidate, Diagnosis, Evaluation, Request, Trial
from stepladder.diagnose import form_fails
from stepladder.solvers.prompt import PromptSolver
from stepladder.steps.demos import pick_confused
from stepladder.steps.few_shot import FewShot
from stepladder.steps.prompt_variants import plain_prompt
from stepladder.testing import FakeModel, fake_workshop


def trial_that(diagnosis: Diagnosis) -> Trial:
    """A measured plain prompt that fails in this way."""
    seen = Evaluation("dev", "accuracy", (), 0.0, 0.0, 0.1, 0.05, "none", 10)
    return Trial(Candidate("prompt", "plain", plain_prompt(SORT)), seen, diagnosis)


def chatty(request: Request) -> str:
    """Names the label, in a sentence unless it is held to the labels."""
    said = str(request.messages[-1].content)
    label = next((name for name in LABELS if name.split("_")[0] in said), LABELS[0])
    return label if request.choices else f"I think that this is about {label}, is it not?"


def proposals(diagnosis: Diagnosis, folder: Path, **options: object) -> list[Candidate]:
    step = FewShot(**{"k": (2,), "methods": ("random", "confused"), "slice": 8, **options})  # type: ignore[arg-type]
    workshop = fake_workshop(FakeModel(chatty), folder)
    return list(step.propose(SORT, messages(60), trial_that(diagnosis), workshop))


def test_failures_of_form_hold_the_next_step_to_its_form(tmp_path: Path) -> None:
    of_form = proposals(Diagnosis({"label outside the set": 9, "wrong label": 1}, (), 10), tmp_path)
    other = proposals(Diagnosis({"wrong label": 10}, (), 10), tmp_path)
    assert all(one.solver.constrained for one in of_form)  # type: ignore[attr-defined]
    assert not any(one.solver.constrained for one in other)  # type: ignore[attr-defined]


def test_confused_labels_are_the_ones_shown(tmp_path: Path) -> None:
    mixed = Diagnosis({"wrong label": 10}, (("balance", "refund", 10),), 10)
    (confused,) = [one for one in proposals(mixed, tmp_path) if one.name.startswith("confused")]
    assert isinstance(confused.solver, PromptSolver)
    assert {expected for _, expected in confused.solver.demos} == {"balance", "refund"}


def test_without_confusions_there_is_nothing_to_show(tmp_path: Path) -> None:
    names = [one.name for one in proposals(Diagnosis(), tmp_path)]
    assert names == ["random-2"]


def test_confused_labels_take_turns_and_others_fill_up() -> None:
    pool = messages(60)
    picked = pick_confused(pool, 5, 0, [("balance", "refund", 3)])
    counts = Counter(example.expected for example in picked)
    assert [example.expected for example in picked[:2]] == ["balance", "refund"]
    assert counts == {"balance": 2, "refund": 2, "card_lost": 1}
    assert pick_confused(pool, 3, 0, [("balance", "refund", 3)]) == picked[:3]


def test_a_few_failures_of_form_among_many_others_do_not_count() -> None:
    assert not form_fails(Diagnosis({"wrong label": 50, "did not parse": 1}, (), 60))
    assert not form_fails(Diagnosis())
