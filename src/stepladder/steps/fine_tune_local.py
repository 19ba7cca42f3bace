"""The fine-tune step on local weights: which options training gets, what it takes, what is said.

How training is done is for `trainers/`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..core import Candidate, Estimate, Example, Json, Message, Task, Workshop
from ..errors import MissingExtra, ModelError, NotApplicable
from ..registry import look_up
from ..solvers.calling import CallingSolver
from ..solvers.prompt import PromptSolver
from ..trainers import TrainedModel, Trainer, TrainingJob, TrainingOptions, epochs_for
from .fine_tune_plan import Lesson, conversation, make_lesson, short_prompt
from .functions import calling_solver

if TYPE_CHECKING:
    from .fine_tune import FineTune

__all__ = ["LocalRoute"]

TOKENS_PER_SECOND = 250.0  # LoRA or full, a 135M-parameter model, bfloat16 products, two CPU cores
PARAMETERS_THEN = 135e6
LEARNING_RATE = {"lora": 2e-3, "full": 1e-4}  # measured on SmolLM2-135M, see docs/log.md
ROWS_PER_BATCH = 8  # on average: more rows are hardly faster per token, and mean fewer updates
_COUNTED = 32  # examples whose tokens are counted; enough for a mean


@dataclass(frozen=True)
class LocalRoute:
    """Trains weights that lie in a folder on this machine."""

    step: FineTune
    base: str

    def estimate(self, task: Task, train: Sequence[Example], workshop: Workshop) -> Estimate:
        """Seconds from counted tokens and the speed of an earlier training here, or an assumed one.

        Dollars are known only where the task prices an hour of its hardware.
        """
        lesson, job = self._job(task, train, workshop)
        tokens = _mean_tokens(lesson.solver, train, workshop) * len(job.train) * job.options.epochs
        speed, whence = _speed(job, workshop.artifacts)
        seconds = tokens / speed
        if self.step.minutes is not None:
            seconds = min(seconds, 60 * self.step.minutes)
        per_hour = task.hardware.dollars_per_hour
        note = (
            f"{len(job.train)} examples, {job.options.epochs:g} epochs, about {tokens:,.0f} tokens "
            f"at {speed:.0f} a second ({whence})"
        )
        return Estimate(seconds, None if per_hour is None else seconds * per_hour / 3600, 0, note)

    def propose(self, task: Task, train: Sequence[Example], workshop: Workshop) -> Candidate:
        """The tuned model behind a short prompt."""
        lesson, job = self._job(task, train, workshop)
        trainer: Trainer = look_up("trainer", self.step.trainer)()
        try:
            job, trained, retried = self._train(trainer, job, workshop)
        except MissingExtra as error:
            raise NotApplicable(error.message, hint=error.hint) from error
        per_hour = task.hardware.dollars_per_hour
        return Candidate(
            step=self.step.name,
            name=_candidate_name(job.options),
            solver=replace(lesson.solver, model=trained.name),
            changed=self._words(job, trained),
            build_seconds=trained.seconds,
            build_dollars=None if per_hour is None else trained.seconds * per_hour / 3600,
            build_calls=0,
            build_tokens=trained.tokens,
            learning=trained.learning,
            cautions=(*retried, *trained.cautions),
        )

    def _train(
        self, trainer: Trainer, job: TrainingJob, workshop: Workshop
    ) -> tuple[TrainingJob, TrainedModel, tuple[str, ...]]:
        """The trained model; a rate that was ours to choose is cut once if it was too high."""
        try:
            return job, trainer.train(job, workshop.artifacts, workshop.tell), ()
        except ModelError as error:
            if self.step.learning_rate is not None or "diverged" not in error.message:
                raise
            slower = replace(job.options, learning_rate=job.options.learning_rate / 5)
            workshop.tell("training", {"diverged": error.message})
            job = replace(job, options=slower)
            said = f"{error.message}; trained anew with learning rate {slower.learning_rate:g}"
            return job, trainer.train(job, workshop.artifacts, workshop.tell), (said,)

    def _job(
        self, task: Task, train: Sequence[Example], workshop: Workshop
    ) -> tuple[Lesson, TrainingJob]:
        """What will be trained, from train alone; NotApplicable when it cannot be."""
        if self.step.method == "preference":
            raise NotApplicable(
                f"{self.base!r} is local, and preferences can only be tuned on by a service",
                hint="leave method out, or name a hosted model",
            )
        _need_packages()
        lesson = make_lesson(self.base, self._solver(task, workshop), train, task, self.step.bounds)
        mean = _mean_tokens(lesson.solver, train, workshop)
        job = TrainingJob(
            base=self.base,
            folder=_folder(self.base),
            train=tuple(conversation(lesson.solver, example, workshop) for example in lesson.train),
            held_out=tuple(
                conversation(lesson.solver, example, workshop) for example in lesson.held_out
            ),
            options=self._options(len(lesson.train), mean, task.seed),
            threads=self.step.threads,
            device=self.step.device,
        )
        return lesson, job

    def _solver(self, task: Task, workshop: Workshop) -> PromptSolver | CallingSolver:
        """The short prompt; where the engine can, it is held to the labels.

        A tuned model otherwise makes up new ones that look like those it has seen. Where the task
        has functions and calls are the answer, it is tuned on calls, as it is asked for them.
        """
        calling = calling_solver(task, self.base, workshop)
        if calling is not None:
            return calling
        short = short_prompt(task, self.base, self.step.instructions)
        can = short.output_format == "label" and _can_constrain(_folder(self.base))
        return replace(short, constrained=can)

    def _options(self, n: int, mean_tokens: float, seed: int) -> TrainingOptions:
        step = self.step
        method: Literal["lora", "full"] = "full" if step.method == "full" else "lora"
        return TrainingOptions(
            method=method,
            rank=step.rank,
            alpha=step.alpha or 2 * step.rank,
            dropout=step.dropout,
            target_modules=step.target_modules,
            learning_rate=step.learning_rate or LEARNING_RATE[method],
            epochs=step.epochs or epochs_for(n),
            tokens_per_batch=step.tokens_per_batch or _batch_for(mean_tokens),
            patience=step.patience,
            max_seconds=None if step.minutes is None else 60 * step.minutes,
            max_length=step.max_length,
            seed=seed,
        )

    def _words(self, job: TrainingJob, trained: TrainedModel) -> str:
        """What was done, with every choice that was made for the user."""
        options, step = job.options, self.step
        how = f"LoRA of rank {options.rank}" if options.method == "lora" else "all weights"
        chosen = [
            f"{option} {value:g}"
            for option, value, given in (
                ("learning rate", options.learning_rate, step.learning_rate),
                ("epochs", options.epochs, step.epochs),
                ("tokens per batch", options.tokens_per_batch, step.tokens_per_batch),
            )
            if given is None
        ]
        words = (
            f"{job.base} tuned on {len(job.train)} train examples ({how}), asked with a short "
            "prompt and no demonstrations"
        )
        if chosen:
            words += f"; chosen from the data: {', '.join(chosen)}"
        losses = [p.held_out_loss for p in trained.learning if p.held_out_loss is not None]
        if len(losses) > 1:
            words += (
                f"; loss per answer token on {len(job.held_out)} held-out train examples "
                f"{losses[0]:.2f} to {min(losses):.2f}"
            )
        return words


def _batch_for(mean_tokens: float) -> int:
    """Tokens of a batch, padding included, that hold about eight rows."""
    return int(min(2048, max(256, 64 * math.ceil(ROWS_PER_BATCH * mean_tokens / 64))))


def _candidate_name(options: TrainingOptions) -> str:
    return f"lora-{options.rank}" if options.method == "lora" else "full"


def _need_packages() -> None:
    for package in ("torch", "peft", "transformers"):
        if find_spec(package) is None:
            raise NotApplicable(
                f"fine-tuning needs the package {package!r}, which is not installed",
                hint="pip install 'stepladder[train]'",
            )


def _folder(model: str) -> Path:
    from ..models.local.weights import base_folder

    return base_folder(model.removeprefix("local:"))


def _can_constrain(folder: Path) -> bool:
    """Whether this model will run on the engine that can limit what is said."""
    from ..models.local.ir import supports

    return find_spec("openvino_genai") is not None and supports(folder)


def _mean_tokens(
    solver: PromptSolver | CallingSolver, train: Sequence[Example], workshop: Workshop
) -> float:
    """Tokens of an example with its answer, on average."""
    model = workshop.model(solver.model)
    counted = [conversation(solver, example, workshop) for example in train[:_COUNTED]]
    total = sum(
        model.count_tokens((*messages, Message("assistant", answer)))
        for messages, answer in counted
    )
    return total / len(counted)


def _speed(job: TrainingJob, artifacts: Path) -> tuple[float, str]:
    """Tokens per second, and where the figure is from."""
    speeds = [
        facts["tokens"] / facts["seconds"]
        for facts in _earlier(artifacts)
        if facts["base"] == job.base and facts["options"]["method"] == job.options.method
    ]
    if speeds:
        return sorted(speeds)[len(speeds) // 2], "measured in earlier trainings of this run folder"
    bytes_of_weights = sum(path.stat().st_size for path in job.folder.glob("*.safetensors"))
    larger = max(0.1, bytes_of_weights / 2 / PARAMETERS_THEN)
    return TOKENS_PER_SECOND / larger, "assumed: two CPU cores, scaled by the model's size"


def _earlier(artifacts: Path) -> Iterator[Mapping[str, Json]]:
    for path in artifacts.glob("*/training.json"):
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["seconds"] > 0 and facts["tokens"] > 0:
            yield facts
