"""The scratch step: a small language model of one's own, from random weights.

The ground-up end of the scale: no model of anybody's is under it. It is mostly there to show what
that costs and brings; where what is written is no language that others have trained on, it may be
worth it. Off unless `[steps.scratch]` is in the task, or it is asked for by name. Sizes are chosen
in `scratch_choices.py`; the loop is the one that tunes models (`trainers/`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from ..core import Candidate, Estimate, Example, Message, Task, Trial, Workshop
from ..errors import NotApplicable, StepladderError
from ..models.local import SCRATCH
from ..registry import look_up
from ..solvers.prompt import PromptSolver
from ..trainers import Conversation, TrainedModel, Trainer, TrainingJob, TrainingOptions
from ..trainers.scratch import Blueprint, parameters_of, plant
from .baseline import has_media
from .fine_tune_domain import DomainText, read_domain
from .fine_tune_plan import (
    Bounds,
    Lesson,
    conversations,
    make_lesson,
    need_packages,
    short_prompt,
    telling,
)
from .fine_tune_stages import Stage, stage_words
from .scratch_choices import (
    CHARACTERS_PER_TOKEN,
    DOMAIN_EPOCHS,
    Text,
    choose_blueprint,
    choose_training,
    text_of,
    told,
)

__all__ = ["Scratch"]

UNTRAINED = f"local:{SCRATCH}"  # with the untrained model's name: what such a model was tuned from
WORK_PER_SECOND = 1.2e10  # weights times tokens, on two CPU cores; small models do less
TOKENS_PER_SECOND = 20_000.0  # however small the model is
_COUNTED = 64  # examples whose tokens are counted


@dataclass(frozen=True)
class Scratch:
    """Proposes one model of its own: tokenizer and weights learned from train, and from `domain`.

    What is None is chosen and told: `layers` and `hidden` from how much text there is,
    `vocabulary` the same, `epochs` at most so many passes, fewer when held-out answers get no
    better, `learning_rate` by size. `domain` is a file or folder of raw text in the task's folder,
    which the model reads first, `domain_epochs` times, together with the inputs of train.
    `held_out` is the share of train that decides when to stop. `minutes` bounds each training. A
    task with fewer than `least` examples is left alone.
    """

    domain: str | None = None
    domain_epochs: float = DOMAIN_EPOCHS
    layers: int | None = None
    hidden: int | None = None
    vocabulary: int | None = None
    epochs: float | None = None
    learning_rate: float | None = None
    held_out: float = 0.1
    minutes: float | None = None
    least: int = 100
    threads: int | None = None
    device: str = "auto"
    trainer: str = "local"
    name: str = field(default="scratch", init=False)

    def __post_init__(self) -> None:
        for option in ("domain_epochs", "layers", "hidden", "vocabulary", "epochs", "minutes",
                       "learning_rate"):  # fmt: skip
            value = getattr(self, option)
            if value is not None and not 0 < value < float("inf"):
                raise StepladderError(
                    f"step 'scratch': {option} = {value} makes no sense",
                    hint=f"give {option} above zero, or leave it out",
                )
        if self.hidden is not None and self.hidden % 64:
            raise StepladderError(
                f"step 'scratch': hidden = {self.hidden} cannot be shared among its heads",
                hint="give a multiple of 64",
            )
        if not 0 < self.held_out < 0.5:
            raise StepladderError(
                f"step 'scratch': held_out = {self.held_out} is not a share below a half",
                hint="0.1 holds out a tenth of train; without it nothing says when to stop",
            )

    @staticmethod
    def concerns(task: Task) -> bool:
        """Tasks that ask for it: it is seldom worth its time."""
        return "scratch" in task.steps

    def check(self, task: Task) -> None:
        """Raise TaskError before any step begins where the domain's text cannot be read."""
        if self.domain is not None:
            read_domain(task.folder / self.domain, task.seed)

    def estimate(self, task: Task, train: Sequence[Example], workshop: Workshop) -> Estimate:
        """Seconds of all epochs at a speed assumed from the model's size."""
        plan = self._plan(task, train)
        options = choose_training(self, plan.text, plan.blueprint, plan.mean)
        tokens = plan.mean * len(plan.lesson.train) * options.epochs
        if plan.domain is not None:
            tokens += plan.domain.characters / CHARACTERS_PER_TOKEN * self.domain_epochs
        speed = min(TOKENS_PER_SECOND, WORK_PER_SECOND / parameters_of(plan.blueprint))
        seconds = tokens / speed
        if self.minutes is not None:
            seconds = min(seconds, 60 * self.minutes * (1 + (plan.domain is not None)))
        note = f"at most {options.epochs:g} epochs, about {tokens:,.0f} tokens (assumed speed)"
        return Estimate(seconds, None, 0, note)

    def measured(self, task: Task, train: Sequence[Example]) -> list[PromptSolver | None]:
        """None: what it costs to ask is not known before its tokenizer is."""
        return [None]

    def propose(
        self,
        task: Task,
        train: Sequence[Example],
        base: Trial | None,
        workshop: Workshop,
    ) -> Iterable[Candidate]:
        """The one candidate: the trained model behind the short prompt it was trained with."""
        plan = self._plan(task, train)
        folder = plant(plan.blueprint, plan.corpus, workshop.artifacts)
        name = f"{UNTRAINED}{folder.name.partition('-')[0]}"
        words, mean = _counted(folder, plan.rows)
        options = choose_training(self, plan.text, plan.blueprint, mean)
        trainer: Trainer = look_up("trainer", self.trainer)()
        done: list[tuple[Stage, TrainingJob, TrainedModel]] = []
        for stage in self._stages(plan, options):
            job = stage.job(name, folder)
            trained = trainer.train(job, workshop.artifacts, telling(workshop, stage.name).tell)
            done.append((stage, job, trained))
            name, folder = trained.name, trained.folder / "model"
        seconds = sum(trained.seconds for _, _, trained in done)
        cautions = dict.fromkeys(said for _, _, trained in done for said in trained.cautions)
        blueprint = plan.blueprint
        return [
            Candidate(
                step=self.name,
                name=f"decoder-{blueprint.layers}x{blueprint.hidden}",
                solver=replace(plan.lesson.solver, model=name),
                changed=f"{told(blueprint, words, plan.text)}{stage_words(done)}",
                build_seconds=seconds,
                build_tokens=sum(trained.tokens for _, _, trained in done),
                learning=done[-1][2].learning,
                cautions=tuple(cautions),
            )
        ]

    def _plan(self, task: Task, train: Sequence[Example]) -> _Plan:
        """What is learned from, from train alone; NotApplicable where there is nothing for it."""
        need_packages("training from scratch", "torch", "transformers", "tokenizers")
        if task.kind == "calls" or has_media(train):
            raise NotApplicable("a model from scratch learns texts, labels and JSON only")
        if len(train) < self.least:
            raise NotApplicable(
                f"{len(train)} train examples are too few for a model from scratch",
                hint=f"label at least {self.least}, or tune a model that knows a language",
            )
        solver = self._solver(task)
        bounds = Bounds(self.held_out, self.least, None)
        lesson = make_lesson(UNTRAINED, solver, train, task, bounds)
        domain = None
        if self.domain is not None:
            domain = read_domain(task.folder / self.domain, task.seed)
        return _Plan(self, task, lesson, domain)

    def _solver(self, task: Task) -> PromptSolver:
        """Nothing but the input, and held to the labels where those are the answer.

        There is nobody in the model yet who could follow an instruction.
        """
        short = short_prompt(task, UNTRAINED, "")
        return replace(
            short,
            constrained=short.output_format == "label" and find_spec("openvino_genai") is not None,
        )

    def _stages(self, plan: _Plan, options: TrainingOptions) -> list[Stage]:
        def answers(base: str, folder: Path) -> TrainingJob:
            return TrainingJob(base, folder, *plan.sides, options, _threads(self), self.device)

        stages = [Stage("answers", answers, 0.0, "answer token")]
        if plan.domain is not None:
            stages.insert(0, self._domain(plan.domain, plan.rows, options))
        return stages

    def _domain(
        self, text: DomainText, rows: Sequence[Conversation], options: TrainingOptions
    ) -> Stage:
        length = min(512, options.max_length)
        mine = replace(
            options,
            objective="text",
            judged_by="loss",
            epochs=self.domain_epochs,
            max_length=length,
            tokens_per_batch=max(4 * length, options.tokens_per_batch),
        )
        texts = (*text.train, *(_said(messages) for messages, _ in rows))

        def job(base: str, folder: Path) -> TrainingJob:
            return TrainingJob(
                base, folder, texts, text.held_out, mine, _threads(self), self.device
            )

        return Stage("domain", job, 0.0, "token of held-out domain text")


