"""Learning rate, rank and epochs of a local training, searched on train alone with Optuna.

What is tried is a training like any other, judged by its loss on the held-out slice of train; one
that falls behind is stopped early (successive halving, Li and others, 2018), and where to try next
is guessed from what was tried (TPE). The automatic choice is tried first, so that a search can only
be worse than none by chance. What was tried is kept beside the models it made: killed at any
moment, the same search goes on, and a finished one is not repeated.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import Json, Tell, Tried, Workshop
from ..errors import ModelError
from ..registry import need
from ..trainers import TrainedModel, Trainer, TrainingJob, TrainingOptions, job_hash
from ..trainers.jobs import alone

if TYPE_CHECKING:
    from .fine_tune import FineTune

__all__ = ["MOST_EPOCHS", "Searched", "search"]

SLOWER, FASTER = 8.0, 4.0  # the learning rate is searched from an eighth to four times its default
RANKS = (8, 16, 32, 64)
EPOCHS = (0.5, 1.0, 2.0)  # times the automatic choice
MOST_EPOCHS = max(EPOCHS)
THIRD = 3  # of the trainings that come to a rung, one in so many goes on
RUNGS = 9  # the first is after a ninth of the automatic epochs, the second after a third
GUESSED_FROM = 4  # trainings; before there are so many the next is drawn at random
MOST = 100  # trainings, however short they are
RANKED = ("lora", "dora", "rslora", "qlora")


@dataclass(frozen=True)
class Searched:
    """The best options, and what finding them took beside the training that has them.

    `tried` is everything that was trained, as a table for the report; `words` says what was chosen.
    """

    options: TrainingOptions
    seconds: float
    tokens: int
    tried: tuple[Tried, ...]
    words: str


class _Stopped(Exception):
    """Why this training is not worth going on with."""


def search(step: FineTune, job: TrainingJob, trainer: Trainer, workshop: Workshop) -> Searched:
    """The best options for this job among those that its user left open.

    Raises MissingExtra without optuna, and what training raises except that it diverged.
    """
    optuna = need("optuna", extra="search", what="searching for options of a training")
    space = _space(step, job.options)
    name = f"search-{_hash([job_hash(job), sorted(map(str, space.items()))])}"
    folder = workshop.artifacts / name
    folder.mkdir(parents=True, exist_ok=True)
    with alone(workshop.artifacts, name, workshop.tell), _quiet(optuna):
        study = _study(optuna, folder / "study.jsonl", job.options)
        _go_on(optuna, study, _first(space, job.options))
        while space and _more(study, step):
            study.sampler = _sampler(optuna, job.options.seed, len(study.trials))
            trial = study.ask(space)
            _Try(study, trial, job, step).run(trainer, workshop)
        return _searched(study, job, step)


# --- what is searched ---------------------------------------------------------------------------


def _space(step: FineTune, options: TrainingOptions) -> dict[str, Any]:
    """What the user left open; the automatic choice lies inside."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    space: dict[str, Any] = {}
    rate = options.learning_rate
    if step.learning_rate is None:
        space["learning_rate"] = FloatDistribution(rate / SLOWER, rate * FASTER, log=True)
    if step.rank is None and options.method in RANKED:
        space["rank"] = CategoricalDistribution(sorted({*RANKS, options.rank}))
    if step.epochs is None:
        space["epochs"] = CategoricalDistribution([options.epochs * times for times in EPOCHS])
    return space


def _first(space: Mapping[str, Any], options: TrainingOptions) -> dict[str, Json]:
    return {name: getattr(options, name) for name in space}


def _with(step: FineTune, options: TrainingOptions, params: Mapping[str, Any]) -> TrainingOptions:
    changed = replace(options, **params)
    return replace(changed, alpha=step.alpha or 2 * changed.rank)


# --- the study ----------------------------------------------------------------------------------


def _study(optuna: Any, file: Path, options: TrainingOptions) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    _mend(file)
    storage = JournalStorage(JournalFileBackend(str(file), JournalFileOpenLock(str(file))))
    first = max(1, round(100 * options.epochs / RUNGS))
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=THIRD)
    return optuna.create_study(
        storage=storage, study_name="search", load_if_exists=True, direction="minimize",
        pruner=pruner,
    )  # fmt: skip


def _mend(file: Path) -> None:
    """Away with what a killed process left: its lock, since `alone` is ours, and half a line."""
    Path(f"{file}.lock").unlink(missing_ok=True)
    if file.is_file():
        written = file.read_bytes()
        whole = written.rfind(b"\n") + 1
        if whole < len(written):
            os.truncate(file, whole)


def _sampler(optuna: Any, seed: int, number: int) -> Any:
    """A sampler whose next guess depends on what was tried alone, not on who was killed when."""
    drawn = int.from_bytes(hashlib.sha256(f"{seed} {number}".encode()).digest()[:4], "big")
    return optuna.samplers.TPESampler(seed=drawn, n_startup_trials=GUESSED_FROM)


def _go_on(optuna: Any, study: Any, first: Mapping[str, Json]) -> None:
    """Begin by the automatic choice, or by what a killed process was at."""
    states = optuna.trial.TrialState
    for trial in study.get_trials(deepcopy=False, states=(states.RUNNING,)):
        study.tell(trial.number, state=states.FAIL)
        study.enqueue_trial(dict(trial.params), user_attrs=dict(trial.user_attrs))
    if not study.trials:
        study.enqueue_trial(dict(first))


def _ended(study: Any) -> list[Any]:
    """The trainings that came to an end, one way or another; not those that a kill cut off."""
    return [trial for trial in study.get_trials(deepcopy=False) if "end" in trial.user_attrs]


