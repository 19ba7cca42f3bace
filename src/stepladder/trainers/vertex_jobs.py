"""Tuning jobs of Google Cloud, through the official SDK.

A job is known again by a label of its own among its `labels`. The SDK tells how far a job is, but
not its loss: that is read from the job's experiment, by `vertex_losses.py`. Nothing of this was
ever run against Google; the forms are those of the SDK and of the service's discovery document.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from google.genai import types

from ..models.gemini.client import Client
from ..models.gemini.errors import explain
from ..models.hosted.api import Failure
from ..models.hosted.keys import redact
from ..storage import Bucket
from .curves import thinned
from .service import Checkpoint, Form, Order, Phase, ServiceFailed, TuningState
from .vertex_losses import VertexLosses

__all__ = ["VertexService"]

Result = TypeVar("Result")

LABEL = "stepladder"  # the key of our label; the service takes 64 characters, letters and dashes
PAGE = 100
_PHASES: dict[str, Phase] = {
    "JOB_STATE_UNSPECIFIED": "waiting",
    "JOB_STATE_QUEUED": "waiting",
    "JOB_STATE_PENDING": "waiting",
    "JOB_STATE_PAUSED": "waiting",
    "JOB_STATE_RUNNING": "running",
    "JOB_STATE_UPDATING": "running",
    "JOB_STATE_CANCELLING": "running",
    "JOB_STATE_SUCCEEDED": "succeeded",
    "JOB_STATE_PARTIALLY_SUCCEEDED": "succeeded",
    "JOB_STATE_FAILED": "failed",
    "JOB_STATE_CANCELLED": "cancelled",
    "JOB_STATE_EXPIRED": "expired",
}
_DOING = {
    "TUNING_JOB_STATE_WAITING_FOR_QUOTA": "the project's quota of tuning jobs",
    "TUNING_JOB_STATE_WAITING_FOR_CAPACITY": "the service has no machine free",
    "TUNING_JOB_STATE_PROCESSING_DATASET": "the service looks at the rows",
    "JOB_STATE_PAUSED": "the job was paused at the service",
}
_SIZES = {
    1: "ADAPTER_SIZE_ONE", 2: "ADAPTER_SIZE_TWO", 4: "ADAPTER_SIZE_FOUR",
    8: "ADAPTER_SIZE_EIGHT", 16: "ADAPTER_SIZE_SIXTEEN", 32: "ADAPTER_SIZE_THIRTY_TWO",
}  # fmt: skip
_METHODS = {
    "supervised": types.TuningMethod.SUPERVISED_FINE_TUNING,
    "preference": types.TuningMethod.PREFERENCE_TUNING,
}


@dataclass
class VertexService:
    """Tuning jobs of one project in one region, with their rows in one bucket."""

    client: Client
    bucket: Bucket
    project: str
    region: str | None
    losses: VertexLosses | None = None  # None: not told

    form: Form = "gemini"

    @property
    def place(self) -> str:
        return f"vertex:{self.project}/{self.region}"

    def upload(self, file: Path, label: str) -> str:
        return self.bucket.put(file, f"stepladder/{label.removeprefix('stepladder-')}/{file.name}")

    def find(self, label: str) -> str | None:
        # all jobs are looked through: how the service's own filter treats labels was never seen
        def look() -> str | None:
            config = types.ListTuningJobsConfig(page_size=PAGE)
            for job in self.client.tunings.list(config=config):
                if (job.labels or {}).get(LABEL) == label:
                    return job.name
            return None

        return _call(look)

    def create(self, order: Order) -> str:
        choices = order.choices
        size = choices.adapter_size
        config = types.CreateTuningJobConfig(
            method=_METHODS[order.method],
            tuned_model_display_name=order.label,
            labels={LABEL: order.label},
            epoch_count=choices.epochs,
            learning_rate_multiplier=choices.learning_rate_multiplier,
            adapter_size=None if size is None else types.AdapterSize(_SIZES[size]),
            validation_dataset=(
                None
                if order.held_out is None
                else types.TuningValidationDataset(gcs_uri=order.held_out)
            ),
        )
        with warnings.catch_warnings():
            # that its tuning may change is why the SDK's version is bounded, and no user's concern
            warnings.filterwarnings("ignore", message=".*tuning implementation is experimental")
            job = _call(
                lambda: self.client.tunings.tune(
                    base_model=order.model,
                    training_dataset=types.TuningDataset(gcs_uri=order.train),
                    config=config,
                )
            )
        return _name(job)

    def state(self, job_id: str) -> TuningState:
        job = _call(lambda: self.client.tunings.get(name=job_id))
        return self._with_losses(_state(job), job)

    def cancel(self, job_id: str) -> None:
        _call(lambda: self.client.tunings.cancel(name=job_id))

    def close(self) -> None:
        self.client.close()
        self.bucket.close()
        if self.losses is not None:
            self.losses.close()

    def _with_losses(self, state: TuningState, job: types.TuningJob) -> TuningState:
        """The state with its losses; that they cannot be read fails no job, and is said."""
        if self.losses is None or not job.experiment or state.phase == "waiting":
            return state
        experiment = job.experiment
        epochs = (_epochs(job) or 0) / state.steps if state.steps else 0.0
        losses = self.losses
        try:
            curve = _call(lambda: losses.curve(experiment, epochs))
        except ServiceFailed as error:
            said = f"the losses of the tuning cannot be read: {error.failure.message}"
            return replace(state, cautions=(*state.cautions, said))
        return replace(state, learning=thinned(curve))


def _call(what: Callable[[], Result]) -> Result:
    """What a call gives; ServiceFailed when it fails."""
    try:
        return what()
    except Exception as error:  # the SDK raises many kinds; `explain` raises our own bugs again
        raise ServiceFailed(explain(error, "vertex")) from error


def _name(job: types.TuningJob) -> str:
    if not job.name:
        what = "the service took a tuning job but did not say under which name"
        raise ServiceFailed(Failure(what, maybe_billed=True))
    return job.name


def _state(job: types.TuningJob) -> TuningState:
    said = job.state.value if job.state else "JOB_STATE_UNSPECIFIED"
    phase = _PHASES.get(said, "running")  # a state that is newer than this table
    detail = job.tuning_job_state.value if job.tuning_job_state else said
    model = job.tuned_model.endpoint if job.tuned_model else None
    if said == "JOB_STATE_PARTIALLY_SUCCEEDED" and not model:
        phase = "failed"
    progress = job.tuning_job_metadata
    stats = _stats(job)
    return TuningState(
        phase,
        doing=_DOING.get(detail, "the service has not begun"),
        model=model,
        error=redact((job.error.message if job.error else "") or ""),
        step=None if progress is None else progress.completed_step_count,
        steps=None if stats is None else stats.tuning_step_count,
        epoch=None if progress is None else progress.completed_epoch_count,
        billed_tokens=_billed(job, stats),
        seconds=_seconds(job),
        checkpoints=_checkpoints(job),
        cautions=_cautions(stats, said),
        facts={"experiment": job.experiment} if job.experiment else {},
    )


def _stats(job: types.TuningJob) -> Any:
    """What the service says of the rows; the two methods name most of it alike."""
    stats = job.tuning_data_stats
    if stats is None:
        return None
    return stats.supervised_tuning_data_stats or stats.preference_optimization_data_stats


def _billed(job: types.TuningJob, stats: Any) -> int | None:
    """Tokens of the rows times epochs: the service counts the first and bills the product."""
    tokens = None if stats is None else stats.total_billable_token_count
    epochs = _epochs(job)
    return None if tokens is None or epochs is None else tokens * epochs


def _epochs(job: types.TuningJob) -> int | None:
    """How often the rows were seen: as told, else as counted, else as its last checkpoint says."""
    spec = job.supervised_tuning_spec or job.preference_optimization_spec
    asked = spec.hyper_parameters if spec else None
    if asked is not None and asked.epoch_count:
        return asked.epoch_count
    progress = job.tuning_job_metadata
    if progress is not None and progress.completed_epoch_count:
        return progress.completed_epoch_count
    return max((point.epoch or 0 for point in _points(job)), default=0) or None


def _seconds(job: types.TuningJob) -> float | None:
    begun = job.start_time or job.create_time
    if begun is None or job.end_time is None:
        return None
    return (job.end_time - begun).total_seconds()


def _points(job: types.TuningJob) -> list[types.TunedModelCheckpoint]:
    return (job.tuned_model.checkpoints if job.tuned_model else None) or []


def _checkpoints(job: types.TuningJob) -> tuple[Checkpoint, ...]:
    return tuple(
        Checkpoint(point.checkpoint_id or "", point.step, point.epoch, point.endpoint)
        for point in _points(job)
    )


def _cautions(stats: Any, said: str) -> tuple[str, ...]:
    """What the service left out of the rows, for the report."""
    told = []
    if said == "JOB_STATE_PARTIALLY_SUCCEEDED":
        told.append("the service calls the tuning partially succeeded: some of it is missing")
    dropped = getattr(stats, "total_truncated_example_count", None) or 0
    reasons = [reason for reason in getattr(stats, "dropped_example_reasons", None) or [] if reason]
    if dropped or reasons:
        why = f": {'; '.join(dict.fromkeys(reasons))}" if reasons else ""
        told.append(f"the service left {dropped or len(reasons)} training rows out{redact(why)}")
    return tuple(told)
