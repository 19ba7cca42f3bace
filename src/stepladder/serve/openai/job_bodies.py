"""Fine-tuning jobs, their events and checkpoints as OpenAI's clients read them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from ...core import Json
from ...database.records import Checkpoint, JobState, TuningEvent, TuningJob
from .hyperparameters import method_body, told_hyperparameters
from .names import checkpoint_name, job_model_name, shown_id

__all__ = ["checkpoint_body", "event_body", "job_body"]

# OpenAI has no word for a job that is being cancelled: it still runs, until it does not. The word
# "paused" its service says, though it is not in the document's list of states
STATUS: Mapping[JobState, str] = {
    "queued": "queued", "running": "running", "succeeded": "succeeded", "failed": "failed",
    "cancelling": "running", "cancelled": "cancelled", "pausing": "paused", "paused": "paused",
}  # fmt: skip
ORGANISATION = "org-stepladder"
METRICS = frozenset({
    "step", "train_loss", "train_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy",
    "full_valid_loss", "full_valid_mean_token_accuracy",
})  # fmt: skip
MOST_ROWS_TOLD = 10


def job_body(job: TuningJob) -> dict[str, Json]:
    """A job as it is told."""
    return {
        "id": shown_id("ftjob", job.id),
        "object": "fine_tuning.job",
        "created_at": int(job.created_at.timestamp()),
        "error": _error(job.error),
        "fine_tuned_model": job_model_name(job) if job.state == "succeeded" else None,
        "finished_at": None if job.finished_at is None else int(job.finished_at.timestamp()),
        "hyperparameters": told_hyperparameters(job),
        "model": str(job.request.get("model", job.base)),
        "organization_id": ORGANISATION,
        "result_files": [shown_id("file", id) for id in job.result_files],
        "status": STATUS[job.state],
        "trained_tokens": job.trained_tokens,
        "training_file": shown_id("file", job.training_file),
        "validation_file": job.validation_file and shown_id("file", job.validation_file),
        "integrations": job.request.get("integrations") or [],
        "seed": int(job.options.get("seed", 0)),
        "estimated_finish": None,
        "method": method_body(job),
        "metadata": job.request.get("metadata") or None,
    }


def event_body(event: TuningEvent) -> dict[str, Json]:
    """An event; one with numbers is of the type "metrics"."""
    is_metrics = bool(METRICS & event.data.keys())
    return {
        "id": shown_id("ftevent", f"{event.job}-{event.number}"),
        "object": "fine_tuning.job.event",
        "created_at": int(event.created_at.timestamp()),
        "level": event.level,
        "message": event.message,
        "type": "metrics" if is_metrics else "message",
        "data": dict(event.data),
    }


def checkpoint_body(job: TuningJob, checkpoint: Checkpoint, made_at: datetime) -> dict[str, Json]:
    """A checkpoint that can be asked under its own name."""
    known = {name: value for name, value in checkpoint.metrics.items() if name in METRICS}
    return {
        "id": shown_id("ftckpt", f"{job.id}-{checkpoint.id}"),
        "object": "fine_tuning.job.checkpoint",
        "created_at": int(made_at.timestamp()),
        "fine_tuned_model_checkpoint": checkpoint_name(job, checkpoint),
        "step_number": checkpoint.step,
        "metrics": {"step": checkpoint.step, **known},
        "fine_tuning_job_id": shown_id("ftjob", job.id),
    }


def _error(error: Mapping[str, Json] | None) -> dict[str, Json] | None:
    """Why a job failed, with the first of the rows that are at fault."""
    if error is None:
        return None
    rows = list(error.get("rows") or ())
    told = [f"line {row.get('line')}: {row.get('message')}" for row in rows[:MOST_ROWS_TOLD]]
    if len(rows) > MOST_ROWS_TOLD:
        told.append(f"and {len(rows) - MOST_ROWS_TOLD} more")
    message = ". ".join([str(error.get("message", "the job failed")), *told])
    return {
        "code": str(error.get("code") or error.get("reason") or "error"),
        "message": message,
        "param": error.get("param"),
    }
