"""The heads step: a small classifier on a frozen or contrastively tuned text encoder.

Everything is fitted on train, on this machine; no model is asked. A tuned encoder is a rung of its
own, so that its minutes are not spent once a plain one is confirmed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..core import Candidate, Estimate, Example, Task, Trial, Workshop
from ..errors import StepladderError
from ..solvers.prompt import PromptSolver
from ..trainers.contrastive import CONTRASTIVE_OPTIONS, fit_contrastive, pairs_of
from ..trainers.heads import FittedHead, fit_joined, fit_nearest_vectors, fit_vectors
from ..trainers.labelled import of_task, read_labels
from .baseline import check_solvers, fit_each
from .tuned_encoder import characters_of, check_readable, need_encoder, seconds_to_tune, tuned

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
_SECONDS_PER_CELL = {
    "nearest": 2e-6,
    "linear": 5e-5,
    "joined": 4e-4,
    TUNED: 5e-5,
}  # per example and label


@dataclass(frozen=True)
class Heads:
    """Proposes the classifiers named in `solvers`, cheapest to run first.

    `minutes` bounds the contrastive tuning; the others are fitted in seconds.
    """

    solvers: tuple[str, ...] = _NAMES
    minutes: float | None = None
    name: str = field(default="heads", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "solvers", tuple(self.solvers))  # a task file gives a list
        check_solvers(self.name, self.solvers, _NAMES)
        if self.minutes is not None and not 0 < self.minutes < float("inf"):
            raise StepladderError(
                f"step 'heads' cannot tune an encoder with minutes = {self.minutes!r}",
                hint="minutes is a number above 0",
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
        return [replace(self, solvers=quick), replace(self, solvers=(TUNED,))]

    def estimate(self, task: Task, train: Sequence[Example], workshop: Workshop) -> Estimate:
        """Seconds of reading train once and fitting, assumed from runs on 2 cores; no dollars."""
        check_readable(train)
        labelled = read_labels(task, train)
        characters = characters_of(train)
        cells = len(train) * len(labelled.labels)
        seconds = characters / CHARACTERS_PER_SECOND
        seconds += sum(_SECONDS_PER_CELL[name] for name in self._wanted()) * cells
        if TUNED in self.solvers:
            pairs = pairs_of(len(train)) / max(1, len(train))
            passes = 2 * CONTRASTIVE_OPTIONS.epochs * pairs  # a text and its partner
            tuning = seconds_to_tune(characters, passes)
            seconds += tuning if self.minutes is None else min(tuning, 60 * self.minutes)
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
        check_readable(train)
        read_labels(task, train)
        need_encoder()

        def fit(name: str) -> Candidate:
            made = self._tuned if name == TUNED else self._fit
            return made(name, task, train, workshop)

        return fit_each(self.name, self._wanted(), fit, workshop)

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
        changed = (
            "logistic regression over vectors of the encoder tuned so that texts of a label lie "
            "together"
        )
        bound = None if self.minutes is None else 60 * self.minutes
        options = replace(CONTRASTIVE_OPTIONS, max_seconds=bound)
        return tuned(self.name, name, fit_contrastive(task, train, workshop, options), changed)

    def _wanted(self) -> list[str]:
        return [name for name in _NAMES if name in self.solvers]
