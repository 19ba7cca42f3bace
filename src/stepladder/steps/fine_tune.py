"""The fine-tune step: train the model's own weights on train, and ask it with a short prompt.

A tuned model needs no demonstrations, labels or schema in its prompt: it has seen the answers. So
the solver is the plain prompt cut to a few words, and what is saved on tokens is saved on every
request. How training is done is for `trainers/`; this file decides what is trained on and with
which options.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from ..core import Candidate, Estimate, Example, Json, Message, Task, Trial, Workshop
from ..errors import MissingExtra, ModelError, NotApplicable, StepladderError
from ..registry import look_up
from ..solvers.prompt import PromptSolver, render, render_target
from ..trainers import TrainedModel, Trainer, TrainingJob, TrainingOptions
from .prompt_variants import plain_prompt
from .sampling import hold_out, spread_over_labels

__all__ = ["FineTune"]

TOKENS_PER_SECOND = 250.0  # LoRA or full, a 135M-parameter model, bfloat16 products, two CPU cores
PARAMETERS_THEN = 135e6
LEARNING_RATE = {"lora": 2e-3, "full": 1e-4}  # measured on SmolLM2-135M, see docs/log.md
ROWS_PER_BATCH = 8  # on average: more rows are hardly faster per token, and mean fewer updates
_SHORT_WORDS = 12
_COUNTED = 32  # examples whose tokens are counted; enough for a mean


@dataclass(frozen=True)
class FineTune:
    """Trains `model` (the task's first local one unless named) on train.

    What is None is chosen: `epochs` so that a small set is seen more often, `tokens_per_batch` so
    that a batch holds about eight examples, `learning_rate` by method. `held_out` is the share of
    train that decides when to stop, and is not trained on. `minutes` bounds the training and
    `examples` how many are trained on. `instructions` is the prompt at serving time (the first
    sentence of the task's if None). A task with fewer than `least` examples is not tuned.
    """

    method: Literal["lora", "full"] = "lora"
    model: str | None = None
    rank: int = 16
    alpha: int | None = None  # twice the rank if None
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ()
    learning_rate: float | None = None
    epochs: float | None = None
    tokens_per_batch: int | None = None
    patience: int = 3
    held_out: float = 0.1
    minutes: float | None = None
    examples: int | None = None
    max_length: int = 1024
    instructions: str | None = None
    least: int = 16
    threads: int | None = None
    device: str = "auto"
    trainer: str = "local"
    name: str = field(default="fine_tune", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "target_modules", tuple(self.target_modules))
        if self.method not in ("lora", "full"):
            raise StepladderError(
                f"step 'fine_tune' has no method {self.method!r}", hint="lora or full"
            )
        positive = {
            "rank": self.rank,
            "alpha": self.alpha,
            "learning_rate": self.learning_rate,
            "epochs": self.epochs,
            "tokens_per_batch": self.tokens_per_batch,
            "patience": self.patience,
            "minutes": self.minutes,
            "examples": self.examples,
            "max_length": self.max_length,
        }
        for option, value in positive.items():
            if value is not None and value <= 0:
                raise StepladderError(
                    f"step 'fine_tune': {option} = {value} makes no sense",
                    hint=f"give {option} above zero, or leave it out",
                )
        if not 0 <= self.held_out < 0.5:
            raise StepladderError(
                f"step 'fine_tune': held_out = {self.held_out} is not a share below a half",
                hint="0.1 holds out a tenth of train",
            )

    def estimate(self, task: Task, train: Sequence[Example], workshop: Workshop) -> Estimate:
        """Seconds from counted tokens and the speed of an earlier training here, or an assumed one.

        Dollars are known only where the task prices an hour of its hardware.
        """
        job = self._job(task, train, workshop)
        solver = self._solver(task, job.base)
        tokens = _mean_tokens(solver, train, workshop) * len(job.train) * job.options.epochs
        speed, whence = _speed(job, workshop.artifacts)
        seconds = tokens / speed
        if self.minutes is not None:
            seconds = min(seconds, 60 * self.minutes)
        per_hour = task.hardware.dollars_per_hour
        note = (
            f"{len(job.train)} examples, {job.options.epochs:g} epochs, about {tokens:,.0f} tokens "
            f"at {speed:.0f} a second ({whence})"
        )
        return Estimate(seconds, None if per_hour is None else seconds * per_hour / 3600, 0, note)

    def propose(
        self,
        task: Task,
        train: Sequence[Example],
        base: Trial | None,
        workshop: Workshop,
    ) -> Iterable[Candidate]:
        """One candidate: the tuned model behind a short prompt."""
        job = self._job(task, train, workshop)
        trainer: Trainer = look_up("trainer", self.trainer)()
        try:
            job, trained, retried = self._train(trainer, job, workshop)
        except MissingExtra as error:
            raise NotApplicable(error.message, hint=error.hint) from error
        per_hour = task.hardware.dollars_per_hour
        yield Candidate(
            step=self.name,
            name=_candidate_name(job.options),
            solver=self._solver(task, job.base, trained.name),
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
            if self.learning_rate is not None or "diverged" not in error.message:
                raise
            slower = replace(job.options, learning_rate=job.options.learning_rate / 5)
            workshop.tell("training", {"diverged": error.message})
            job = replace(job, options=slower)
            said = f"{error.message}; trained anew with learning rate {slower.learning_rate:g}"
            return job, trainer.train(job, workshop.artifacts, workshop.tell), (said,)

    def _job(self, task: Task, train: Sequence[Example], workshop: Workshop) -> TrainingJob:
        """What will be trained, from train alone; NotApplicable when it cannot be."""
        model = self._base(task)
        _need_packages()
        if len(train) < self.least:
            raise NotApplicable(
                f"{len(train)} train examples are too few to tune a model",
                hint=f"label at least {self.least}, better some hundreds",
            )
        rest, held = hold_out(train, self._held_out_examples(len(train)), task.seed)
        if self.examples is not None:
            rest = tuple(spread_over_labels(rest, task.seed)[: self.examples])
        solver = self._solver(task, model)
        return TrainingJob(
            base=model,
            folder=_folder(model),
            train=tuple(_conversation(solver, example) for example in rest),
            held_out=tuple(_conversation(solver, example) for example in held),
            options=self._options(len(rest), _mean_tokens(solver, train, workshop), task.seed),
            threads=self.threads,
            device=self.device,
        )

    def _held_out_examples(self, n: int) -> int:
        """Enough to see over-fitting, not so many that looking takes longer than training."""
        return min(128, max(8, round(self.held_out * n))) if self.held_out else 0

    def _base(self, task: Task) -> str:
        if self.model is not None:
            if not self.model.startswith("local:"):
                raise NotApplicable(
                    f"model {self.model!r} is hosted; only local weights can be tuned yet",
                    hint="name a local model",
                )
            return self.model
        for model in task.models:
            if model.startswith("local:"):
                return model
        raise NotApplicable(
            "none of the task's models is local, and only local weights can be tuned yet",
            hint="add a local model to models = [...], or set model in [steps.fine_tune]",
        )

    def _solver(self, task: Task, base: str, tuned: str | None = None) -> PromptSolver:
        """The plain prompt with nothing shown but a few words of instruction.

        Where the engine can, it is held to the labels: a tuned model otherwise makes up new ones
        that look like those it has seen.
        """
        short = self.instructions
        plain = plain_prompt(task, tuned or base)
        return replace(
            plain,
            instructions=_first_sentence(task.instructions) if short is None else short,
            show_labels=False,
            show_schema=False,
            constrained=plain.output_format == "label" and _can_constrain(_folder(base)),
        )

    def _options(self, n: int, mean_tokens: float, seed: int) -> TrainingOptions:
        return TrainingOptions(
            method=self.method,
            rank=self.rank,
            alpha=self.alpha or 2 * self.rank,
            dropout=self.dropout,
            target_modules=self.target_modules,
            learning_rate=self.learning_rate or LEARNING_RATE[self.method],
            epochs=self.epochs or _epochs_for(n),
            tokens_per_batch=self.tokens_per_batch or _batch_for(mean_tokens),
            patience=self.patience,
            max_seconds=None if self.minutes is None else 60 * self.minutes,
            max_length=self.max_length,
            seed=seed,
        )

    def _words(self, job: TrainingJob, trained: TrainedModel) -> str:
        """What was done, with every choice that was made for the user."""
        options = job.options
        how = f"LoRA of rank {options.rank}" if options.method == "lora" else "all weights"
        chosen = [
            f"{option} {value:g}"
            for option, value, given in (
                ("learning rate", options.learning_rate, self.learning_rate),
                ("epochs", options.epochs, self.epochs),
                ("tokens per batch", options.tokens_per_batch, self.tokens_per_batch),
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


def _epochs_for(n: int) -> float:
    """More passes over little data: about 1,000 examples seen, between 2 and 10 epochs."""
    return float(min(10, max(2, math.ceil(1000 / n))))


def _batch_for(mean_tokens: float) -> int:
    """Tokens of a batch, padding included, that hold about eight rows."""
    return int(min(2048, max(256, 64 * math.ceil(ROWS_PER_BATCH * mean_tokens / 64))))


def _first_sentence(text: str) -> str:
    """The first sentence of the instructions, at most a dozen words of it."""
    first = re.split(r"(?<=[.!?:])\s|\n", text.strip(), maxsplit=1)[0]
    words = first.split()
    return first if len(words) <= _SHORT_WORDS else " ".join(words[:_SHORT_WORDS])


def _conversation(solver: PromptSolver, example: Example) -> tuple[tuple[Message, ...], str]:
    return render(solver, example.input), render_target(solver, example.expected)


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


def _mean_tokens(solver: PromptSolver, train: Sequence[Example], workshop: Workshop) -> float:
    """Tokens of an example with its answer, on average."""
    model = workshop.model(solver.model)
    counted = [_conversation(solver, example) for example in train[:_COUNTED]]
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
