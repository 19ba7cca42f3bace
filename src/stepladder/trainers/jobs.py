"""The ledger of a tuning job at a service: `artifacts/<hash>/job.json`.

Each step of a job's life is on disk before the next begins, so that a process that dies at any
moment leaves enough behind for the next one to go on, and no job is ever started twice:

    prepared    training files are written here
    uploaded    they are at the service, under the names in `files`
    intended    the job is about to be created under `label`: it may exist already
    submitted   it exists, and `job` is its id
    finished    it ended, as `state` says

Nothing here talks to a service.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from ..core import Json, LearningPoint, Tell
from ..data.writing import write_whole
from ..errors import StoreError
from .service import Checkpoint, TuningJob, TuningRow, TuningState

__all__ = ["JobRecord", "Stage", "alone", "read_job", "tuning_hash", "write_job"]

Stage = Literal["prepared", "uploaded", "intended", "submitted", "finished"]
SCHEMA = "stepladder.tuning-job/1"
RECIPE = 1  # raise it when the same job would now tune a different model


@dataclass(frozen=True)
class JobRecord:
    """One job as it is kept on disk. `intended_at` is in seconds since 1970.

    `attempt` counts jobs that were asked for anew after one failed; each has a label of its own.
    """

    base: str
    label: str
    stage: Stage = "prepared"
    attempt: int = 1
    files: Mapping[str, str] = field(default_factory=dict)  # "train", "held_out" -> name there
    intended_at: float | None = None
    job: str | None = None
    submitted_at: float | None = None
    state: TuningState | None = None


def tuning_hash(job: TuningJob, place: str) -> str:
    """Twenty hexadecimal digits that name the model which this job makes at this place."""
    rows = [[_row(row) for row in side] for side in (job.train, job.held_out)]
    choices = asdict(job.choices)
    if choices["learning_rate"] is None:  # a choice that jobs made earlier did not have
        del choices["learning_rate"]
    what = {
        "recipe": RECIPE,
        "base": job.base,
        "place": place,
        "method": job.method,
        "choices": choices,
        "rows": rows,
    }
    text = json.dumps(what, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _row(row: TuningRow) -> list[Json]:
    told: list[Json] = [[asdict(message) for message in row.messages], row.answer, row.rejected]
    if not row.functions:  # such rows keep the name that they had before there were any
        return told
    calls = [asdict(call) for call in row.calls]
    return [*told, calls, [asdict(function) for function in row.functions]]


def read_job(folder: Path) -> JobRecord | None:
    """The record in a job's folder, or None where no job was begun.

    Raises StoreError when the file is there and cannot be read: a job may be running at the
    service, so it must not be taken for none.
    """
    path = folder / "job.json"
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    try:
        if kept.pop("schema") != SCHEMA:
            raise ValueError("it was written by another version of stepladder")
        return replace(JobRecord(**kept), state=_state(kept["state"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, error) from error


def write_job(folder: Path, record: JobRecord) -> JobRecord:
    """Keep the record, whole and on the disk before this returns; gives it back."""
    text = json.dumps({"schema": SCHEMA, **asdict(record)}, indent=1, ensure_ascii=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    with write_whole(folder / "job.json") as file:
        file.write(text.encode() + b"\n")
    return record


@contextmanager
def alone(artifacts: Path, name: str, tell: Tell) -> Iterator[None]:
    """Hold the job's lock; wait, and say so, while another process works on the same job."""
    try:
        artifacts.mkdir(parents=True, exist_ok=True)
        lock = FileLock(artifacts / f"{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            tell("training", {"waiting": f"another process is training {name!r}"})
            lock.acquire()
    except OSError as error:
        raise _unwritable(artifacts, error) from error
    try:
        yield
    finally:
        lock.release()


def _state(kept: Any) -> TuningState | None:
    if kept is None:
        return None
    learning = tuple(LearningPoint(**point) for point in kept["learning"])
    checkpoints = tuple(Checkpoint(**point) for point in kept["checkpoints"])
    cautions = tuple(kept["cautions"])
    return TuningState(
        **{**kept, "learning": learning, "checkpoints": checkpoints, "cautions": cautions}
    )


def _damaged(path: Path, error: Exception) -> StoreError:
    return StoreError(
        f"{str(path)!r} cannot be read: {error}",
        hint="a tuning job may be running under it: look at the service's own list of jobs, then "
        "restore the file, or delete it to start anew",
    )


def _unwritable(folder: Path, error: OSError) -> StoreError:
    return StoreError(
        f"cannot save the training in {str(folder)!r}: {error.strerror or error}",
        hint="make room, or choose a run folder that can be written; then run the same command "
        "again: nothing that was done is done twice",
    )
