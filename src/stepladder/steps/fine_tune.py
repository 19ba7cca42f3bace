"""The fine-tune step: train a model on train, and ask it with a short prompt.

This file decides which of the task's models are tuned, one candidate for each, and with which
options. Local weights are trained on this machine (`fine_tune_local.py`), hosted models by their
services (`fine_tune_managed.py`); what they learn is the same (`fine_tune_plan.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from ..candidate_costs import or_nan
from ..core import Candidate, Estimate, Example, Task, Trial, Workshop
from ..cost import machine_dollars
from ..dated import is_tuned
from ..errors import MissingExtra, ModelError, NotApplicable, StepladderError
from ..registry import known
from ..solvers.prompt import PromptSolver
from ..trainers import Method
from ..trainers.tuning_data import PREFERENCES, read_preferences
from .fine_tune_domain import read_domain
from .fine_tune_local import LocalRoute
from .fine_tune_managed import ManagedRoute
from .fine_tune_plan import Bounds, check_enough, short_prompt
from .prompt_variants import plain_prompt
from .speed import yet_to_be_tuned

__all__ = ["FineTune"]

METHODS = (*get_args(Method), "preference")
Route = LocalRoute | ManagedRoute
Left = list[tuple[str, StepladderError]]  # models that are not tuned, and why


@dataclass(frozen=True)
class FineTune:
    """Trains `model` on train; unnamed, the task's first local model and each that can be tuned.

    What is None is chosen, for local weights, and told: the `method` so that it fits into memory,
    `rank` and `epochs` from how many examples there are, `tokens_per_batch` so that a batch holds
    about eight of them, `learning_rate` by method, `layers` ("freeze") and `virtual_tokens`
    ("prompt", "prefix"), `checkpointing` where memory is short, `packing` of a batch's rows into
    one sequence where that gains time; for a hosted model the service chooses. `domain` is a file
    or folder of raw text that a local model reads first, `domain_epochs` times. Method
    "preference" learns from pairs of answers, a local model after the examples and with DPO's
    `beta`. `held_out` is the share of train that decides when to stop, and is not trained on.
    `minutes` bounds a local training and `examples` how many are trained on. `instructions` is the
    prompt at serving time (the first sentence of the task's if None). A task with fewer than
    `least` examples is not tuned. `cancel_on_interrupt` ends a job at a service on Ctrl-C,
    `retry_failed` pays for another one where it failed. With `trainer` "ray" a local model is
    trained by so many `workers` of a cluster. `search` trainings, or as many as begin within
    `search_minutes`, look for a better rate, rank and epochs where these are left open.
    """

    method: Method | Literal["preference"] | None = None
    model: str | None = None
    rank: int | None = None
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
    workers: int | None = None
    learning_rate_multiplier: float | None = None
    adapter_size: int | None = None
    batch_size: int | None = None
    cancel_on_interrupt: bool = False
    retry_failed: bool = False
    layers: int | None = None
    virtual_tokens: int | None = None
    checkpointing: bool | None = None
    packing: bool | None = None
    beta: float = 0.1
    domain: str | None = None
    domain_epochs: float = 1.0
    search: int | None = None
    search_minutes: float | None = None
    name: str = field(default="fine_tune", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "target_modules", tuple(self.target_modules))
        if self.method is not None and self.method not in METHODS:
            raise StepladderError(
                f"step 'fine_tune' has no method {self.method!r}",
                hint=f"one of {', '.join(METHODS)}; for a hosted model only the last",
            )
        if self.workers is not None and self.trainer != "ray":
            raise StepladderError(
                f"step 'fine_tune': workers = {self.workers} is for a cluster, and trainer is "
                f"{self.trainer!r}",
                hint='set trainer = "ray", or leave workers out',
            )
        for option in _POSITIVE:
            value = getattr(self, option)
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
        if self.searches and not self.held_out:
            raise StepladderError(
                "step 'fine_tune': a search is judged on a held-out slice of train, and "
                "held_out = 0",
                hint="leave held_out at 0.1, or the search out",
            )

    @property
    def searches(self) -> bool:
        """Whether options are searched and not chosen by rule."""
        return self.search is not None or self.search_minutes is not None

    @property
    def local_method(self) -> Method | None:
        """How a local model learns, where it was said; preferences are learned by LoRA."""
        return "lora" if self.method == "preference" else self.method

    @property
    def bounds(self) -> Bounds:
        """How much of train is used."""
        return Bounds(self.held_out, self.least, self.examples)

    def rungs(self, task: Task, workshop: Workshop) -> list[FineTune]:
        """One step for each model that can be tuned, in the task's order: the cheapest first.

        A climb takes these, so that a dear job is not paid for once a cheaper model is confirmed,
        and each is held to the budget by itself. Where there is none, this step says why.
        """
        routes, _ = self._routes(task, workshop)
        return [replace(self, model=route.base) for route in routes]

    def check(self, task: Task) -> None:
        """Raise TaskError before any step begins, not when this one's turn comes."""
        if self.method == "preference":
            read_preferences(task.folder / PREFERENCES)
        if self.domain is not None:
            read_domain(task.folder / self.domain, task.seed)

    def estimate(self, task: Task, train: Sequence[Example], workshop: Workshop) -> Estimate:
        """What tuning all the models will take; unknown where it is of one of them."""
        routes, left = self._enough(task, train, workshop)
        found = []
        for route in routes:
            try:
                found.append(route.estimate(task, train, workshop))
            except (NotApplicable, MissingExtra) as reason:
                left.append((route.base, reason))
            except ModelError as reason:
                if isinstance(route, LocalRoute):
                    raise
                left.append((route.base, reason))
        if not found:
            raise _nothing(left)
        return found[0] if len(found) == 1 else _together(found, task, workshop)

    def measured(self, task: Task, train: Sequence[Example]) -> list[PromptSolver | None]:
        """One tuned model; unknown where it is asked with functions, or no model is named yet."""
        name = self.model
        if name is None or name not in task.models:
            return [None]
        if _is_local(name):
            return [plain_prompt(task, name)]
        if "functions" in task.steps:
            return [None]
        solver = short_prompt(task, name, self.instructions)
        return [replace(solver, model=yet_to_be_tuned(name), thinking_tokens=0)]

    def propose(
        self,
        task: Task,
        train: Sequence[Example],
        base: Trial | None,
        workshop: Workshop,
    ) -> Iterable[Candidate]:
        """One candidate for each model: the tuned one behind a short prompt."""
        routes, left = self._enough(task, train, workshop)
        found: list[Candidate] = []
        lost: Left = []  # not for what they are, but for what happened
        for route in routes:
            try:
                found.append(route.propose(task, train, workshop))
            except (NotApplicable, MissingExtra) as reason:
                left.append((route.base, reason))
            except ModelError as reason:
                if isinstance(route, LocalRoute):
                    raise
                lost.append((route.base, reason))
        if not found:
            raise _nothing([*lost, *left])
        for model, why in (*lost, *left):
            workshop.tell("left out", {"step": self.name, "name": model, "why": why.message})
        cautions = tuple(f"{model} was not tuned: {why.message}" for model, why in lost)
        return [replace(one, cautions=(*one.cautions, *cautions)) for one in found]

    def _enough(
        self, task: Task, train: Sequence[Example], workshop: Workshop
    ) -> tuple[list[Route], Left]:
        """`_routes`; NotApplicable where there are none, or too few examples."""
        routes, left = self._routes(task, workshop)
        if not routes:
            raise _nothing(left)
        check_enough(train, self.bounds)
        return routes, left

    def _routes(self, task: Task, workshop: Workshop) -> tuple[list[Route], Left]:
        """How each model will be tuned, in the task's order, and those that will not be."""
        local = next((model for model in task.models if _is_local(model)), None)
        asked = (
            [self.model]
            if self.model is not None
            else [model for model in task.models if model == local or not _is_local(model)]
        )
        routes: list[Route] = []
        left: Left = []
        for model in dict.fromkeys(asked):
            try:
                routes.append(self._route(model, workshop))
            except NotApplicable as reason:
                left.append((model, reason))
        return routes, left

    def _route(self, model: str, workshop: Workshop) -> Route:
        """The way to tune this model; NotApplicable when there is none."""
        if _is_local(model):
            return LocalRoute(self, model)
        provider = model.partition(":")[0]
        settings = workshop.settings(provider)
        limits = None if settings is None else settings.catalogue.limits(model)
        if is_tuned(model):
            raise NotApplicable(f"{model!r} is tuned already", hint="name the model under it")
        if limits is None or provider not in known("trainer"):
            raise NotApplicable(
                f"{model!r} cannot be tuned by its service, as far as is known",
                hint=_INSTEAD.get(provider, "`stepladder models` says which models can be tuned"),
            )
        return ManagedRoute(self, model, settings, limits)


_POSITIVE = (
    "rank", "alpha", "learning_rate", "epochs", "tokens_per_batch", "patience", "minutes",
    "examples", "max_length", "learning_rate_multiplier", "adapter_size", "batch_size", "layers",
    "virtual_tokens", "beta", "domain_epochs", "workers", "search",
    "search_minutes",
)  # fmt: skip


_INSTEAD = {"gemini": "Gemini is tuned on Google Cloud only: name a model as 'vertex:...'"}


def _is_local(model: str) -> bool:
    return model.startswith("local:")


def _nothing(left: Left) -> NotApplicable:
    """Why no model can be tuned."""
    if not left:
        return NotApplicable(
            "the task names no model that can be tuned",
            hint="add one to models = [...], or set model in [steps.fine_tune]",
        )
    hints = dict.fromkeys(reason.hint for _, reason in left if reason.hint)
    return NotApplicable("; ".join(reason.message for _, reason in left), hint="\n  ".join(hints))


def _together(found: Sequence[Estimate], task: Task, workshop: Workshop) -> Estimate:
    """The sum; a figure that is unknown of one is unknown of all.

    Where dollars are unknown, so are the seconds: else a climb would price the step by its seconds.
    """
    settings = workshop.settings("local")
    dollars, seconds = 0.0, 0.0
    for one in found:
        seconds += one.seconds or 0.0
        if one.dollars is not None:
            dollars += one.dollars
        elif one.seconds is not None and settings is not None:
            dollars += or_nan(machine_dollars(one.seconds, task.hardware, settings.prices).dollars)
        else:
            dollars = math.nan
    known_dollars = None if math.isnan(dollars) else dollars
    return Estimate(
        seconds=None if known_dollars is None else seconds or None,
        dollars=known_dollars,
        calls=sum(one.calls for one in found),
        note="; ".join(one.note for one in found),
        cure="; ".join(dict.fromkeys(one.cure for one in found if one.cure)),
    )
