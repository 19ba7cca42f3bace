"""The encoder step: a small text encoder fine-tuned on train, for labels or for spans.

It trains on this machine, for seconds to minutes, and asks no model. What is tuned and how is in
`trainers/encoder.py` (labels) and `trainers/tagger.py` (extraction).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from ..core import Candidate, Estimate, Example, Task, Trial, Workshop
from ..errors import NotApplicable, StepladderError
from ..registry import need
from ..solvers.prompt import PromptSolver
from ..trainers import TrainingOptions
from ..trainers.alignment import align
from ..trainers.encoder import ENCODER_OPTIONS, fit_encoder
from ..trainers.encoder_jobs import FittedEncoder
from ..trainers.labelled import of_task, read_labels
from ..trainers.tagger import fit_tagger, tagger_options
from .tuned_encoder import characters_of, check_readable, need_encoder, seconds_to_tune, tuned

__all__ = ["Encoder"]

Fit = Callable[[Task, Sequence[Example], Workshop, TrainingOptions], FittedEncoder]

LEAST = 20  # train examples below which there is nothing to hold out


@dataclass(frozen=True)
class Encoder:
    """Proposes one tuned encoder, trained for at most `epochs`, or `minutes`.

    Of labels the training stops when the held-out loss does no longer fall; spans are learnt to
    the end.
    """

    epochs: float | None = None
    learning_rate: float | None = None
    minutes: float | None = None
    name: str = field(default="encoder", init=False)

    def __post_init__(self) -> None:
        for option in ("epochs", "learning_rate", "minutes"):
            value = getattr(self, option)
            if value is not None and not 0 < value < float("inf"):
                raise StepladderError(
                    f"step 'encoder' cannot train with {option} = {value!r}",
                    hint=f"{option} is a number above 0",
                )

    @staticmethod
    def concerns(task: Task) -> bool:
        """Tasks whose answers are labels, or JSON that may be copied from the text."""
        return of_task(task) or task.kind == "extraction"

    def estimate(self, task: Task, train: Sequence[Example], workshop: Workshop) -> Estimate:
        """Seconds of all epochs, assumed from runs on 2 cores; dollars are the machine's."""
        _, _, usual = self._kind(task, train)
        epochs = self.epochs or usual.epochs
        seconds = seconds_to_tune(characters_of(train), epochs)
        if self.minutes is not None:
            seconds = min(seconds, 60 * self.minutes)
        note = f"tunes a text encoder for at most {epochs:g} epochs on this machine"
        return Estimate(seconds, None, 0, note)

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
        """The one candidate."""
        need("torch", extra="train", what="tuning a text encoder")
        need_encoder()
        name, fit, usual = self._kind(task, train)
        fitted = fit(task, train, workshop, self._options(usual))
        return [tuned(self.name, name, fitted, "a text encoder tuned on train")]

    def _options(self, usual: TrainingOptions) -> TrainingOptions:
        return replace(
            usual,
            epochs=self.epochs or usual.epochs,
            learning_rate=self.learning_rate or usual.learning_rate,
            max_seconds=None if self.minutes is None else 60 * self.minutes,
        )

    def _kind(self, task: Task, train: Sequence[Example]) -> tuple[str, Fit, TrainingOptions]:
        """The candidate's name, what fits it, and how that usually trains.

        Raises:
            NotApplicable: answers are neither labels nor copied from the text.
        """
        check_readable(train)
        if of_task(task):
            read_labels(task, train)
            kind: tuple[str, Fit, TrainingOptions] = ("labels", fit_encoder, ENCODER_OPTIONS)
        elif task.kind == "extraction" and train:
            align(train)
            kind = ("spans", fit_tagger, tagger_options(len(train)))
        else:
            raise NotApplicable(f"a task of kind {task.kind!r} has no labels or spans to learn")
        if len(train) < LEAST:
            raise NotApplicable(
                f"{len(train)} train examples are too few to tune an encoder on",
                hint=f"label at least {LEAST}; a head on the encoder as it is needs fewer",
            )
        return kind
