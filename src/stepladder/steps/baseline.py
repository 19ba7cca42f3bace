"""The baseline step: what the task is worth without a language model. An honest floor.

Everything here is fitted on train alone and costs no calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..core import Candidate, Estimate, Example, Solver, Task, Trial, Workshop
from ..errors import NotApplicable, StepladderError
from ..solvers.dictionary import fit_dictionary
from ..solvers.linear import fit_linear
from ..solvers.majority import fit_majority
from ..solvers.nearest import fit_nearest
from ..solvers.prompt import PromptSolver

__all__ = ["Baseline", "check_solvers", "fit_each", "has_media"]

Fit = Callable[[Sequence[Example], Workshop], Solver]

_FITS: Mapping[str, tuple[Fit, str]] = {
    "majority": (lambda train, workshop: fit_majority(train), "the most frequent answer"),
    "dictionary": (fit_dictionary, "spans seen in train, looked up in the text"),
    "nearest": (fit_nearest, "the answer of the most alike train example"),
    "linear": (fit_linear, "logistic regression over words and letter groups"),
}
_SECONDS_PER_EXAMPLE = {"majority": 1e-5, "dictionary": 1e-3, "nearest": 1e-3, "linear": 4e-3}


@dataclass(frozen=True)
class Baseline:
    """Proposes the solvers named in `solvers` that fit the task's kind, cheapest to run first."""

    solvers: tuple[str, ...] = tuple(_FITS)
    name: str = field(default="baseline", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "solvers", tuple(self.solvers))  # a task file gives a list
        check_solvers(self.name, self.solvers, tuple(_FITS))

    def estimate(self, task: Task, train: Sequence[Example], workshop: Workshop) -> Estimate:
        """Seconds of fitting, assumed from runs on 2 cores; no calls, no dollars."""
        names = self._fitting(task, train)
        seconds = sum(_SECONDS_PER_EXAMPLE[name] for name in names) * len(train)
        return Estimate(seconds, 0.0, 0, f"fits {', '.join(names)} on this machine")

    def measured(self, task: Task, train: Sequence[Example]) -> list[PromptSolver]:
        """None: no model is asked."""
        return []

    def propose(
        self,
        task: Task,
        train: Sequence[Example],
        base: Trial | None,
        workshop: Workshop,
    ) -> Iterable[Candidate]:
        """One candidate per solver; one that finds nothing to learn is left out."""

        def fit_one(name: str) -> Candidate:
            fit, changed = _FITS[name]
            began = time.perf_counter()
            solver = fit(train, workshop)
            seconds = time.perf_counter() - began
            return Candidate(self.name, name, solver, changed, seconds, build_dollars=0.0)

        return fit_each(self.name, self._fitting(task, train), fit_one, workshop)

    def _fitting(self, task: Task, train: Sequence[Example]) -> list[str]:
        if not train:
            raise NotApplicable("there are no train examples to fit a baseline on")
        wanted = [name for name in _FITS if name in self.solvers]
        if has_media(train):
            wanted = [name for name in wanted if name == "majority"]
        if task.kind != "classification":
            wanted = [name for name in wanted if name != "linear"]
        if task.kind != "extraction":
            wanted = [name for name in wanted if name != "dictionary"]
        if not wanted:
            raise NotApplicable(
                f"none of {', '.join(self.solvers)} fits a task of kind {task.kind!r}"
            )
        return wanted


def check_solvers(step: str, named: Sequence[str], known: Sequence[str]) -> None:
    """Raise StepladderError where a task file names a solver that the step does not have."""
    if unknown := [solver for solver in named if solver not in known]:
        raise StepladderError(
            f"step {step!r} has no solver {unknown[0]!r}", hint=f"known: {', '.join(known)}"
        )


def fit_each(
    step: str, names: Sequence[str], fit: Callable[[str], Candidate], workshop: Workshop
) -> Iterator[Candidate]:
    """The candidate of each name; one that finds nothing to learn is left out, and that is told."""
    for name in names:
        try:
            candidate = fit(name)
        except NotApplicable as reason:
            workshop.tell("left out", {"step": step, "name": name, "why": reason.message})
            continue
        yield candidate


def has_media(train: Sequence[Example]) -> bool:
    """Whether any input holds something that is not text, which no baseline here can read."""
    return any(
        part.kind != "text"
        for example in train
        if isinstance(example.input, tuple)
        for message in example.input
        if not isinstance(message.content, str)
        for part in message.content
    )