@dataclass(frozen=True)
class _Plan:
    """What one model from scratch learns from, and how large it will be."""

    step: Scratch
    task: Task
    lesson: Lesson
    domain: DomainText | None

    @cached_property
    def sides(self) -> tuple[tuple[Conversation, ...], tuple[Conversation, ...]]:
        return conversations(self.lesson)

    @property
    def rows(self) -> tuple[Conversation, ...]:
        return self.sides[0]

    @cached_property
    def corpus(self) -> tuple[str, ...]:
        """What the tokenizer is learned from: inputs and answers, and the domain's text."""
        said = [text for messages, answer in self.rows for text in (_said(messages), answer)]
        return (*said, *(self.domain.train if self.domain is not None else ()))

    @cached_property
    def text(self) -> Text:
        examples = [_said(messages) + answer for messages, answer in self.rows]
        return text_of(examples, self.domain.train if self.domain is not None else ())

    @property
    def mean(self) -> float:
        """Tokens of an example, about."""
        return self.text.characters / CHARACTERS_PER_TOKEN / self.text.examples

    @cached_property
    def blueprint(self) -> Blueprint:
        task = self.task
        return choose_blueprint(self.step, self.text, task.max_output_tokens, task.seed)


def _threads(step: Scratch) -> int:
    """Half of the cores unless it was said: products this small wait for each other on all."""
    from ..trainers.opening import cores

    return step.threads or max(1, cores() // 2)


def _said(messages: Sequence[Message]) -> str:
    return "\n".join(_text(message) for message in messages)


def _text(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    return "".join(part.text for part in message.content)


def _counted(folder: Path, rows: Sequence[Conversation]) -> tuple[int, float]:
    """Entries of the vocabulary, and the mean tokens of an example with its answer."""
    from ..models.local.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(folder)
    counted = [
        len(tokenizer.chat_ids((*messages, Message("assistant", answer))))
        for messages, answer in rows[:_COUNTED]
    ]
    return len(tokenizer.tokenizer), sum(counted) / len(counted)
