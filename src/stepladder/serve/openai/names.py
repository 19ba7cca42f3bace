"""Names as OpenAI's clients see them, from the database's bare ids and back. Pure."""

from __future__ import annotations

import re
from typing import Literal

from ...database.records import Checkpoint, TuningJob

__all__ = [
    "Kind", "bare_id", "checkpoint_name", "job_model_name", "served_name", "shown_id",
    "tuned_id_of", "tuned_name",
]  # fmt: skip

Kind = Literal["file", "ftjob", "batch", "ftevent", "ftckpt"]
OWNER = "stepladder"  # where the real service has the organisation
_SEPARATORS = {"batch": "_"}
_TUNED = re.compile(r"ft:.+:stepladder:[^:]*:(?P<id>[^:]+?)(:ckpt-step-\d+)?")


def shown_id(kind: Kind, bare: str) -> str:
    """`file-1`, `ftjob-1`, `batch_1` for the id "1"."""
    return f"{kind}{_SEPARATORS.get(kind, '-')}{bare}"


def bare_id(kind: Kind, shown: str) -> str | None:
    """The id that is shown so; None for an id of anything else."""
    start = f"{kind}{_SEPARATORS.get(kind, '-')}"
    bare = shown.removeprefix(start)
    return bare if bare and bare != shown else None


def tuned_name(base: str, suffix: str, id: str, *, step: int | None = None) -> str:
    """The name of a tuned model, or with `step` of one of its checkpoints.

    `id` is that of the tuned model itself, or of the model that the checkpoint is. What was tuned
    further is named after the base of both.
    """
    end = "" if step is None else f":ckpt-step-{step}"
    return f"ft:{_first_base(base)}:{OWNER}:{_plain(suffix)}:{id}{end}"


def tuned_id_of(name: str) -> str | None:
    """The id of the tuned model that is called so; None for a name of another form."""
    found = _TUNED.fullmatch(name)
    return found["id"] if found else None


def served_name(name: str) -> str:
    """What the server itself calls the model: tuned ones by their ids."""
    return tuned_id_of(name) or name


def job_model_name(job: TuningJob) -> str | None:
    """What a job made; None as long as it made nothing."""
    return tuned_name(job.base, job.name, job.tuned_model) if job.tuned_model else None


def checkpoint_name(job: TuningJob, checkpoint: Checkpoint) -> str:
    """The name under which a checkpoint is served."""
    return tuned_name(job.base, job.name, checkpoint.tuned_model, step=checkpoint.step)


def _first_base(base: str) -> str:
    if tuned_id_of(base) is None:
        return base
    return base.removeprefix("ft:").rpartition(f":{OWNER}:")[0]


def _plain(suffix: str) -> str:
    """A suffix that a name and a URL can hold."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", suffix)
