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
from typing import TYPE_CHECKING

from ..core import Candidate, Estimate, Example, Json, Message, Task, Workshop
from ..errors import MissingExtra, ModelError, NotApplicable
from ..registry import look_up
from ..solvers.calling import CallingSolver
from ..solvers.prompt import PromptSolver
from ..trainers import Method, TrainedModel, Trainer, TrainingJob, TrainingOptions
from .fine_tune_choices import Chosen, Lengths, choose
from .fine_tune_plan import (
    Lesson,
    conversation,
    conversations,
    make_lesson,
    need_packages,
    short_prompt,
    telling,
)
from .fine_tune_search import MOST_EPOCHS, Searched, search
from .fine_tune_stages import Stage, domain_stage, preference_stage, stage_words
from .functions import calling_solver
from .speed import on_this_processor

if TYPE_CHECKING:
    from .fine_tune import FineTune

__all__ = ["LocalRoute"]

TOKENS_PER_SECOND = 250.0  # LoRA or full, a 135M-parameter model, bfloat16 products, two CPU cores
PARAMETERS_THEN = 135e6
_COUNTED = 32  # examples whose tokens are counted; enough for a mean


@dataclass(frozen=True)
class _Plan:
    """What one local model goes through, and what it will be asked with."""

    lesson: Lesson
    chosen: Chosen
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class LocalRoute:
    """Trains weights that lie in a folder on this machine."""

    step: FineTune
    base: str

    def estimate(self, task: Task, train: Sequence[Example], workshop: Workshop) -> Estimate:
        """Seconds from counted tokens and the speed of an earlier training here, or an assumed one.

        Dollars are known only where the task prices an hour of its hardware.
        """
        plan = self._plan(task, train, workshop)
        tokens = sum(stage.tokens for stage in plan.stages)
        options = plan.chosen.options
        folder = _folder(self.base)
        speed, whence = _speed(self.base, options.method, folder, workshop.artifacts)
        seconds = tokens / speed
        if self.step.minutes is not None:
            seconds = min(seconds, 60 * self.step.minutes * len(plan.stages))
        more = self._more_by_search(plan, speed)
        per_hour = task.hardware.dollars_per_hour
        note = (
            f"{len(plan.lesson.train)} examples, {options.epochs:g} epochs, about {tokens:,.0f} "
            f"tokens at {speed:.0f} a second ({whence})"
        )
        if seconds < tokens / speed:
            done = seconds * speed / tokens
            note += f"; ended after {seconds / 60:.0f} min, {done:.0%} of it"
        if more:
            note += f"; the search takes at most {more / 60:.0f} minutes more"
        seconds += more
        if len(plan.stages) > 1:
            note += f", in stages: {', '.join(stage.name for stage in plan.stages)}"
        return Estimate(seconds, None if per_hour is None else seconds * per_hour / 3600, 0, note)

    def _more_by_search(self, plan: _Plan, speed: float) -> float:
        """Seconds at most, if no training is stopped early and all take the most epochs."""
        if not self.step.searches:
            return 0.0
        one = next(stage.tokens for stage in plan.stages if stage.name == "answers") / speed
        if self.step.epochs is None:
            one *= MOST_EPOCHS
        if self.step.minutes is not None:
            one = min(one, 60 * self.step.minutes)
        trainings = math.inf if self.step.search is None else (self.step.search - 1) * one
        most = self.step.search_minutes
        return min(trainings, math.inf if most is None else 60 * most)

    def propose(self, task: Task, train: Sequence[Example], workshop: Workshop) -> Candidate:
        """The tuned model behind a short prompt."""
        plan = self._plan(task, train, workshop)
        workers = {} if self.step.workers is None else {"workers": self.step.workers}
        trainer: Trainer = look_up("trainer", self.step.trainer)(**workers)
        base, folder = self.base, _folder(self.base)
        done: list[tuple[Stage, TrainingJob, TrainedModel]] = []
        cautions: list[str] = []
        searched: Searched | None = None
        for stage in plan.stages:
            several = workshop if len(plan.stages) == 1 else telling(workshop, stage.name)
            try:
                job = stage.job(base, folder)
                if stage.name == "answers" and self.step.searches:
                    searched = search(self.step, job, trainer, several)
                    job = replace(job, options=searched.options)
                job, trained, retried = self._train(trainer, job, several)
            except MissingExtra as error:
                raise NotApplicable(error.message, hint=error.hint) from error
            done.append((stage, job, trained))
            cautions += [*retried, *trained.cautions]
            base, folder = trained.name, trained.folder / "model"
        seconds = sum(trained.seconds for _, _, trained in done)
        tokens = sum(trained.tokens for _, _, trained in done)
        if searched is not None:
            seconds, tokens = seconds + searched.seconds, tokens + searched.tokens
        per_hour = task.hardware.dollars_per_hour
        answers = next(job for stage, job, _ in done if stage.name == "answers")
        return Candidate(
            step=self.step.name,
            name=self._name(answers.options),
            solver=replace(plan.lesson.solver, model=base),
            changed=self._words(plan.chosen, done, searched),
            build_seconds=seconds,
            build_dollars=None if per_hour is None else seconds * per_hour / 3600,
            build_calls=0,
            build_tokens=tokens,
            learning=done[-1][2].learning,
            cautions=tuple(dict.fromkeys(cautions)),
            tried=() if searched is None else searched.tried,
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

    def _plan(self, task: Task, train: Sequence[Example], workshop: Workshop) -> _Plan:
        """What will be trained, from train alone; NotApplicable when it cannot be."""
        need_packages("fine-tuning", "torch", "peft", "transformers")
        solver = self._solver(task, workshop)
        lesson = make_lesson(self.base, solver, train, task, self.step.bounds)
        mean, longest = _tokens(lesson.solver, train, workshop)
        lengths = Lengths(len(lesson.train), mean, min(longest, self.step.max_length))
        chosen = choose(self.step, _folder(self.base), lengths, task.seed)
        stages = [self._answers(lesson, chosen.options, mean, workshop)]
        if self.step.domain is not None:
            stages.insert(0, domain_stage(self.step, task, chosen.options))
        if self.step.method == "preference":
            stages.append(preference_stage(self.step, task, solver, chosen.options, mean))
        return _Plan(lesson, chosen, tuple(stages))

    def _answers(
        self, lesson: Lesson, options: TrainingOptions, mean: float, workshop: Workshop
    ) -> Stage:
        def job(base: str, folder: Path) -> TrainingJob:
            sides = conversations(lesson, workshop)
            return TrainingJob(
                base,
                folder,
                *sides,
                options,
                self.step.threads,
                self.step.device,
                packing=self.step.packing,
            )

        tokens = mean * len(lesson.train) * options.epochs
        return Stage("answers", job, tokens, "answer token")

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

    def _words(
        self,
        chosen: Chosen,
        done: Sequence[tuple[Stage, TrainingJob, TrainedModel]],
        searched: Searched | None,
    ) -> str:
        """What was done, with every choice that was made for the user."""
        job = next(job for stage, job, _ in done if stage.name == "answers")
        words = (
            f"{self.base} tuned on {len(job.train)} train examples ({_how(job.options)}), asked "
            "with a short prompt and no demonstrations"
        )
        by_rule = [
            said
            for said in chosen.words
            if searched is None or not said.startswith(("learning rate", "epochs"))
        ]
        if by_rule:
            words += f"; chosen from the data: {', '.join(by_rule)}"
        if searched is not None:
            words += f"; {searched.words}"
        trained = next(trained for stage, _, trained in done if stage.name == "answers")
        return words + _computed(trained.facts) + stage_words(done)

    def _name(self, options: TrainingOptions) -> str:
        name: str = options.method
        if name in _RANKED:
            name = f"{name}-{options.rank}"
        if self.step.domain is not None:
            name = f"domain+{name}"
        return f"{name}+preferences" if self.step.method == "preference" else name


_RANKED = ("lora", "dora", "rslora", "qlora")


def _computed(facts: Mapping[str, Json]) -> str:
    """How a training was computed: in which numbers, and whether its rows were packed."""
    said = []
    numbers = facts.get("environment", {}).get("products_in")
    if numbers is not None:
        said.append(f"products in {numbers}")
    packing = facts.get("packing")
    if packing is not None and packing["used"]:
        padding = f"{packing['padding']:.0%} of the batches would be padding"
        said.append(f"rows packed into one sequence ({padding})")
    elif packing is not None:
        padding = f"{packing['padding']:.0%} of the batches is padding"
        said.append(f"rows not packed ({padding}): {packing['why']}")
    return f"; computed with {', '.join(said)}" if said else ""


def _how(options: TrainingOptions) -> str:
    if options.method in _RANKED:
        names = {"lora": "LoRA", "dora": "DoRA", "rslora": "rsLoRA", "qlora": "QLoRA"}
        return f"{names[options.method]} of rank {options.rank}"
    if options.method == "freeze":
        return f"its last {options.layers} layers"
    if options.method in ("prompt", "prefix"):
        return f"{options.method} tuning of {options.virtual_tokens} virtual tokens"
    return "all weights"


def _folder(model: str) -> Path:
    from ..models.local.weights import base_folder

    return base_folder(model.removeprefix("local:"))


def _can_constrain(folder: Path) -> bool:
    """Whether this model will run on the engine that can limit what is said."""
    from ..models.local.ir import supports

    return find_spec("openvino_genai") is not None and supports(folder)


def _tokens(
    solver: PromptSolver | CallingSolver, train: Sequence[Example], workshop: Workshop
) -> tuple[float, int]:
    """Tokens of an example with its answer: the mean, and the most of those counted."""
    model = workshop.model(solver.model)
    counted = [conversation(solver, example, workshop) for example in train[:_COUNTED]]
    tokens = [
        model.count_tokens((*messages, Message("assistant", answer)))
        for messages, answer in counted
    ]
    return sum(tokens) / len(tokens), max(tokens)


def _speed(base: str, method: Method, folder: Path, artifacts: Path) -> tuple[float, str]:
    """Tokens per second, and where the figure is from."""
    speeds = [
        facts["tokens"] / facts["seconds"]
        for facts in _earlier(artifacts)
        if facts["base"] == base and facts["options"]["method"] == method
    ]
    if speeds:
        return sorted(speeds)[len(speeds) // 2], "measured in earlier trainings of this run folder"
    bytes_of_weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    larger = max(0.1, bytes_of_weights / 2 / PARAMETERS_THEN)
    speed = on_this_processor(TOKENS_PER_SECOND) / larger
    return speed, "assumed: two CPU cores, scaled by the model's size"


def _earlier(artifacts: Path) -> Iterator[Mapping[str, Json]]:
    for path in artifacts.glob("*/training.json"):
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["seconds"] > 0 and facts["tokens"] > 0:
            yield facts
