"""The heads step: a small classifier on a frozen or contrastively tuned text encoder.

Everything is fitted on train, on this machine; no model is asked. A tuned encoder is a rung of its
own, so that its minutes are not spent once a plain one is confirmed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..core import Candidate, Estimate, Example, Task, Trial, Workshop
from ..encoders.running import encoder_files
from ..errors import ModelError, NotApplicable, StepladderError
from ..solvers.prompt import PromptSolver, render_input
from ..trainers.contrastive import CONTRASTIVE_OPTIONS, fit_contrastive
from ..trainers.heads import FittedHead, fit_joined, fit_nearest_vectors, fit_vectors
from ..trainers.labelled import of_task, read_labels
from .baseline import has_media

__all__ = ["Heads"]

Fit = Callable[[Task, Sequence[Example], Workshop], FittedHead]

_FITS: Mapping[str, tuple[Fit, str]] = {
    "nearest": (fit_nearest_vectors, "a vote of the train examples with the nearest vectors"),
    "linear": (fit_vectors, "logistic regression over the encoder's vectors"),
    "joined": (fit_joined, "logistic regression over words and the encoder's vectors"),
}
TUNED = "contrastive"
_NAMES = (*_FITS, TUNED)
CHARACTERS_PER_SECOND = 20_000  # read by the encoder on 2 cores
TOKENS_PER_SECOND = 1500.0  # learnt by the encoder on one core
CHARACTERS_PER_TOKEN = 4.0
_SECONDS_PER_CELL = {
    "nearest": 2e-6,
    "linear": 5e-5,
    "joined": 4e-4,
    TUNED: 5e-5,
}  # per example and label


@dataclass(frozen=True)
class Heads:
    """Proposes the classifiers named in `solvers`, cheapest to run first."""

    solvers: tuple[str, ...] = _NAMES
    name: str = field(default="heads", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "solvers", tuple(self.solvers))  # a task file gives a list
        if unknown := [solver for solver in self.solvers if solver not in _NAMES]:
            raise StepladderError(
                f"step 'heads' has no solver {unknown[0]!r}", hint=f"known: {', '.join(_NAMES)}"
            )

    @staticmethod
    def concerns(task: Task) -> bool:
        """Tasks whose answers are labels."""
        return of_task(task)

    def rungs(self, task: Task, workshop: Workshop) -> list[Heads]:
        """What is fitted in seconds first, and what is tuned in minutes only after it."""
        quick = tuple(name for name in self._wanted() if name != TUNED)
        if TUNED not in self.solvers or not quick:
            return [self]
        return [Heads(quick), Heads((TUNED,))]

    def estimate(self, task: Task, train: Sequence[Example], workshop: Workshop) -> Estimate:
        """Seconds of reading train once and fitting, assumed from runs on 2 cores; no dollars."""
        labelled = read_labels(task, _readable(train))
        characters = sum(len(render_input(example.input)) for example in train)
        cells = len(train) * len(labelled.labels)
        seconds = characters / CHARACTERS_PER_SECOND
        seconds += sum(_SECONDS_PER_CELL[name] for name in self._wanted()) * cells
        if TUNED in self.solvers:
            passes = 2 * CONTRASTIVE_OPTIONS.epochs  # each text once, and once as a partner
            seconds += passes * characters / CHARACTERS_PER_TOKEN / TOKENS_PER_SECOND
        note = f"fits {', '.join(self._wanted())} on a text encoder on this machine"
        return Estimate(seconds, 0.0, 0, note)

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
        read_labels(task, _readable(train))
        try:
            encoder_files(None)
        except ModelError as error:  # other steps may do without it
            raise NotApplicable(error.message, hint=error.hint) from error
        return self._fitted(task, train, workshop)

    def _fitted(
        self, task: Task, train: Sequence[Example], workshop: Workshop
    ) -> Iterator[Candidate]:
        for name in self._wanted():
            try:
                made = self._tuned if name == TUNED else self._fit
                yield made(name, task, train, workshop)
            except NotApplicable as reason:
                workshop.tell("left out", {"step": self.name, "name": name, "why": reason.message})

    def _fit(
        self, name: str, task: Task, train: Sequence[Example], workshop: Workshop
    ) -> Candidate:
        fit, changed = _FITS[name]
        began = time.perf_counter()
        fitted = fit(task, train, workshop)
        return Candidate(
            self.name,
            name,
            fitted.solver,
            f"{changed}; {fitted.chosen}; on folds of train: {fitted.calibration.words()}",
            time.perf_counter() - began,
            build_dollars=0.0,
            cautions=tuple(f"heads / {name}: {said}" for said in fitted.calibration.cautions()),
        )

    def _tuned(
        self, name: str, task: Task, train: Sequence[Example], workshop: Workshop
    ) -> Candidate:
        fitted = fit_contrastive(task, train, workshop)
        return Candidate(
            self.name,
            name,
            fitted.solver,
            "logistic regression over vectors of the encoder tuned so that texts of a label lie "
            f"together; on a held-out slice: {fitted.words}",
            fitted.seconds,
            build_tokens=fitted.tokens,
            learning=fitted.learning,
            cautions=tuple(f"heads / {name}: {said}" for said in fitted.cautions),
        )

    def _wanted(self) -> list[str]:
        return [name for name in _NAMES if name in self.solvers]


def _readable(train: Sequence[Example]) -> Sequence[Example]:
    if has_media(train):
        raise NotApplicable("a text encoder reads no images, sound or other files")
    return train
