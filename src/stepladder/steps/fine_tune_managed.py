"""The fine-tune step on a hosted model: a job at its service, what it will cost, what is said.

The rows are checked against the documented limits before anything is sent, and the cost is known
before anything starts. How a job is kept from being started twice is for `trainers/managed.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..catalogue import Method, TuningLimits
from ..core import Candidate, Estimate, Example, Json, Task, Tell, Workshop
from ..cost import Price, training_dollars
from ..data.findings import SHOWN, Finding
from ..errors import ModelError, NotApplicable
from ..functions.catalogue import load_catalogue
from ..functions.description import Described
from ..models import ProviderSettings
from ..registry import look_up
from ..solvers.calling import NO_CALL, CallingSolver, shown_calls
from ..solvers.calling import render as render_calling
from ..solvers.prompt import PromptSolver, render, render_target
from ..trainers import TrainedModel
from ..trainers.managed import ManagedTrainer
from ..trainers.service import Choices, TuningJob, TuningRow
from ..trainers.tuning_data import PREFERENCES, check_job, read_preferences, tokens_of
from .fine_tune_plan import Lesson, conversation, held_out_size, make_lesson, short_prompt
from .functions import calling_solver

if TYPE_CHECKING:
    from .fine_tune import FineTune

__all__ = ["ManagedRoute"]


@dataclass(frozen=True)
class ManagedRoute:
    """Has a service tune one of its models. `limits` is what the catalogue says of it."""

    step: FineTune
    base: str
    settings: ProviderSettings
    limits: TuningLimits

    def estimate(self, task: Task, train: Sequence[Example], workshop: Workshop) -> Estimate:
        """Dollars from the tokens of all rows; unknown while the service chooses the epochs.

        Seconds are unknown: the job waits for its turn at the service. What is lacking to start
        the job, a key or a bucket, is in the note.
        """
        _, job = self._job(task, train, workshop)
        lacking = ""
        try:
            with self._opened() as trainer:
                self._check(job, trainer, workshop)
        except ModelError as error:
            lacking = f"; it cannot be started: {error.message}"
        tokens = self._tokens(job, workshop)
        epochs = job.choices.epochs
        per_epoch = self._price(tokens, job.method)
        price = Price(None, "the service chooses the epochs")
        cure = "set epochs in [steps.fine_tune], or leave out --budget-dollars"
        if epochs is not None:
            price = self._price(epochs * tokens, job.method)
            cure = "give the price of training with --prices, or leave out --budget-dollars"
        note = f"a tuning job on {self.base}: {len(job.train)} rows, about {tokens:,} tokens"
        note += f" in each of {epochs} epochs" if epochs else " an epoch"
        if epochs is None and per_epoch.dollars is not None:
            note += f" (${per_epoch.dollars:.2f}); set epochs to know the cost before it starts"
        elif price.dollars is None:
            note += f"; the cost is unknown: {price.unknown}"
        else:
            note += f" (${price.dollars:.2f})"
        known = price.dollars is not None
        return Estimate(None, price.dollars, 1, note + lacking, "" if known else cure)

    def propose(self, task: Task, train: Sequence[Example], workshop: Workshop) -> Candidate:
        """The tuned model behind a short prompt; raises ModelError when the job fails."""
        lesson, job = self._job(task, train, workshop)
        name = f"tuned {self.base}"
        with self._opened() as trainer:
            self._check(job, trainer, workshop)
            tell = _named(workshop.tell, name)
            trained = trainer.served(trainer.train(job, workshop.artifacts, tell), tell)
        return Candidate(
            step=self.step.name,
            name=name,
            # a tuned model answers at once: that is how it was shown to
            solver=replace(lesson.solver, model=trained.name, thinking_tokens=0),
            changed=_words(job, trained),
            build_seconds=trained.seconds,
            build_dollars=self._paid(trained, job.method),
            build_tokens=trained.tokens,
            learning=trained.learning,
            cautions=trained.cautions,
        )

    def _check(self, job: TuningJob, trainer: ManagedTrainer, workshop: Workshop) -> None:
        """Raise NotApplicable, with rows and cures, when the service would refuse the job."""
        count = workshop.model(self.base).count_tokens
        today = self.settings.catalogue.today
        if found := check_job(job, self.limits, trainer.service, count, today):
            raise _refusal(found)

    def _job(
        self, task: Task, train: Sequence[Example], workshop: Workshop
    ) -> tuple[Lesson, TuningJob]:
        short = short_prompt(task, self.base, self.step.instructions)
        method: Method = "preference" if self.step.method == "preference" else "supervised"
        calling = calling_solver(task, self.base, workshop) if method == "supervised" else None
        solver = short if calling is None else replace(calling, form="native")
        lesson = make_lesson(self.base, solver, train, task, self.step.bounds)
        if method == "preference":
            rows, held = self._preferences(task, short)
        else:
            rows = _rows(lesson, lesson.train, workshop)
            held = _rows(lesson, lesson.held_out, workshop)
        choices = Choices(
            epochs=self._epochs(),
            learning_rate_multiplier=self.step.learning_rate_multiplier,
            adapter_size=self.step.adapter_size,
            batch_size=self.step.batch_size,
            seed=task.seed,
            learning_rate=None if self.limits.own_rate else self.step.learning_rate,
        )
        return lesson, TuningJob(self.base, rows, held, method, choices)

    def _preferences(
        self, task: Task, solver: PromptSolver
    ) -> tuple[tuple[TuningRow, ...], tuple[TuningRow, ...]]:
        """The user's pairs, asked as the tuned model will be; the last of them are held out."""
        rows = tuple(
            TuningRow(
                render(solver, pair.input),
                render_target(solver, pair.chosen),
                render_target(solver, pair.rejected),
                pair.place,
            )
            for pair in read_preferences(task.folder / PREFERENCES)
        )
        held = min(held_out_size(len(rows), self.step.held_out), len(rows) // 2)
        return rows[: len(rows) - held], rows[len(rows) - held :]

    def _epochs(self) -> int | None:
        epochs = self.step.epochs
        if epochs is not None and epochs != int(epochs):
            raise NotApplicable(
                f"a service tunes {self.base!r} for whole epochs, not {epochs:g}",
                hint="give epochs as a whole number, or leave it to the service",
            )
        return None if epochs is None else int(epochs)

    @contextmanager
    def _opened(self) -> Iterator[ManagedTrainer]:
        """The trainer; raises ModelError where it lacks something: a bucket, a key."""
        trainer: ManagedTrainer = look_up("trainer", self.settings.name)(self.settings)
        try:
            yield replace(
                trainer,
                cancel_on_interrupt=self.step.cancel_on_interrupt,
                retry_failed=self.step.retry_failed,
            )
        finally:
            trainer.close()

    def _tokens(self, job: TuningJob, workshop: Workshop) -> int:
        """Tokens of one pass over the training rows, as the model's provider estimates them."""
        count = workshop.model(self.base).count_tokens
        return sum(tokens_of(row, count) for row in job.train)

    def _paid(self, trained: TrainedModel, method: Method) -> float | None:
        """What the job cost: as the service told it, else by the tokens that it bills."""
        if (told := trained.facts.get("billed_dollars")) is not None:
            return float(told)
        billed = trained.facts.get("billed_tokens")
        return None if billed is None else self._price(billed, method).dollars

    def _price(self, tokens: int, method: Method) -> Price:
        return training_dollars(self.base, tokens, self.settings.prices, method)


def _rows(lesson: Lesson, examples: Sequence[Example], workshop: Workshop) -> tuple[TuningRow, ...]:
    solver = lesson.solver
    if isinstance(solver, CallingSolver):
        catalogue = load_catalogue(workshop.artifacts, solver.artifact)
        return tuple(_row_with_calls(solver, example, catalogue) for example in examples)
    return tuple(
        TuningRow(*conversation(solver, example), place=example.source) for example in examples
    )


def _row_with_calls(
    solver: CallingSolver, example: Example, catalogue: Mapping[str, Described]
) -> TuningRow:
    start = render_calling(solver, example.input, catalogue)
    calls = shown_calls(example.expected, start)
    told = [{"name": one.name, "arguments": dict(one.arguments)} for one in calls]
    answer = json.dumps(told, ensure_ascii=False) if calls else NO_CALL
    return TuningRow(
        start.messages, answer, place=example.source, calls=calls, functions=start.functions
    )


def _refusal(found: Sequence[Finding]) -> NotApplicable:
    """One reason that lists the first findings, with their cures."""
    lines = [str(finding) for finding in found[:SHOWN]]
    if len(found) > SHOWN:
        lines.append(f"... and {len(found) - SHOWN} more")
    cures = dict.fromkeys(finding.cure for finding in found[:SHOWN] if finding.cure)
    return NotApplicable("\n  ".join(lines), hint="\n  ".join(cures))


def _named(tell: Tell, name: str) -> Tell:
    """Tell of a training by the name of its candidate, since there may be several."""
    return lambda event, fields: tell(event, {**fields, "name": name})


def _words(job: TuningJob, trained: TrainedModel) -> str:
    """What was done, and what was left to the service."""
    chosen: dict[str, Json] = {
        "epochs": job.choices.epochs,
        "learning rate": job.choices.learning_rate,
        "learning-rate multiplier": job.choices.learning_rate_multiplier,
        "adapter size": job.choices.adapter_size,
        "batch size": job.choices.batch_size,
    }
    ours = [f"{name} {value:g}" for name, value in chosen.items() if value is not None]
    what = "pairs of answers" if job.method == "preference" else "train examples"
    words = (
        f"{job.base} tuned by its service on {len(job.train)} {what} "
        f"({', '.join(ours) or 'everything else left to the service'}), asked with a short prompt, "
        "no demonstrations and no thinking"
    )
    losses = [p.held_out_loss for p in trained.learning if p.held_out_loss is not None]
    if len(losses) > 1:
        words += (
            f"; loss on {len(job.held_out)} held-out rows as the service reports it "
            f"{losses[0]:.2f} to {min(losses):.2f}"
        )
    return words
