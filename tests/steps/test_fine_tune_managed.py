"""The fine-tune step on hosted models: which are tuned, at what cost, and what is proposed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from step_tasks import SORT, messages, reports

from stepladder.budget import Budget
from stepladder.catalogue import Catalogue, TuningLimits
from stepladder.core import (
    Candidate,
    Example,
    Hardware,
    LearningPoint,
    Tell,
    Usage,
    Workshop,
)
from stepladder.cost import Prices, TokenPrice, TrainingPrice, price_all
from stepladder.errors import BudgetExceeded, ModelError, NotApplicable
from stepladder.models import ProviderSettings
from stepladder.solvers.prompt import PromptSolver, render, render_target
from stepladder.steps.fine_tune import FineTune
from stepladder.steps.speed import estimate_calls
from stepladder.testing import FakeModel, check_step
from stepladder.trainers import TrainedModel
from stepladder.trainers.service import TuningJob

TODAY = date(2026, 11, 22)
LIMITS = TuningLimits(
    "vertex:small", ("supervised", "preference"), TODAY, "a page", adapter_sizes=(4, 8)
)
CATALOGUE = Catalogue(
    TODAY, tuning=(LIMITS, replace(LIMITS, model="vertex:large", methods=("supervised",)))
)
PRICES = Prices(TODAY, training=(TrainingPrice("vertex:small", 3.0, TODAY, "a page"),))
TASK = replace(SORT, models=("vertex:small",))


@dataclass(frozen=True)
class Service:
    form: str = "gemini"
    region: str = "us-central1"


@dataclass
class Scripted:
    """A trainer that writes down its jobs; those on `fails` come to nothing."""

    jobs: list[TuningJob] = field(default_factory=list)
    fails: tuple[str, ...] = ()
    billed: int | None = 50_000
    dollars: float | None = None  # what the service says that a job cost
    deployed: bool = True
    opened: list[dict[str, Any]] = field(default_factory=list)
    closed: int = 0

    def open(self, settings: ProviderSettings) -> _Opened:
        return _Opened(self, settings.name)


@dataclass(frozen=True)
class _Opened:
    script: Scripted
    provider: str
    cancel_on_interrupt: bool = False
    retry_failed: bool = False
    service: Service = Service()

    def train(self, job: TuningJob, artifacts: Path, tell: Tell) -> TrainedModel:
        self.script.jobs.append(job)
        self.script.opened.append({"cancel": self.cancel_on_interrupt, "retry": self.retry_failed})
        tell("training", {"step": 1, "steps": 2, "train_loss": 0.5})
        if job.base in self.script.fails:
            raise ModelError(f"the tuning job of {job.base!r} failed: bad rows", hint="mend them")
        learning = (LearningPoint(1, 1.0, 2.0, 2.0), LearningPoint(2, 2.0, 0.5, 0.75))
        return TrainedModel(
            f"{job.base}@endpoints/5", artifacts, learning, 600.0, self.script.billed or 0,
            ("said",), {"billed_tokens": self.script.billed, "billed_dollars": self.script.dollars},
        )  # fmt: skip

    def served(self, trained: TrainedModel, tell: Tell) -> TrainedModel:
        if not self.script.deployed:
            raise NotApplicable(f"{trained.name!r} waits for a deployment", hint="make one")
        return trained

    def close(self) -> None:
        self.script.closed += 1


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    script = Scripted()
    monkeypatch.setattr(
        "stepladder.steps.fine_tune_managed.look_up", lambda seam, name: script.open
    )
    return script


def workshop(tmp_path: Path, tell: Tell = lambda *_: None, **more: Any) -> Workshop:
    settings = ProviderSettings("vertex", catalogue=CATALOGUE, prices=PRICES, **more)
    return Workshop(
        lambda name: FakeModel(name=name),
        tmp_path / "artifacts",
        tell,
        settings=lambda name: replace(settings, name=name),
    )


def propose(step: FineTune, tmp_path: Path, n: int = 100, **more: Any) -> list[Candidate]:
    task = replace(TASK, folder=tmp_path, **more)
    return list(step.propose(task, messages(n), None, workshop(tmp_path)))


def test_the_tuned_model_is_asked_shortly_and_without_thinking(
    trainer: Scripted, tmp_path: Path
) -> None:
    (candidate,) = propose(FineTune(epochs=3), tmp_path)
    solver = candidate.solver
    assert isinstance(solver, PromptSolver)
    assert solver.model == "vertex:small@endpoints/5"
    assert (solver.thinking_tokens, solver.demos, solver.constrained) == (0, (), False)
    assert "balance" not in str(render(solver, "hello"))
    assert candidate.build_dollars == pytest.approx(0.05 * 3.0)
    assert (candidate.build_tokens, candidate.build_seconds) == (50_000, 600.0)
    assert candidate.cautions == ("said",)
    assert "2.00 to 0.75" in candidate.changed
    assert "epochs 3" in candidate.changed


def test_a_model_that_waits_for_a_machine_is_left_out_until_there_is_one(
    trainer: Scripted, tmp_path: Path
) -> None:
    trainer.deployed = False
    with pytest.raises(NotApplicable, match="'vertex:small@endpoints/5' waits") as caught:
        propose(FineTune(epochs=3), tmp_path)
    assert caught.value.hint == "make one"
    trainer.deployed = True
    assert propose(FineTune(epochs=3), tmp_path)


def test_what_the_service_says_it_cost_goes_before_the_price_of_tokens(
    trainer: Scripted, tmp_path: Path
) -> None:
    trainer.dollars = 0.75
    (candidate,) = propose(FineTune(epochs=3), tmp_path)
    assert candidate.build_dollars == 0.75


@pytest.mark.parametrize(("own_rate", "rate"), [(True, None), (False, 0.001)])
def test_a_learning_rate_goes_to_services_that_take_one(
    own_rate: bool, rate: float | None, trainer: Scripted, tmp_path: Path
) -> None:
    limits = replace(LIMITS, own_rate=own_rate)
    settings = ProviderSettings("vertex", catalogue=Catalogue(TODAY, tuning=(limits,)))
    shop = replace(workshop(tmp_path), settings=lambda name: settings)
    list(FineTune(learning_rate=0.001).propose(TASK, messages(60), None, shop))
    assert trainer.jobs[0].choices.learning_rate == rate


def test_it_is_tuned_on_what_it_will_be_asked(trainer: Scripted, tmp_path: Path) -> None:
    train = [replace(e, source=f"train.csv:{n}") for n, e in enumerate(messages(60), 2)]
    (candidate,) = FineTune().propose(TASK, train, None, workshop(tmp_path))
    solver = candidate.solver
    assert isinstance(solver, PromptSolver)
    (job,) = trainer.jobs
    by_place = {example.source: example for example in train}
    assert len(job.held_out) == 8
    for row in (*job.train, *job.held_out):
        example = by_place.pop(row.place)
        assert row.messages == render(solver, example.input)
        assert row.answer == render_target(solver, example.expected)
    assert not by_place


def test_it_keeps_the_contract_of_steps(trainer: Scripted, tmp_path: Path) -> None:
    check_step(FineTune(), TASK, messages(60), workshop(tmp_path))


def test_what_is_not_chosen_is_left_to_the_service(trainer: Scripted, tmp_path: Path) -> None:
    (candidate,) = propose(FineTune(), tmp_path)
    left = vars_of(trainer.jobs[0])
    assert left == {"seed": TASK.seed}
    assert "left to the service" in candidate.changed
    propose(FineTune(epochs=2, learning_rate_multiplier=0.5, adapter_size=8), tmp_path)
    assert vars_of(trainer.jobs[1]) == {
        "seed": TASK.seed, "epochs": 2, "learning_rate_multiplier": 0.5, "adapter_size": 8,
    }  # fmt: skip


def vars_of(job: TuningJob) -> dict[str, Any]:
    names = ("epochs", "learning_rate_multiplier", "adapter_size", "batch_size", "seed")
    found = {name: getattr(job.choices, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def test_the_users_wishes_reach_the_trainer(trainer: Scripted, tmp_path: Path) -> None:
    propose(FineTune(), tmp_path)
    propose(FineTune(cancel_on_interrupt=True, retry_failed=True), tmp_path)
    assert trainer.opened == [{"cancel": False, "retry": False}, {"cancel": True, "retry": True}]
    assert trainer.closed == 2


# --- which models -------------------------------------------------------------------------------


def test_each_model_that_can_be_tuned_is_a_candidate_in_the_tasks_order(
    trainer: Scripted, tmp_path: Path
) -> None:
    models = ("vertex:small", "vertex:none", "gemini:small", "vertex:large")
    told: list[tuple[str, Mapping[str, Any]]] = []
    shop = workshop(tmp_path, lambda event, fields: told.append((event, fields)))
    found = list(FineTune().propose(replace(TASK, models=models), messages(60), None, shop))
    assert [one.name for one in found] == ["tuned vertex:small", "tuned vertex:large"]
    left = {fields["name"]: fields["why"] for event, fields in told if event == "left out"}
    assert left.keys() == {"vertex:none", "gemini:small"}
    names = [fields["name"] for event, fields in told if event == "training"]
    assert names == ["tuned vertex:small", "tuned vertex:large"]


def test_a_climb_tunes_one_model_after_another(trainer: Scripted, tmp_path: Path) -> None:
    models = ("vertex:small", "gemini:small", "local:x", "vertex:large", "local:y")
    rungs = FineTune(epochs=2).rungs(replace(TASK, models=models), workshop(tmp_path))
    assert rungs == [
        FineTune(epochs=2, model=model) for model in ("vertex:small", "local:x", "vertex:large")
    ]
    (candidate,) = rungs[0].propose(TASK, messages(60), None, workshop(tmp_path))
    assert candidate.name == "tuned vertex:small"
    assert FineTune().rungs(replace(TASK, models=("gemini:small",)), workshop(tmp_path)) == []
    (named,) = FineTune(model="vertex:large").rungs(TASK, workshop(tmp_path))
    assert named.model == "vertex:large"


def test_a_named_model_is_the_only_one(trainer: Scripted, tmp_path: Path) -> None:
    models = ("vertex:small", "vertex:large")
    propose(FineTune(model="vertex:large"), tmp_path, models=models)
    assert [job.base for job in trainer.jobs] == ["vertex:large"]


def test_a_job_that_fails_does_not_take_the_others_along(trainer: Scripted, tmp_path: Path) -> None:
    trainer.fails = ("vertex:small",)
    models = ("vertex:small", "vertex:large")
    (candidate,) = propose(FineTune(), tmp_path, models=models)
    assert candidate.name == "tuned vertex:large"
    assert "vertex:small was not tuned" in candidate.cautions[-1]
    assert "bad rows" in candidate.cautions[-1]


def test_a_step_whose_only_job_failed_says_so(trainer: Scripted, tmp_path: Path) -> None:
    trainer.fails = ("vertex:small",)
    with pytest.raises(NotApplicable, match="failed: bad rows") as caught:
        propose(FineTune(), tmp_path)
    assert "mend them" in caught.value.hint


# --- what it costs ------------------------------------------------------------------------------


def test_the_cost_is_known_before_anything_starts(trainer: Scripted, tmp_path: Path) -> None:
    shop = workshop(tmp_path)
    one = FineTune(epochs=1).estimate(TASK, messages(100), shop)
    three = FineTune(epochs=3).estimate(TASK, messages(100), shop)
    assert one.dollars is not None
    assert one.dollars > 0
    assert three.dollars == pytest.approx(3 * one.dollars)
    assert f"${three.dollars:.2f}" in three.note
    assert not trainer.jobs
    rows = FineTune(epochs=1, held_out=0).estimate(TASK, messages(100), shop)
    counted = sum(
        FakeModel().count_tokens(render(short(), e.input)) + len(str(e.expected).split())
        for e in messages(100)
    )
    assert rows.dollars == pytest.approx(counted * 3e-6, rel=0.2)


def short() -> PromptSolver:
    from stepladder.steps.fine_tune_plan import short_prompt

    return short_prompt(TASK, "vertex:small", None)


def test_a_budget_is_held(trainer: Scripted, tmp_path: Path) -> None:
    estimate = FineTune(epochs=3).estimate(TASK, messages(100), workshop(tmp_path))
    assert estimate.dollars is not None
    Budget(dollars=estimate.dollars).afford("fine_tune", estimate)
    with pytest.raises(BudgetExceeded, match="are left"):
        Budget(dollars=estimate.dollars / 2).afford("fine_tune", estimate)


def test_epochs_that_the_service_chooses_make_the_cost_unknown(
    trainer: Scripted, tmp_path: Path
) -> None:
    estimate = FineTune().estimate(TASK, messages(100), workshop(tmp_path))
    assert (estimate.dollars, estimate.seconds) == (None, None)
    assert "set epochs to know the cost" in estimate.note
    with pytest.raises(BudgetExceeded, match="no known price") as told:
        Budget(dollars=100.0).afford("fine_tune", estimate)
    assert "set epochs" in told.value.hint


def test_a_price_that_is_not_known_stays_so(trainer: Scripted, tmp_path: Path) -> None:
    task = replace(TASK, models=("vertex:large",))
    estimate = FineTune(epochs=2).estimate(task, messages(100), workshop(tmp_path))
    assert estimate.dollars is None
    assert "no price is known" in estimate.note
    (candidate,) = propose(FineTune(epochs=2), tmp_path, models=("vertex:large",))
    assert candidate.build_dollars is None


def test_measuring_a_model_that_is_yet_to_be_tuned_is_priced_as_a_tuned_one(tmp_path: Path) -> None:
    (solver,) = FineTune(model="vertex:small").measured(TASK, messages(100))
    assert solver is not None
    seen: list[Usage] = []

    def price(calls: Iterable[Usage]) -> float | None:
        seen.extend(calls)
        known = TokenPrice("vertex:small", 1.0, 4.0, TODAY, "a page")
        training = replace(PRICES.training[0], tuned_multiplier=1.5)
        prices = Prices(TODAY, tokens=(known,), training=(training,))
        return price_all(seen, prices, Hardware()).dollars

    shop = replace(workshop(tmp_path), price=price)
    found = estimate_calls(TASK, solver, messages(20), 1000, shop)
    (usage,) = seen
    assert usage.input_tokens is not None
    assert usage.output_tokens is not None
    assert usage.thinking_tokens == 0
    own = 1.5 * (usage.input_tokens + 4 * usage.output_tokens) / 1e6
    assert found.dollars == pytest.approx(1000 * own)


@pytest.mark.parametrize(
    ("step", "steps"), [(FineTune(), {}), (FineTune(model="vertex:small"), {"functions": {}})]
)
def test_what_will_be_tuned_or_asked_otherwise_is_unknown(
    step: FineTune, steps: dict[str, Any]
) -> None:
    assert step.measured(replace(TASK, steps=steps), messages(100)) == [None]


def test_several_models_cost_together_or_not_known(trainer: Scripted, tmp_path: Path) -> None:
    shop = workshop(tmp_path)
    both = replace(TASK, models=("vertex:small", "vertex:large"))
    estimate = FineTune(epochs=2).estimate(both, messages(100), shop)
    assert (estimate.dollars, estimate.calls) == (None, 2)
    alone = FineTune(epochs=2).estimate(TASK, messages(100), shop)
    twice = replace(LIMITS, model="vertex:small-2")
    prices = replace(
        PRICES, training=(*PRICES.training, replace(PRICES.training[0], model="vertex:small-2"))
    )
    settings = ProviderSettings(
        "vertex", catalogue=replace(CATALOGUE, tuning=(LIMITS, twice)), prices=prices
    )
    shop = replace(shop, settings=lambda name: settings)
    both = replace(TASK, models=("vertex:small", "vertex:small-2"))
    estimate = FineTune(epochs=2).estimate(both, messages(100), shop)
    assert alone.dollars is not None
    assert estimate.dollars == pytest.approx(2 * alone.dollars)


def test_what_the_service_does_not_bill_by_is_unknown(trainer: Scripted, tmp_path: Path) -> None:
    trainer.billed = None
    (candidate,) = propose(FineTune(), tmp_path)
    assert (candidate.build_dollars, candidate.build_tokens) == (None, 0)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "said", "cure"),
    [
        (FineTune(epochs=1.5), "whole epochs, not 1.5", "whole number"),
        (FineTune(adapter_size=3), "adapter_size = 3", "possible: 4, 8"),
        (FineTune(batch_size=3), "batch size", "leave batch_size out"),
        (FineTune(model="vertex:large", method="preference"), "method 'preference'", "supervised"),
        (FineTune(model="openai:x"), "'openai:x' cannot be tuned", "stepladder models"),
    ],
)
def test_what_the_service_would_refuse_is_said_before_anything_is_sent(
    trainer: Scripted, step: FineTune, said: str, cure: str, tmp_path: Path
) -> None:
    write_preferences(tmp_path)
    task = replace(TASK, folder=tmp_path)
    for attempt in (
        lambda: step.estimate(task, messages(60), workshop(tmp_path)),
        lambda: list(step.propose(task, messages(60), None, workshop(tmp_path))),
    ):
        with pytest.raises(NotApplicable, match=said) as caught:
            attempt()
        assert cure in caught.value.hint
    assert not trainer.jobs


def test_a_trainer_that_cannot_be_opened_is_a_reason_not_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(settings: ProviderSettings) -> None:
        raise ModelError("a bucket is needed", hint="set bucket")

    monkeypatch.setattr("stepladder.steps.fine_tune_managed.look_up", lambda seam, name: refuse)
    estimate = FineTune(epochs=1).estimate(TASK, messages(60), workshop(tmp_path))
    assert estimate.dollars is not None
    assert "cannot be started: a bucket is needed" in estimate.note
    with pytest.raises(NotApplicable, match="a bucket is needed") as caught:
        list(FineTune().propose(TASK, messages(60), None, workshop(tmp_path)))
    assert caught.value.hint == "set bucket"


def test_a_model_that_cannot_be_had_is_left_out(trainer: Scripted, tmp_path: Path) -> None:
    def model(name: str) -> FakeModel:
        if name == "vertex:large":
            raise ModelError("no credentials", hint="sign in")
        return FakeModel(name=name)

    shop = replace(workshop(tmp_path), model=model)
    both = replace(TASK, models=("vertex:small", "vertex:large"))
    (candidate,) = FineTune().propose(both, messages(60), None, shop)
    assert candidate.name == "tuned vertex:small"
    assert FineTune(epochs=1).estimate(both, messages(60), shop).dollars is not None
    only = replace(TASK, models=("vertex:large",))
    with pytest.raises(NotApplicable, match="no credentials"):
        FineTune().estimate(only, messages(60), shop)


def test_rows_that_are_too_long_are_listed_with_their_places(
    trainer: Scripted, tmp_path: Path
) -> None:
    limits = replace(LIMITS, tokens_per_example=100)
    settings = ProviderSettings("vertex", catalogue=Catalogue(TODAY, tuning=(limits,)))
    shop = replace(workshop(tmp_path), settings=lambda name: settings)
    train = [
        Example(str(n), "word " * (1 if n % 5 else 900), "refund", source=f"train.csv:{n}")
        for n in range(60)
    ]
    with pytest.raises(NotApplicable, match=r"train\.csv:\d+: an example of about") as caught:
        FineTune().estimate(TASK, train, shop)
    assert caught.value.message.count("train.csv:") == 8
    assert "and 4 more" in caught.value.message
    assert caught.value.hint.count("shorten the example") == 1


def write_preferences(folder: Path, n: int = 40) -> None:
    pairs = [{"input": f"q{i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(n)]
    (folder / "preferences.jsonl").write_text("\n".join(map(json.dumps, pairs)))


def test_preferences_come_from_the_task_folder(trainer: Scripted, tmp_path: Path) -> None:
    write_preferences(tmp_path)
    (candidate,) = propose(FineTune(method="preference", epochs=1), tmp_path)
    (job,) = trainer.jobs
    assert job.method == "preference"
    assert (len(job.train), len(job.held_out)) == (32, 8)
    assert (job.train[0].answer, job.train[0].rejected) == ("good 0", "bad 0")
    solver = candidate.solver
    assert isinstance(solver, PromptSolver)
    assert job.train[0].messages == render(solver, "q0")
    assert "32 pairs of answers" in candidate.changed
    assert candidate.build_dollars is None  # no price of preference tuning is known here


def test_records_are_answers_too(trainer: Scripted, tmp_path: Path) -> None:
    from step_tasks import EXTRACT

    task = replace(EXTRACT, models=("vertex:small",))
    list(FineTune().propose(task, reports(60), None, workshop(tmp_path)))
    assert json.loads(trainer.jobs[0].train[0].answer)["drug"]