def _more(study: Any, step: FineTune) -> bool:
    ended = _ended(study)
    if not ended:
        return True
    most = MOST if step.search is None else step.search
    return len(ended) < most and _spent(ended) < _allowed(step)


def _spent(trials: list[Any]) -> float:
    return math.fsum(trial.user_attrs.get("seconds", 0.0) for trial in trials)


def _allowed(step: FineTune) -> float:
    return math.inf if step.search_minutes is None else 60 * step.search_minutes


# --- one training -------------------------------------------------------------------------------


@dataclass
class _Try:
    """One training under the eye of the pruner."""

    study: Any
    trial: Any
    job: TrainingJob
    step: FineTune
    began: float = field(default_factory=time.monotonic)
    seen: float | None = None
    before: float = 0.0  # seconds that a killed process spent on it
    left: float = math.inf

    def run(self, trainer: Trainer, workshop: Workshop) -> None:
        """Train, and write down how it ended."""
        from optuna.trial import TrialState

        options = _with(self.step, self.job.options, self.trial.params)
        job = replace(self.job, options=options)
        self.before = self.trial.user_attrs.get("seconds", 0.0)
        ended = _ended(self.study)
        # the automatic choice is always trained to its end: it is what there would be without us
        self.left = _allowed(self.step) - _spent(ended) if ended else math.inf
        try:
            trained = trainer.train(job, workshop.artifacts, self._watched(workshop.tell))
        except _Stopped as stopped:
            self._end(str(stopped), self._seconds())
            self.study.tell(self.trial, state=TrialState.PRUNED)
            _forget(job, workshop)
        except ModelError as error:
            if "diverged" not in error.message:
                raise
            self._end("diverged", self._seconds())
            self.study.tell(self.trial, state=TrialState.FAIL)
        else:
            self.trial.set_user_attr("tokens", trained.tokens)
            self._end("trained", trained.seconds)
            self.study.tell(self.trial, _loss(trained))

    def _watched(self, tell: Tell) -> Tell:
        def told(event: str, fields: Mapping[str, Json]) -> None:
            tell(event, {**fields, "trial": self.trial.number + 1})
            if event == "training" and fields.get("held_out_loss") is not None:
                self._look(fields)

        return told

    def _look(self, fields: Mapping[str, Json]) -> None:
        loss, before = float(fields["held_out_loss"]), self.seen
        self.seen = loss
        if before is None or before == loss:  # told anew, or that of the untrained model
            return
        self.trial.set_user_attr("seconds", self._seconds())
        self.trial.set_user_attr("share", fields["step"] / fields["steps"])
        self.trial.set_user_attr("loss", loss)
        self.trial.set_user_attr("tokens", self._tokens(fields))
        self.trial.report(loss, max(1, round(100 * float(fields["epoch"]))))
        if self._seconds() - self.before > self.left:
            raise _Stopped("the time of the search was over")
        if self.trial.should_prune():
            raise _Stopped("stopped early")

    def _tokens(self, fields: Mapping[str, Json]) -> int:
        """Tokens that went through this training so far."""
        return round(float(fields["tokens_per_second"]) * self._seconds())

    def _seconds(self) -> float:
        return float(self.before + time.monotonic() - self.began)

    def _end(self, how: str, seconds: float) -> None:
        self.trial.set_user_attr("seconds", seconds)
        self.trial.set_user_attr("end", how)


def _forget(job: TrainingJob, workshop: Workshop) -> None:
    """Away with the checkpoints of a training that nobody will go on with."""
    name = job_hash(job)
    with alone(workshop.artifacts, name, workshop.tell):
        if not (workshop.artifacts / name / "done").exists():
            shutil.rmtree(workshop.artifacts / name, ignore_errors=True)


def _loss(trained: TrainedModel) -> float:
    """The held-out loss of the weights that were kept."""
    return min(
        point.held_out_loss
        for point in trained.learning
        if point.held_out_loss is not None and point.step
    )


# --- what came of it ----------------------------------------------------------------------------


def _searched(study: Any, job: TrainingJob, step: FineTune) -> Searched:
    ended = _ended(study)
    trained = [trial for trial in ended if trial.user_attrs["end"] == "trained"]
    best = min(trained, key=lambda trial: trial.value, default=None)
    others = [trial for trial in ended if trial is not best]
    options = job.options if best is None else _with(step, job.options, best.params)
    return Searched(
        options=options,
        seconds=_spent(others),
        tokens=sum(trial.user_attrs.get("tokens", 0) for trial in others),
        tried=tuple(_tried(trial, trial is best) for trial in ended),
        words=_words(ended, best, len(job.held_out)),
    )


def _words(ended: list[Any], best: Any, held_out: int) -> str:
    if best is None:
        return f"none of {len(ended)} trainings of the search came to its end"
    early = sum(trial.user_attrs["end"] == "stopped early" for trial in ended)
    said = (
        f"{_params(best.params)}, by search over {len(ended)} trainings, {early} of them stopped "
        f"early, judged on {held_out} held-out train examples"
    )
    automatic = ended[0]
    if automatic is best:
        return f"{said}; the automatic choice was the best"
    if automatic.user_attrs["end"] == "trained":
        said += f" (loss {best.value:.3f}, with the automatic choice {automatic.value:.3f})"
    return said


def _tried(trial: Any, chosen: bool) -> Tried:
    told = trial.user_attrs
    loss = trial.value if told["end"] == "trained" else told.get("loss")
    note = told["end"] if loss is None else f"held-out loss {loss:.4f}, {told['end']}"
    if told["end"] != "trained" and "share" in told:
        note += f" after {told['share']:.0%}"
    note += f", {told['seconds']:.0f} s"
    return Tried(_params(trial.params), {}, f"{note}; chosen" if chosen else note)


def _params(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in params.items())


def _hash(what: Json) -> str:
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:20]


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Our own events tell of every training."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
