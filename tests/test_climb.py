"""Whole climbs with fake models whose true quality is known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from climbing import Ask, answers_right, climb_on, fake, number_split, number_task

from stepladder.budget import Budget
from stepladder.climb import climb, plan
from stepladder.core import (
    Candidate,
    Economics,
    Estimate,
    MetricSpec,
    Request,
    Skipped,
    Step,
    Target,
    Task,
    Trial,
    Workshop,
)
from stepladder.errors import MissingExtra, NotApplicable
from stepladder.measuring import MEASURING
from stepladder.solvers.majority import MajoritySolver
from stepladder.steps.dearer_model import DearerModel
from stepladder.store import RunFolder, open_run, read_rows
from stepladder.testing import FakeModel


@pytest.fixture
def run(tmp_path: Path):
    with open_run(tmp_path / "runs", "climb-test") as folder:
        yield folder


def test_it_stops_at_the_first_step_that_is_confirmed(run: RunFolder, tmp_path: Path) -> None:
    models = {name: fake(share, name) for name, share in {"a:1": 0.5, "b:1": 0.97}.items()}
    dear = Ask(("a:1",), name="fine_tune")
    steps = [Ask(("a:1",), name="baseline"), Ask(("b:1",)), dear]

    decision = climb(steps, climb_on(run, number_task(tmp_path), number_split(), models))

    assert decision.verdict == "met"
    assert decision.chosen is not None
    assert decision.chosen.candidate.name == "b:1"
    assert [one.opening for one in decision.confirmations] == [1]
    assert decision.confirmations[0].alpha_spent == 0.025
    assert decision.confirmations[0].low >= 0.8
    assert {trial.candidate.step for trial in decision.trials} == {"baseline", "prompt"}


def test_a_floor_may_be_of_a_metric_beside_the_tasks_own(run: RunFolder, tmp_path: Path) -> None:
    """Answers that cite nothing are right and not grounded: the test is not opened for them."""
    grounded = (MetricSpec("groundedness"),)
    target = Target(0.8, floors={"groundedness": 0.9})
    task = replace(number_task(tmp_path), target=target, also_measured=grounded)
    decision = climb(
        [Ask(("b:1",))], climb_on(run, task, number_split(), {"b:1": fake(0.97, "b:1")})
    )

    assert decision.verdict == "not_met"
    assert "in groundedness" in decision.reason
    assert decision.confirmations == ()
    assert decision.trials[0].evaluation.also["groundedness"][:2] == (0.0, 0.0)

    cited = replace(task, target=Target(0.8))
    told = climb([Ask(("b:1",))], climb_on(run, cited, number_split(), {"b:1": fake(0.97, "b:1")}))
    assert told.verdict == "met"


def test_after_a_pass_what_is_left_of_alpha_goes_to_the_cheaper(
    run: RunFolder, tmp_path: Path
) -> None:
    """On dev the cheap one is too close to the target for an opening, on the test it is good."""
    lucky = answers_right(0.81), answers_right(0.95)
    cheap = FakeModel(lambda request: lucky[" 5" in _asked(request)](request), name="a:1")
    models = {"a:1": cheap, "b:1": fake(0.97, "b:1")}
    economics = Economics(requests_per_month=1000.0, dollars_per_engineer_hour=90.0)
    task = replace(number_task(tmp_path), economics=economics)
    steps = [Ask(("a:1",), name="baseline"), Ask(("b:1",), name="fine_tune")]  # 2 hours, 24 hours

    decision = climb(steps, climb_on(run, task, number_split(dev=400), models))

    assert [(one.step, one.passed) for one in decision.confirmations] == [
        ("fine_tune", True),
        ("baseline", True),
    ]
    assert sum(one.alpha_spent for one in decision.confirmations) <= task.target.alpha
    assert decision.verdict == "met"
    assert decision.chosen is not None
    assert decision.chosen.candidate.step == "baseline"
    assert "baseline/a:1" in decision.reason


def test_nothing_is_met_when_every_model_is_bad(run: RunFolder, tmp_path: Path) -> None:
    models = {"a:1": fake(0.5, "a:1")}
    decision = climb([Ask(("a:1",))], climb_on(run, number_task(tmp_path), number_split(), models))
    assert decision.verdict == "not_met"
    assert decision.chosen is None
    assert decision.confirmations == ()
    assert not (tmp_path / "runs" / "openings.jsonl").exists()


def test_close_to_the_target_is_undecided_and_says_how_many_examples_would_settle_it(
    run: RunFolder, tmp_path: Path
) -> None:
    models = {"a:1": fake(0.82, "a:1")}
    decision = climb([Ask(("a:1",))], climb_on(run, number_task(tmp_path), number_split(), models))
    assert decision.verdict == "undecided"
    assert decision.examples_needed is not None
    assert decision.examples_needed > 300


def test_gains_are_against_the_step_before(run: RunFolder, tmp_path: Path) -> None:
    models = {name: fake(share, name) for name, share in {"a:1": 0.5, "b:1": 0.97}.items()}
    steps = [Ask(("a:1",), name="baseline"), Ask(("b:1",))]
    decision = climb(steps, climb_on(run, number_task(tmp_path), number_split(), models))
    first, second = decision.trials
    assert first.gain is None
    assert second.gain is not None
    assert second.gain.against == "baseline: a:1"
    assert second.gain.low > 0.3


@dataclass(frozen=True)
class Counts:
    """A step without a model, that is right more often than any prompt."""

    name: str = "baseline"

    def estimate(self, task: Task, train: object, workshop: Workshop) -> Estimate:
        return Estimate(0.0, 0.0, 0)

    def propose(
        self, task: Task, train: object, base: Trial | None, workshop: Workshop
    ) -> Iterable[Candidate]:
        yield Candidate(self.name, "even", MajoritySolver("even", 0.5), build_dollars=0.0)


def test_a_step_starts_from_the_best_prompt_so_far_and_not_from_a_baseline(
    run: RunFolder, tmp_path: Path
) -> None:
    shares = {"a:1": 0.4, "b:1": 0.3, "c:1": 0.2}
    models = {name: fake(share, name) for name, share in shares.items()}
    steps: list[Step] = [
        Counts(),
        Ask(("a:1",)),
        Ask(("b:1",), "few_shot"),
        Ask(("c:1",), "dearer_model"),
    ]
    decision = climb(steps, climb_on(run, number_task(tmp_path), number_split(), models))
    against = [trial.gain.against if trial.gain else None for trial in decision.trials]
    assert against == [None, "baseline: even", "prompt: a:1", "prompt: a:1"]


def test_models_are_compared_in_pairs_by_what_they_cost(run: RunFolder, tmp_path: Path) -> None:
    models = {name: fake(share, name) for name, share in {"a:1": 0.4, "b:1": 0.7}.items()}
    steps = [Ask(("a:1",)), Ask(("b:1",), name="dearer_model")]
    decision = climb(steps, climb_on(run, number_task(tmp_path), number_split(), models))
    (upgrade,) = decision.upgrades
    assert (upgrade.model, upgrade.against_model, upgrade.gain.n) == ("b:1", "a:1", 200)
    assert upgrade.gain.low > 0
    assert upgrade.dollars_per_1000 == 0.0


def test_a_dear_model_is_not_asked_once_a_cheaper_one_is_confirmed(
    run: RunFolder, tmp_path: Path
) -> None:
    shares = {"a:1": 0.5, "b:1": 0.97, "c:1": 0.99}
    models = {name: fake(share, name) for name, share in shares.items()}
    task = replace(number_task(tmp_path), models=tuple(models))
    steps: list[Step] = [Ask(("a:1",)), DearerModel()]
    on = climb_on(run, task, number_split(), models)
    names = [name for name, _ in plan(steps, on)]
    assert names == ["prompt", "dearer_model", "dearer_model", MEASURING]
    decision = climb(steps, on)
    assert decision.chosen is not None
    assert decision.chosen.candidate.name == "plain on b:1"
    assert models["c:1"].seen == []


def test_steps_left_by_a_budget_are_named_once(run: RunFolder, tmp_path: Path) -> None:
    models = {name: fake(0.5, name) for name in ("a:1", "b:1", "c:1")}
    task = replace(number_task(tmp_path), models=tuple(models))
    on = climb_on(run, task, number_split(), models, budget=Budget(dollars=0.05))
    decision = climb([Ask(("a:1",)), DearerModel()], on)
    assert decision.verdict == "blocked"
    assert [one.step for one in decision.skipped] == ["prompt", "dearer_model"]


def test_racing_stops_the_hopeless_and_says_why(run: RunFolder, tmp_path: Path) -> None:
    models = {name: fake(share, name) for name, share in {"a:1": 0.1, "b:1": 0.95}.items()}
    decision = climb(
        [Ask(("a:1", "b:1"))], climb_on(run, number_task(tmp_path), number_split(), models)
    )
    loser = decision.trials[0]
    assert loser.candidate.name == "a:1"
    assert loser.evaluation.n < loser.evaluation.planned == 200
    assert "b:1" in (loser.stopped_early or "")
    assert len(models["a:1"].seen) == loser.evaluation.n


def test_the_whole_ladder_is_measured_when_asked(run: RunFolder, tmp_path: Path) -> None:
    models = {name: fake(0.97, name) for name in ("a:1", "b:1")}
    steps = [Ask(("a:1",)), Ask(("b:1",), name="few_shot")]
    on = climb_on(run, number_task(tmp_path), number_split(), models, whole_ladder=True)
    decision = climb(steps, on)
    assert [trial.candidate.step for trial in decision.trials] == ["prompt", "few_shot"]
    assert decision.verdict == "met"


def test_the_same_climb_again_asks_no_model_and_spends_no_alpha(tmp_path: Path) -> None:
    task, split = number_task(tmp_path), number_split()
    verdicts = []
    for expected_calls in (500, 0):
        model = fake(0.95, "b:1")
        with open_run(tmp_path / "runs", "climb-test") as run:
            decision = climb([Ask(("b:1",))], climb_on(run, task, split, {"b:1": model}))
        assert len(model.seen) == expected_calls
        verdicts.append((decision.verdict, decision.confirmations, decision.reason))
    assert verdicts[0] == verdicts[1]


def test_another_solver_on_the_same_test_has_a_smaller_level(tmp_path: Path) -> None:
    task, split = number_task(tmp_path), number_split()
    levels = []
    for name, share in (("a:1", 0.95), ("b:1", 0.97)):
        with open_run(tmp_path / "runs", f"climb-{name[0]}") as run:
            on = climb_on(run, task, split, {name: fake(share, name)})
            decision = climb([Ask((name,))], on)
        levels.append(decision.confirmations[0].alpha_spent)
    assert levels == [0.025, 0.0125]


def test_a_step_that_does_not_apply_is_skipped_with_its_reason(
    run: RunFolder, tmp_path: Path
) -> None:
    class Never(Ask):
        def estimate(self, task: object, train: object, workshop: object) -> Estimate:
            raise NotApplicable("there is nothing to tune", hint="label more\n  or less")

    class Missing(Ask):
        def propose(self, *given: object) -> list[Candidate]:
            raise MissingExtra("needs 'torch'", hint="pip install 'stepladder[train]'")

    models = {"b:1": fake(0.97, "b:1")}
    steps = [Never(("b:1",), name="baseline"), Missing(("b:1",), name="few_shot"), Ask(("b:1",))]
    decision = climb(steps, climb_on(run, number_task(tmp_path), number_split(), models))
    assert decision.verdict == "met"
    assert [one.step for one in decision.skipped] == ["baseline", "few_shot"]
    assert decision.skipped[0].reason == "there is nothing to tune; label more; or less"
    assert decision.skipped[1].reason == "needs 'torch'; pip install 'stepladder[train]'"


def test_a_step_dearer_than_the_budget_blocks_the_climb(run: RunFolder, tmp_path: Path) -> None:
    models = {"a:1": fake(0.5, "a:1"), "b:1": fake(0.97, "b:1")}
    steps = [Ask(("a:1",)), Ask(("b:1",), name="fine_tune", seconds=3600)]
    on = climb_on(run, number_task(tmp_path), number_split(), models, budget=Budget(minutes=5))
    decision = climb(steps, on)
    assert decision.verdict == "blocked"
    assert "60.0 minutes" in decision.reason
    assert models["b:1"].seen == []


def test_a_step_that_is_too_dear_is_passed_over_and_the_rest_still_tried(
    run: RunFolder, tmp_path: Path
) -> None:
    models = {"a:1": fake(0.5, "a:1"), "b:1": fake(0.97, "b:1")}
    steps = [Ask(("a:1",), seconds=3600), Ask(("b:1",), name="fine_tune")]
    on = climb_on(run, number_task(tmp_path), number_split(), models, budget=Budget(minutes=5))
    decision = climb(steps, on)
    assert decision.verdict == "met"
    assert [(one.step, "60.0 minutes" in one.reason) for one in decision.skipped] == [
        ("prompt", True)
    ]
    assert models["a:1"].seen == []


def test_a_long_shot_is_confirmed_where_the_budget_ends_the_ladder(
    run: RunFolder, tmp_path: Path
) -> None:
    """Alpha that is not spent is worth nothing, whatever ended the ladder."""
    lucky = answers_right(0.81), answers_right(0.95)
    close = FakeModel(lambda request: lucky[" 5" in _asked(request)](request), name="a:1")
    steps = [Ask(("a:1",)), Ask(("b:1",), name="fine_tune", seconds=3600)]
    models = {"a:1": close, "b:1": fake(0.97, "b:1")}
    on = climb_on(
        run, number_task(tmp_path), number_split(dev=400), models, budget=Budget(minutes=5)
    )
    decision = climb(steps, on)
    assert decision.verdict == "met"
    assert decision.chosen is not None
    assert decision.chosen.candidate.step == "prompt"


def test_a_dollar_budget_ends_the_climb_while_it_measures(run: RunFolder, tmp_path: Path) -> None:
    models = {"b:1": fake(0.97, "b:1")}
    on = climb_on(run, number_task(tmp_path), number_split(), models, budget=Budget(dollars=0.05))
    decision = climb([Ask(("b:1",))], on)  # 0.001 dollars a call, 200 calls
    assert decision.verdict == "blocked"
    assert "$0.05" in decision.reason


def test_a_budget_that_ends_inside_an_opening_says_what_is_spoken_for_and_how_to_finish(
    run: RunFolder, tmp_path: Path
) -> None:
    models = {"b:1": fake(0.97, "b:1")}
    on = climb_on(run, number_task(tmp_path), number_split(), models, budget=Budget(dollars=0.25))
    decision = climb([Ask(("b:1",))], on)  # 0.001 dollars a call, 200 calls on dev
    assert decision.verdict == "blocked"
    assert not decision.confirmations
    (said,) = [each for each in decision.cautions if "opening" in each]
    assert said.startswith("opening 1 of the sealed test, for 'prompt/")
    assert "its 0.025 of alpha is spoken for" in said
    assert said in decision.reason
    decision = climb([Ask(("b:1",))], replace(on, budget=Budget(dollars=5.0)))
    assert [one.opening for one in decision.confirmations] == [1]
    assert not any("opening" in each for each in decision.cautions)


def test_the_plan_asks_no_model(run: RunFolder, tmp_path: Path) -> None:
    models = {"b:1": fake(0.97, "b:1")}
    found = plan([Ask(("b:1",))], climb_on(run, number_task(tmp_path), number_split(), models))
    assert found[0][0] == "prompt"
    assert not isinstance(found[0][1], Skipped)
    assert models["b:1"].seen == []


def test_every_row_is_on_disk_with_the_answer(run: RunFolder, tmp_path: Path) -> None:
    models = {"b:1": fake(0.97, "b:1")}
    climb([Ask(("b:1",))], climb_on(run, number_task(tmp_path), number_split(), models))
    (dev,) = (run.folder / "rows").glob("*.dev.jsonl")
    rows = list(read_rows(dev))
    assert len(rows) == 200
    assert {"id", "input", "expected", "text", "counts", "failure"} <= rows[0].keys()


def _asked(request: Request) -> str:
    return str(request.messages[-1].content)


@dataclass(frozen=True)
class Priced:
    """Two prompts of a search on one model, and two models of their own."""

    name: str = "fine_tune"

    def estimate(self, task: Task, train: object, workshop: Workshop) -> Estimate:
        return Estimate(1.0, 7.0, 1)

    def propose(
        self, task: Task, train: object, base: Trial | None, workshop: Workshop
    ) -> Iterable[Candidate]:
        asked = Ask(("a:1", "b:1", "c:1")).propose(task, train, base, workshop)
        searched, *tuned = (one.solver for one in asked)
        yield Candidate(self.name, "searched", searched, build_dollars=2.0)
        again = replace(searched, instructions="Even or odd?")  # type: ignore[type-var]
        yield Candidate(self.name, "searched too", again, build_dollars=2.0)
        for number, solver in enumerate(tuned, start=1):
            yield Candidate(self.name, f"tuned {number}", solver, build_dollars=2.0 + number / 2)


def test_a_search_is_paid_for_once_and_each_tuned_model_apart(
    run: RunFolder, tmp_path: Path
) -> None:
    models = {name: fake(0.5, name) for name in ("a:1", "b:1", "c:1")}
    budget = Budget()
    climb([Priced()], climb_on(run, number_task(tmp_path), number_split(), models, budget=budget))
    built = 2.0 + 2.5 + 3.0
    assert budget.spent_dollars == pytest.approx(built, abs=1.0)  # and what asking took
    assert budget.spent_dollars >= built
