"""The fine-tune step with a scripted trainer: what it proposes, and when it has nothing to offer.

With real training: `tests/trainers/test_step.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from step_tasks import EXTRACT, SORT, messages, reports

from stepladder import registry
from stepladder.core import Candidate, Hardware, LearningPoint, Task, Tell, Workshop
from stepladder.errors import (
    MissingExtra,
    ModelError,
    NotApplicable,
    StepladderError,
    TaskError,
)
from stepladder.solvers.prompt import PromptSolver, render, render_target
from stepladder.steps import speed
from stepladder.steps.fine_tune import FineTune
from stepladder.testing import FakeModel, check_step
from stepladder.trainers import Pair, TrainedModel, TrainingJob


@dataclass
class ScriptedTrainer:
    """A trainer that writes down its jobs, and diverges at learning rates above `highest`."""

    jobs: list[TrainingJob] = field(default_factory=list)
    highest: float = 1.0
    missing: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    def train(self, job: TrainingJob, artifacts: Path, tell: Tell) -> TrainedModel:
        if self.missing:
            raise MissingExtra("fine-tuning needs 'peft'", hint="pip install 'stepladder[train]'")
        self.jobs.append(job)
        if job.options.learning_rate > self.highest:
            raise ModelError("training diverged: loss nan", hint="lower learning_rate")
        learning = (LearningPoint(0, 0.0, 3.0, 3.0), LearningPoint(9, 2.0, 0.5, 0.6, 4.0))
        folder = artifacts / "abc"
        return TrainedModel(
            "local:tuned/abc", folder, learning, 7.0, 1234, ("said",), facts=self.facts
        )


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> ScriptedTrainer:
    scripted = ScriptedTrainer()
    made: Callable[[str, str], Any] = lambda seam, name: lambda: scripted  # noqa: E731
    monkeypatch.setattr("stepladder.steps.fine_tune_local.look_up", made)
    return scripted


@pytest.fixture
def base(tmp_path: Path) -> str:
    """The name of a model folder that holds just enough to be hashed."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    save_file({"some.weight": np.zeros((10, 20), np.float16)}, folder / "model.safetensors")
    return f"local:{folder}"


def workshop(tmp_path: Path, tell: Tell = lambda *_: None) -> Workshop:
    return Workshop(lambda name: FakeModel(name=name), tmp_path / "artifacts", tell)


def propose(step: FineTune, task: Task, tmp_path: Path, n: int = 100) -> Candidate:
    train = messages(n) if task.kind == "classification" else reports(n)
    (candidate,) = step.propose(task, train, None, workshop(tmp_path))
    return candidate


def test_the_candidate_asks_the_tuned_model_with_a_short_prompt(
    trainer: ScriptedTrainer, base: str, tmp_path: Path
) -> None:
    task = replace(SORT, models=(base,))
    candidate = propose(FineTune(), task, tmp_path)
    solver = candidate.solver
    assert isinstance(solver, PromptSolver)
    assert solver.model == "local:tuned/abc"
    assert solver.demos == ()
    said = "\n".join(str(message.content) for message in render(solver, "hello"))
    assert "Sort the message." in said
    assert "balance" not in said  # no labels: it has learned them
    assert (candidate.build_seconds, candidate.build_tokens) == (7.0, 1234)
    assert candidate.learning[-1].held_out_loss == 0.6
    assert candidate.cautions == ("said",)
    assert candidate.build_dollars is None


def test_answers_are_held_to_the_labels_where_the_engine_can(
    trainer: ScriptedTrainer, base: str, tmp_path: Path
) -> None:
    pytest.importorskip("openvino_genai")
    task = replace(SORT, models=(base,))
    free = propose(FineTune(), task, tmp_path).solver
    llama = {"model_type": "llama", "num_hidden_layers": 2}
    (Path(base.removeprefix("local:")) / "config.json").write_text(json.dumps(llama))
    held = propose(FineTune(), task, tmp_path).solver
    assert isinstance(free, PromptSolver)
    assert isinstance(held, PromptSolver)
    assert (free.constrained, held.constrained) == (False, True)


def test_it_is_trained_on_what_it_will_be_asked(
    trainer: ScriptedTrainer, base: str, tmp_path: Path
) -> None:
    task = replace(EXTRACT, models=(base,))
    candidate = propose(FineTune(), task, tmp_path, n=60)
    job = trainer.jobs[0]
    solver = candidate.solver
    assert isinstance(solver, PromptSolver)
    expected = {(render(solver, e.input), render_target(solver, e.expected)) for e in reports(60)}
    assert set(job.train) | set(job.held_out) == expected
    assert not set(job.train) & set(job.held_out)
    assert len(job.held_out) == 8
    assert json.loads(job.train[0][1])["drug"]


