"""The encoder step: a small text encoder fine-tuned on train, for labels or for spans.

It trains on this machine, for seconds to minutes, and asks no model. What is tuned and how is in
`trainers/encoder.py` (labels) and `trainers/tagger.py` (extraction).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from ..core import Candidate, Estimate, Example, Task, Trial, Workshop
from ..encoders.running import encoder_files
from ..errors import ModelError, NotApplicable, StepladderError
from ..registry import need
from ..solvers.prompt import PromptSolver, render_input
from ..trainers import TrainingOptions
from ..trainers.alignment import align
from ..trainers.encoder import ENCODER_OPTIONS, fit_encoder
from ..trainers.encoder_jobs import FittedEncoder
from ..trainers.labelled import of_task, read_labels
from ..trainers.tagger import TAGGER_OPTIONS, fit_tagger
from .baseline import has_media

__all__ = ["Encoder"]

Fit = Callable[[Task, Sequence[Example], Workshop, TrainingOptions], FittedEncoder]

LEAST = 20  # train examples below which there is nothing to hold out
CHARACTERS_PER_TOKEN = 4.0
TOKENS_PER_SECOND = 1500.0  # learnt on one core with bfloat16 products


@dataclass(frozen=True)
class Encoder:
    """Proposes one tuned encoder; training stops by itself after at most `epochs`, or `minutes`."""

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
        tokens = sum(len(render_input(e.input)) for e in train) / CHARACTERS_PER_TOKEN
        seconds = epochs * tokens / TOKENS_PER_SECOND
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
        try:
            encoder_files(None)
        except ModelError as error:  # other steps may do without it
            raise NotApplicable(error.message, hint=error.hint) from error
        name, fit, usual = self._kind(task, train)
        fitted = fit(task, train, workshop, self._options(usual))
        changed = f"a text encoder tuned on train; on a held-out slice: {fitted.words}"
        return [
            Candidate(
                self.name,
                name,
                fitted.solver,
                changed,
                fitted.seconds,
                build_tokens=fitted.tokens,
                learning=fitted.learning,
                cautions=tuple(f"encoder / {name}: {said}" for said in fitted.cautions),
            )
        ]

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
        if has_media(train):
            raise NotApplicable("a text encoder reads no images, sound or other files")
        if of_task(task):
            read_labels(task, train)
            kind: tuple[str, Fit, TrainingOptions] = ("labels", fit_encoder, ENCODER_OPTIONS)
        elif task.kind == "extraction" and train:
            align(train)
            kind = ("spans", fit_tagger, TAGGER_OPTIONS)
        else:
            raise NotApplicable(f"a task of kind {task.kind!r} has no labels or spans to learn")
        if len(train) < LEAST:
            raise NotApplicable(
                f"{len(train)} train examples are too few to tune an encoder on",
                hint=f"label at least {LEAST}; a head on the encoder as it is needs fewer",
            )
        return kind
