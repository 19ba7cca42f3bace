"""The dearer-model step: what was found on the first model, asked of the others of the task.

Climbed after prompts and demonstrations, so that the cheap model is brought as far as it goes
before a dearer one is paid for. Nothing is searched here: the prompt is moved as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from ..core import Candidate, Estimate, Example, Task, Trial, Usage, Workshop
from ..errors import MissingExtra, ModelError, NotApplicable
from ..solvers.calling import CallingSolver
from ..solvers.prompt import CONTENT_FREE, PromptSolver, calibrate
from .functions import calls_as_prompt, moved_calls, plain_calls
from .measure import Effort, can_score
from .prompt_variants import no_plain_prompts, plain_prompt
from .speed import dollars_per_request

__all__ = ["DearerModel", "OneModel"]

Asking = PromptSolver | CallingSolver


@dataclass(frozen=True)
class DearerModel:
    """Proposes the base's prompt and the plain one on every further model, the cheapest first.

    A climb takes its `rungs`, one per model, so that a dear model is not asked once a cheaper one
    is confirmed. A prompt whose labels were scored is moved so where the model can score them;
    elsewhere its words and demonstrations are, and the label is written.
    """

    name: str = field(default="dearer_model", init=False)

    def rungs(self, task: Task, workshop: Workshop) -> list[OneModel]:
        """One step per further model; none for a task with one model."""
        return [OneModel(model) for model in _by_price(task, workshop)]

    def estimate(self, task: Task, train: Sequence[Example], workshop: Workshop) -> Estimate:
        """No calls: moving a prompt is free. What a request will cost is in the note."""
        each = [one.estimate(task, train, workshop) for one in self._applied(task, workshop)]
        return replace(each[0], note="; ".join(one.note for one in each))

    def propose(
        self,
        task: Task,
        train: Sequence[Example],
        base: Trial | None,
        workshop: Workshop,
    ) -> Iterable[Candidate]:
        """For each further model the plain prompt and the base's, where that is another one."""
        rungs = self._applied(task, workshop)
        return [one for rung in rungs for one in rung.propose(task, train, base, workshop)]

    def _applied(self, task: Task, workshop: Workshop) -> list[OneModel]:
        rungs = self.rungs(task, workshop)
        if not rungs:
            raise NotApplicable(
                "the task names one model", hint="add dearer ones to models = [...] in task.toml"
            )
        return rungs


@dataclass(frozen=True)
class OneModel:
    """The rung of one further model."""

    model: str
    name: str = field(default="dearer_model", init=False)

    def estimate(self, task: Task, train: Sequence[Example], workshop: Workshop) -> Estimate:
        """No calls; the note says what a request to the model will cost."""
        price = _per_thousand(task, self.model, train, workshop)
        return Estimate(0.0, 0.0, 0, f"{self.model}, asked on dev alone: {price}")

    def measured(self, task: Task, train: Sequence[Example]) -> list[PromptSolver | None]:
        """What dev will measure at most, as if the prompt that is moved were the plain one."""
        return [_typical_prompt(task, self.model, train)] * 2

    def propose(
        self,
        task: Task,
        train: Sequence[Example],
        base: Trial | None,
        workshop: Workshop,
    ) -> Iterable[Candidate]:
        """The plain prompt and the base's on this model."""
        solver = base.candidate.solver if base else None
        found = solver if isinstance(solver, Asking) else None
        return list(_on(task, self.model, found, _whence(base), workshop))


def _whence(base: Trial | None) -> str:
    """The name of the base's prompt, without the model that a rung before this one added."""
    if base is None:
        return ""
    one = base.candidate
    return one.name.rpartition(" on ")[0] if one.step == "dearer_model" else one.name


def _on(
    task: Task, model: str, found: Asking | None, whence: str, workshop: Workshop
) -> Iterator[Candidate]:
    """The candidates of one model."""
    short = _short(model, task.models)
    plain = plain_calls(task, model, workshop) or plain_prompt(task, model)
    yield Candidate(
        "dearer_model",
        f"plain on {short}",
        plain,
        f"the task's own words, asked of {model}",
        build_dollars=0.0,
    )
    if found is None or found.model == model:
        return
    try:
        moved, effort, how = _moved(found, model, workshop)
    except (MissingExtra, ModelError) as reason:
        workshop.tell(
            "left out",
            {"step": "dearer_model", "name": f"{whence} on {short}", "why": reason.message},
        )
        return
    if moved != plain:
        yield Candidate(
            "dearer_model",
            f"{whence} on {short}",
            moved,
            f"the prompt {whence!r} of {found.model}, asked of {model}{how}",
            build_seconds=effort.seconds,
            build_dollars=effort.dollars,
            build_calls=effort.calls,
        )


def _moved(found: Asking, model: str, workshop: Workshop) -> tuple[Asking, Effort, str]:
    """The prompt on another model, what moving it took, and what had to be changed."""
    if isinstance(found, CallingSolver):
        moved = moved_calls(found, model)
        own = "; calls in its own form" if moved.form != found.form else ""
        return moved, Effort(), own
    solver = replace(found, model=model)
    if found.scoring == "none":
        return solver, Effort(), ""
    if not can_score(workshop.model(model)):
        written = replace(solver, scoring="none", label_priors=(), priors_for="")
        return written, Effort(), "; the label is written, since this model cannot score labels"
    if found.scoring == "labels":
        return solver, Effort(), ""
    calibrated = calibrate(solver, workshop)
    # its few calls are not measured one by one, so their dollars are unknown
    return calibrated, Effort(calls=len(CONTENT_FREE), dollars=None), "; calibrated anew"


def _by_price(task: Task, workshop: Workshop) -> list[str]:
    """The models after the first, the cheapest first where all their prices are known."""
    models = list(dict.fromkeys(task.models))[1:]
    prices = {
        model: None if model.startswith("local:") else workshop.price([_typical(model)])
        for model in models
    }
    if None in prices.values():
        return models  # in the task's own order, which is to be the cheapest first
    return sorted(models, key=lambda model: prices[model] or 0.0)


def _short(model: str, models: Sequence[str]) -> str:
    """The name without its provider, where that says which of the task's models is meant."""
    bare = model.partition(":")[2]
    alike = [one for one in set(models) if one.partition(":")[2] == bare]
    return bare if len(alike) == 1 else model


def _typical(model: str) -> Usage:
    """A call by which models are put in order; dearer ones are so in and out alike."""
    return Usage(
        model,
        input_tokens=1000,
        output_tokens=100,
        cached_tokens=0,
        thinking_tokens=0,
        audio_tokens=0,
    )


def _per_thousand(task: Task, model: str, train: Sequence[Example], workshop: Workshop) -> str:
    if model.startswith("local:") or not train:
        return "by machine time"
    plain = _typical_prompt(task, model, train)
    price = None if plain is None else dollars_per_request(task, plain, train, workshop)
    if plain is None or price is None:
        return "unknown dollars"
    thinking = ", without thinking" if plain.thinking_tokens is None else ""
    return f"about ${1000 * price:.3g} per 1,000 requests{thinking}"


def _typical_prompt(task: Task, model: str, train: Sequence[Example]) -> PromptSolver | None:
    if no_plain_prompts(task) is not None:
        return calls_as_prompt(task, model, train)
    return plain_prompt(task, model)