def test_it_keeps_the_contract_of_steps(
    trainer: ScriptedTrainer, base: str, tmp_path: Path
) -> None:
    task = replace(EXTRACT, models=(base,))
    check_step(FineTune(), task, reports(60), workshop(tmp_path))


def test_nothing_is_held_out_when_nothing_should_be(
    trainer: ScriptedTrainer, base: str, tmp_path: Path
) -> None:
    propose(FineTune(held_out=0.0), replace(SORT, models=(base,)), tmp_path, n=60)
    assert (len(trainer.jobs[0].train), trainer.jobs[0].held_out) == (60, ())


def test_groups_are_not_on_both_sides(trainer: ScriptedTrainer, base: str, tmp_path: Path) -> None:
    train = [replace(e, group=f"g{i // 5}") for i, e in enumerate(messages(100))]
    task = replace(SORT, models=(base,))
    list(FineTune().propose(task, train, None, workshop(tmp_path)))
    groups = {str(e.input): e.group for e in train}
    job = trainer.jobs[0]
    sides = [{groups[m[-1].content] for m, _ in side} for side in (job.train, job.held_out)]
    assert sides[1]
    assert not sides[0] & sides[1]


def test_what_was_chosen_for_the_user_is_said(
    trainer: ScriptedTrainer, base: str, tmp_path: Path
) -> None:
    task = replace(SORT, models=(base,))
    changed = propose(FineTune(), task, tmp_path).changed
    assert "learning rate" in changed
    assert "epochs" in changed
    assert "3.00 to 0.60" in changed
    given = propose(FineTune(learning_rate=2e-4, epochs=1.5), task, tmp_path).changed
    assert "learning rate" not in given
    options = trainer.jobs[-1].options
    assert (options.learning_rate, options.epochs) == (2e-4, 1.5)
    assert "method" not in propose(FineTune(method="dora"), task, tmp_path).changed


@pytest.mark.parametrize(
    ("packing", "said"),
    [
        (
            {"used": True, "padding": 0.084, "why": "that gains time"},
            "; computed with products in bfloat16, rows packed into one sequence (8% of the "
            "batches would be padding)",
        ),
        (
            {"used": False, "padding": 0.024, "why": "it gains little"},
            "; computed with products in bfloat16, rows not packed (2% of the batches is padding): "
            "it gains little",
        ),
    ],
)
def test_how_a_training_was_computed_is_said(
    trainer: ScriptedTrainer,
    base: str,
    tmp_path: Path,
    packing: Mapping[str, Any],
    said: str,
) -> None:
    task = replace(SORT, models=(base,))
    trainer.facts = {"environment": {"products_in": "bfloat16"}, "packing": packing}
    assert said in propose(FineTune(packing=packing["used"]), task, tmp_path).changed
    assert trainer.jobs[-1].packing is packing["used"]
    trainer.facts = {}  # of a training that an earlier version did
    assert "computed with" not in propose(FineTune(), task, tmp_path).changed


