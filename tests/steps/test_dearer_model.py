"""What was found on the first model is asked of the others, the cheapest of them first."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from step_tasks import SORT, messages, right_when

from stepladder.core import Candidate, Evaluation, Request, Trial, Usage, Workshop
from stepladder.errors import NotApplicable
from stepladder.solvers.majority import MajoritySolver
from stepladder.solvers.prompt import CONTENT_FREE, PromptSolver, calibrate
from stepladder.steps.dearer_model import DearerModel
from stepladder.steps.functions import plain_calls
from stepladder.steps.prompt_variants import plain_prompt
from stepladder.testing import FakeModel, check_step, fake_workshop

TRAIN = messages(30)
TASK = replace(SORT, models=("fake:small", "fake:pro", "fake:flash"))
PRICES = {"fake:small": 0.1, "fake:flash": 0.3, "fake:pro": 2.0}


def priced(workshop: Workshop, prices: dict[str, float] = PRICES) -> Workshop:
    def price(calls: Iterable[Usage]) -> float | None:
        each = [(prices.get(one.model), one.input_tokens or 0) for one in calls]
        known = [rate * tokens / 1e6 for rate, tokens in each if rate is not None]
        return sum(known) if len(known) == len(each) else None

    return replace(workshop, price=price)


def trial(solver: Any, name: str = "balanced-4") -> Trial:
    evaluation = Evaluation("dev", "accuracy", (), 0.5, 0.4, 0.6, 0.05, "exact", 0)
    return Trial(Candidate("few_shot", name, solver), evaluation)


def shown(model: str = "fake:small", **changes: Any) -> PromptSolver:
    demos = tuple((example.input, example.expected) for example in TRAIN[:2])
    return replace(plain_prompt(TASK, model), demos=demos, **changes)


def moved(
    base: Trial | None, tmp_path: Path, model: Any = None, prices: dict[str, float] = PRICES
) -> list[Candidate]:
    workshop = priced(fake_workshop(model or FakeModel(), tmp_path), prices)
    return list(DearerModel().propose(TASK, TRAIN, base, workshop))


def test_each_further_model_gets_the_plain_and_the_best_prompt_the_cheapest_first(
    tmp_path: Path,
) -> None:
    found = moved(trial(shown()), tmp_path)
    assert [one.name for one in found] == [
        "plain on flash",
        "balanced-4 on flash",
        "plain on pro",
        "balanced-4 on pro",
    ]
    assert found[3].solver == shown("fake:pro")
    assert found[3].changed == "the prompt 'balanced-4' of fake:small, asked of fake:pro"
    assert {one.build_dollars for one in found} == {0.0}


def test_models_of_the_same_name_are_told_apart_by_their_providers(tmp_path: Path) -> None:
    task = replace(SORT, models=("fake:small", "a:flash", "b:flash"))
    workshop = fake_workshop(FakeModel(), tmp_path)
    found = DearerModel().propose(task, TRAIN, None, workshop)
    assert [one.name for one in found] == ["plain on a:flash", "plain on b:flash"]


def test_where_a_price_is_unknown_the_order_of_the_task_stays(tmp_path: Path) -> None:
    found = moved(None, tmp_path, prices={"fake:pro": 2.0})
    assert [one.name for one in found] == ["plain on pro", "plain on flash"]


def test_the_plain_prompt_is_not_asked_twice_and_a_baseline_has_no_prompt(tmp_path: Path) -> None:
    for base in (
        trial(plain_prompt(TASK), "plain"),
        trial(MajoritySolver("refund", 0.4), "majority"),
    ):
        assert [one.name for one in moved(base, tmp_path)] == [
            "plain on flash",
            "plain on pro",
        ]


def test_a_base_that_runs_on_a_further_model_already_is_moved_to_the_others_only(
    tmp_path: Path,
) -> None:
    found = moved(trial(shown("fake:pro")), tmp_path)
    assert "balanced-4 on flash" in [one.name for one in found]
    assert "balanced-4 on pro" not in [one.name for one in found]


def flat(request: Request) -> tuple[float, ...]:
    return tuple(-1.0 for _ in request.choices)


def test_priors_are_measured_anew_on_the_model_that_is_asked(tmp_path: Path) -> None:
    model = FakeModel(score=flat)
    before = calibrate(shown(), fake_workshop(model, tmp_path))
    found = moved(trial(before), tmp_path, model)
    solver = found[1].solver
    assert isinstance(solver, PromptSolver)
    assert (solver.scoring, solver.model) == ("calibrated", "fake:flash")
    assert solver.priors_for != before.priors_for
    assert found[1].build_calls == len(CONTENT_FREE)


class Writes(FakeModel):
    """A model that cannot score labels, and says so."""

    scores_choices = False


@pytest.mark.parametrize("scoring", ["labels", "calibrated"])
def test_scores_are_asked_only_of_a_model_that_gives_them(tmp_path: Path, scoring: Any) -> None:
    model = Writes()
    found = moved(trial(shown(scoring=scoring)), tmp_path, model)
    solver = found[1].solver
    assert isinstance(solver, PromptSolver)
    assert (solver.scoring, len(solver.demos)) == ("none", 2)
    assert "cannot score labels" in found[1].changed
    assert not any(request.score_choices for request in model.seen)


def test_a_prompt_that_cannot_be_moved_is_left_out_aloud(tmp_path: Path) -> None:
    told: list[Any] = []
    workshop = fake_workshop(FakeModel(), tmp_path)  # it fails when it is asked for scores
    workshop = replace(workshop, tell=lambda event, fields: told.append((event, fields["why"])))
    base = trial(shown(scoring="calibrated"))
    found = list(DearerModel().propose(TASK, TRAIN, base, workshop))
    assert [one.name for one in found] == ["plain on pro", "plain on flash"]
    assert [event for event, _ in told] == ["left out", "left out"]
    assert "could not score the labels" in told[0][1]


def test_each_model_is_a_rung_and_the_next_starts_from_what_the_last_one_asked(
    tmp_path: Path,
) -> None:
    workshop = priced(fake_workshop(FakeModel(), tmp_path))
    flash, pro = DearerModel().rungs(TASK, workshop)
    assert (flash.model, pro.model, pro.name) == ("fake:flash", "fake:pro", "dearer_model")
    *_, best = flash.propose(TASK, TRAIN, trial(shown()), workshop)
    base = Trial(best, trial(shown()).evaluation)
    found = list(pro.propose(TASK, TRAIN, base, workshop))
    assert [one.name for one in found] == ["plain on pro", "balanced-4 on pro"]
    assert found[1].solver == shown("fake:pro")
    assert DearerModel().rungs(SORT, workshop) == []


def test_a_task_with_one_model_has_no_dearer_one(tmp_path: Path) -> None:
    workshop = fake_workshop(FakeModel(), tmp_path)
    with pytest.raises(NotApplicable, match="one model"):
        DearerModel().propose(SORT, TRAIN, None, workshop)
    with pytest.raises(NotApplicable, match="one model"):
        DearerModel().estimate(replace(SORT, models=("a:b", "a:b")), TRAIN, workshop)


def test_the_step_keeps_its_contract_and_says_what_a_request_will_cost(tmp_path: Path) -> None:
    workshop = priced(fake_workshop(FakeModel(right_when(lambda r: 0.5, "hm")), tmp_path))
    check_step(DearerModel(), TASK, TRAIN, workshop)
    estimate = DearerModel().estimate(TASK, TRAIN, workshop)
    assert (estimate.calls, estimate.dollars) == (0, 0.0)
    assert "fake:flash, asked on dev alone: about $0.00" in estimate.note
    unknown = priced(workshop, {})
    assert (
        "fake:pro, asked on dev alone: unknown dollars"
        in DearerModel().estimate(TASK, TRAIN, unknown).note
    )
    local = replace(TASK, models=("fake:small", "local:other"))
    assert "by machine time" in DearerModel().estimate(local, TRAIN, workshop).note


def test_calls_move_with_their_functions_and_demonstrations(tmp_path: Path) -> None:
    (tmp_path / "functions.json").write_text(json.dumps({"play": {"name": "music.play"}}))
    task = replace(
        TASK, kind="calls", folder=tmp_path, models=("local:small", "fake:flash"),
        steps={"functions": {"catalogue": "functions.json"}},
    )  # fmt: skip
    workshop = fake_workshop(FakeModel(), tmp_path / "artifacts")
    plain = plain_calls(task, "local:small", workshop)
    assert plain is not None
    assert plain.form == "json"
    found = replace(plain, demos=(("play", [{"name": "music.play", "arguments": {}}]),))
    one, moved = DearerModel().propose(task, TRAIN, trial(found, "shots-1"), workshop)
    assert one.solver == replace(plain, model="fake:flash", form="native")
    assert moved.name == "shots-1 on flash"
    assert moved.solver == replace(found, model="fake:flash", form="native")
    assert "in its own form" in moved.changed
    (rung,) = DearerModel().rungs(task, workshop)
    like, _ = rung.measured(task, TRAIN)
    assert like is not None
    assert '"music.play"' in like.instructions
    priced_at = rung.estimate(task, TRAIN, priced(workshop)).note
    plain_words = len(plain_prompt(task).instructions)
    assert "per 1,000 requests" in priced_at
    assert len(like.instructions) > plain_words