def test_memory_decides_what_is_held_and_how(
    trainer: ScriptedTrainer, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Less of it: activations twice, then smaller batches, then four bits, then a reason."""
    folder = Path(base.removeprefix("local:"))
    shape = {"hidden_size": 512, "num_hidden_layers": 20, "intermediate_size": 2048}
    (folder / "config.json").write_text(json.dumps(shape))
    sizes = {f"layers.{n}.weight": np.zeros((1024, 1024), np.float16) for n in range(20)}
    save_file(sizes, folder / "model.safetensors")
    task = replace(SORT, models=(base,))

    def chosen(gigabytes: float) -> tuple[str, bool, int]:
        where = "stepladder.steps.fine_tune_choices.machine_bytes"
        monkeypatch.setattr(where, lambda device: gigabytes * 1e9)
        propose(FineTune(), task, tmp_path)
        options = trainer.jobs[-1].options
        return options.method, options.checkpointing, options.tokens_per_batch

    found = [chosen(gigabytes) for gigabytes in (24, 1.1, 0.89)]
    assert [one[:2] for one in found] == [("lora", False), ("lora", True), ("lora", True)]
    assert found[1][2] == found[0][2] > found[2][2]
    assert "computed twice" in propose(FineTune(), task, tmp_path).changed
    pytest.importorskip("bitsandbytes")
    assert chosen(0.85)[0] == "qlora"
    with pytest.raises(NotApplicable, match="GB of memory can be used here"):
        chosen(0.3)


def test_pairs_of_answers_are_learned_after_the_examples(
    trainer: ScriptedTrainer, base: str, tmp_path: Path
) -> None:
    lines = [{"input": f"message {n}", "chosen": "card", "rejected": "balance"} for n in range(40)]
    text = "\n".join(map(json.dumps, lines))
    (tmp_path / "preferences.jsonl").write_text(text)
    task = replace(SORT, models=(base,), folder=tmp_path)
    step = FineTune(method="preference", beta=0.3)
    step.check(task)
    candidate = propose(step, task, tmp_path)
    answers, pairs = trainer.jobs
    assert [one.options.objective for one in (answers, pairs)] == ["answers", "preference"]
    assert pairs.base == "local:tuned/abc"
    assert pairs.folder == tmp_path / "artifacts" / "abc" / "model"
    assert isinstance(pairs.train[0], Pair)
    assert (len(pairs.train), len(pairs.held_out)) == (32, 8)
    assert pairs.options.beta == 0.3
    assert (candidate.build_seconds, candidate.build_tokens) == (14.0, 2468)
    assert "32 pairs of answers" in candidate.changed
    (tmp_path / "preferences.jsonl").write_text(json.dumps(lines[0]))
    with pytest.raises(NotApplicable, match="1 pairs of answers are too few"):
        propose(step, task, tmp_path)


def test_raw_text_of_the_domain_is_read_first(
    trainer: ScriptedTrainer, base: str, tmp_path: Path
) -> None:
    (tmp_path / "domain").mkdir()
    (tmp_path / "domain" / "a.md").write_text("One.\n\nTwo.\n\nThree.")
    (tmp_path / "domain" / "b.jsonl").write_text('{"text": "Four."}\n"Five."\n')
    (tmp_path / "domain" / "c.pdf").write_text("not read")
    task = replace(SORT, models=(base,), folder=tmp_path)
    candidate = propose(FineTune(domain="domain"), task, tmp_path)
    text, answers = trainer.jobs
    assert (text.options.objective, text.options.method) == ("text", "full")
    assert {*text.train, *text.held_out} == {"One.", "Two.", "Three.", "Four.", "Five."}
    assert len(text.held_out) == 1
    assert answers.folder.parts[-2:] == ("abc", "model")
    assert "perplexity of held-out text 20.1 to 1.8" in candidate.changed
    assert candidate.name == "domain+lora-16"
    estimate = FineTune(domain="domain").estimate(task, messages(100), workshop(tmp_path))
    assert "in stages: domain, answers" in estimate.note
    (tmp_path / "domain" / "b.jsonl").write_text('{"txt": 1}')
    with pytest.raises(TaskError, match=r"b\.jsonl:1: no text"):
        FineTune(domain="domain").check(task)
    with pytest.raises(TaskError, match="there is no text"):
        FineTune(domain="nowhere").check(task)


def test_fewer_examples_are_seen_more_often(
    trainer: ScriptedTrainer, base: str, tmp_path: Path
) -> None:
    task = replace(SORT, models=(base,))
    for n in (20, 100, 400, 2000):
        propose(FineTune(), task, tmp_path, n)
    epochs = [job.options.epochs for job in trainer.jobs]
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[0] > epochs[-1] >= 2


def test_a_rate_of_ours_that_diverges_is_cut_once_and_said(
    trainer: ScriptedTrainer, base: str, tmp_path: Path
) -> None:
    trainer.highest = 5e-4
    task = replace(SORT, models=(base,))
    candidate = propose(FineTune(method="lora"), task, tmp_path)
    first, second = (job.options.learning_rate for job in trainer.jobs)
    assert second < first
    assert "diverged" in candidate.cautions[0]


def test_a_rate_of_the_users_that_diverges_is_an_error(
    trainer: ScriptedTrainer, base: str, tmp_path: Path
) -> None:
    task = replace(SORT, models=(base,))
    with pytest.raises(ModelError, match="diverged"):
        propose(FineTune(learning_rate=5.0), task, tmp_path)


def test_the_number_of_examples_and_minutes_can_be_bounded(
    trainer: ScriptedTrainer, base: str, tmp_path: Path
) -> None:
    task = replace(SORT, models=(base,))
    propose(FineTune(examples=30, minutes=2), task, tmp_path, n=100)
    job = trainer.jobs[0]
    assert len(job.train) == 30
    assert job.options.max_seconds == 120


def test_hardware_that_costs_makes_dollars_known(
    trainer: ScriptedTrainer, base: str, tmp_path: Path
) -> None:
    task = replace(SORT, models=(base,), hardware=Hardware(dollars_per_hour=3600.0))
    assert propose(FineTune(), task, tmp_path).build_dollars == 7.0
    estimate = FineTune().estimate(task, messages(100), workshop(tmp_path))
    assert estimate.dollars == estimate.seconds


def test_the_estimate_grows_with_data_and_keeps_to_the_minutes(base: str, tmp_path: Path) -> None:
    task = replace(SORT, models=(base,))

    def seconds(step: FineTune, n: int) -> float:
        found = step.estimate(task, messages(n), workshop(tmp_path)).seconds
        assert found is not None
        return found

    assert seconds(FineTune(epochs=2), 400) == pytest.approx(4 * seconds(FineTune(epochs=2), 100))
    assert seconds(FineTune(epochs=900, minutes=1), 400) == 60
    short = FineTune(epochs=900, minutes=1).estimate(task, messages(400), workshop(tmp_path))
    assert "ended after 1 min" in short.note
    estimate = FineTune().estimate(task, messages(50), workshop(tmp_path))
    assert "assumed" in estimate.note
    assert estimate.dollars is None


def test_a_processor_without_bfloat16_is_taken_to_be_half_as_fast(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seconds(able: bool | None) -> float:
        monkeypatch.setattr(speed, "has_bfloat16", lambda: able)
        task = replace(SORT, models=(base,))
        return FineTune(epochs=2).estimate(task, messages(100), workshop(tmp_path)).seconds or 0.0

    assert seconds(False) == pytest.approx(2 * seconds(True))
    assert seconds(None) == seconds(True) > 0


def test_the_estimate_uses_the_speed_of_earlier_trainings(base: str, tmp_path: Path) -> None:
    task = replace(SORT, models=(base,))
    before = FineTune(method="lora").estimate(task, messages(50), workshop(tmp_path))
    folder = tmp_path / "artifacts" / "one"
    folder.mkdir(parents=True)
    facts = {"tokens": 5.0, "seconds": 5.0, "base": base, "options": {"method": "lora"}}
    (folder / "training.json").write_text(json.dumps(facts))
    after = FineTune(method="lora").estimate(task, messages(50), workshop(tmp_path))
    assert "measured" in after.note
    assert after.seconds is not None
    assert before.seconds is not None
    assert after.seconds > 10 * before.seconds


@pytest.mark.parametrize(
    ("models", "step", "n", "reason"),
    [
        (("gemini:flash",), FineTune(), 100, "'gemini:flash' cannot be tuned.*name .*'vertex:"),
        (("local:x",), FineTune(model="openai:gpt"), 100, "'openai:gpt' cannot be tuned"),
        (("vertex:a@b",), FineTune(), 100, "'vertex:a@b' is tuned already"),
        (("local:x",), FineTune(), 3, "too few"),
        ((), FineTune(), 100, "names no model that can be tuned"),
    ],
)
def test_when_it_has_nothing_to_offer_it_says_why(
    models: tuple[str, ...], step: FineTune, n: int, reason: str, tmp_path: Path
) -> None:
    task = replace(SORT, models=models)
    with pytest.raises(NotApplicable, match=f"(?s){reason}"):
        list(step.propose(task, messages(n), None, workshop(tmp_path)))
    with pytest.raises(NotApplicable, match=f"(?s){reason}"):
        step.estimate(task, messages(n), workshop(tmp_path))


def test_a_missing_package_is_a_reason_not_a_crash(
    trainer: ScriptedTrainer, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer.missing = True
    task = replace(SORT, models=(base,))
    with pytest.raises(NotApplicable, match="peft"):
        propose(FineTune(), task, tmp_path)
    monkeypatch.setattr("stepladder.steps.fine_tune_plan.find_spec", lambda name: None)
    with pytest.raises(NotApplicable, match="torch") as caught:
        FineTune().estimate(task, messages(50), workshop(tmp_path))
    assert "stepladder[train]" in caught.value.hint


@pytest.mark.parametrize(
    "options",
    [{"method": "magic"}, {"epochs": 0}, {"learning_rate": -1}, {"held_out": 0.9}, {"rank": 0}],
)
def test_options_that_make_no_sense_are_refused(options: Mapping[str, Any]) -> None:
    with pytest.raises(StepladderError, match="fine_tune"):
        FineTune(**options)


def test_it_is_registered() -> None:
    assert registry.look_up("step", "fine_tune") is FineTune
    assert registry.look_up("trainer", "local")().name == "local"
