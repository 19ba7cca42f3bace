"""What came of a training, into the database: adapters, tuned models, results, and the job's end.

Every step may be done again: after a crash between any two of them the next worker ends up with the
same models under the same names, and a job that was cancelled meanwhile leaves none. The job says
"succeeded" last, when everything that it names is there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ...core import Json
from ...database.records import Checkpoint, StoredFile, TunedModel, TuningJob
from ...trainers import TrainedModel
from ..leftovers import files_named
from .holding import Hold, Lost
from .options import MOST_CHECKPOINTS
from .telling import metrics_table, result_csv

if TYPE_CHECKING:
    from ...database.database import Database

__all__ = ["ADAPTER", "RESULTS", "finish", "tuned_id", "withdraw"]

ADAPTER = "adapter"  # purposes of files
RESULTS = "fine-tune-results"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
PIECE = 2**20


@dataclass(frozen=True)
class _Point:
    """A state of the training that is served: `number` counts from 1."""

    number: int
    step: int
    epoch: float
    folder: Path


def tuned_id(job: str, number: int) -> str:
    """The id of a job's model of this number: 18 digits that are the same for every worker."""
    digest = hashlib.sha256(f"{job}/{number}".encode()).digest()
    return str(10**17 + int.from_bytes(digest[:8]) % (9 * 10**17))


def finish(database: Database, job: TuningJob, trained: TrainedModel, hold: Hold) -> TuningJob:
    """Store and announce the models, then end the job as succeeded.

    Raises Cancelled or Lost where the job came to another end meanwhile; nothing of it is left
    announced after `withdraw`.
    """
    kept = _files_of(database, job)
    points = _points(trained)
    for point in points:
        hold.check()
        _announce(database, job, point, _store(database, job, point, kept))
    hold.check()
    table = metrics_table(database, job.id)
    results = _put(
        database, job, kept, f"step_metrics-{job.id}.csv", RESULTS, iter([result_csv(table)])
    )
    several = bool(trained.facts["kept"])
    ended = database.change_job(
        job.id,
        only_in=("running",),
        held_by=hold.worker,
        state="succeeded",
        finished_at=datetime.now(UTC),
        tuned_model=tuned_id(job.id, points[-1].number),
        checkpoints=_checkpoints(job, points, table) if several else (),
        result_files=(results.id,),
        trained_tokens=_trained_tokens(job),
    )
    if ended is None:
        hold.check()
        raise Lost
    return ended


def withdraw(database: Database, job: TuningJob) -> None:
    """Take back every model and file that this job put there."""
    for number in range(1, MOST_CHECKPOINTS + 1):
        database.delete_tuned(tuned_id(job.id, number))
    for file in _files_of(database, job).values():
        database.delete_file(file.id)


def _points(trained: TrainedModel) -> list[_Point]:
    kept = trained.facts["kept"]
    if not kept:
        last = trained.facts
        return [_Point(1, last["steps"], last["epochs"], trained.folder / "adapter")]
    return [
        _Point(number, one["step"], one["epoch"], trained.folder / one["folder"])
        for number, one in enumerate(kept, 1)
    ]


def _store(
    database: Database, job: TuningJob, point: _Point, kept: Mapping[str, StoredFile]
) -> dict[str, str]:
    files = {}
    for name in ADAPTER_FILES:
        path = point.folder / name
        stored = _put(
            database, job, kept, f"{job.id}/{point.number}/{name}", ADAPTER, _pieces(path)
        )
        files[name] = stored.id
    return files


def _put(
    database: Database,
    job: TuningJob,
    kept: Mapping[str, StoredFile],
    name: str,
    purpose: str,
    pieces: Iterator[bytes],
) -> StoredFile:
    """The file in the database; one that an earlier try left there under its name is replaced."""
    stored = database.add_file(
        owner=job.owner,
        name=name,
        purpose=purpose,
        media_type="text/csv" if purpose == RESULTS else "application/octet-stream",
        chunks=pieces,
    )
    earlier = kept.get(name)
    if earlier is not None:
        database.delete_file(earlier.id)
    return stored


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def _announce(database: Database, job: TuningJob, point: _Point, files: Mapping[str, str]) -> None:
    id = tuned_id(job.id, point.number)
    if database.tuned(id) is not None:
        database.change_tuned(id, files=files)
        return
    now = datetime.now(UTC)
    labels = job.request.get("labels")
    database.add_tuned(
        TunedModel(
            id=id,
            owner=job.owner,
            job=job.id,
            base=job.base,
            model=job.model,
            created_at=now,
            updated_at=now,
            files=files,
            name=job.name,
            description=str(job.request.get("description") or ""),
            labels=labels if isinstance(labels, dict) else {},
        )
    )
    database.add_event(job.id, "info", f"Checkpoint created at step {point.step}")


def _checkpoints(
    job: TuningJob, points: Sequence[_Point], table: Mapping[int, Mapping[str, Json]]
) -> tuple[Checkpoint, ...]:
    names = (
        "train_loss", "train_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy",
        "full_valid_loss", "full_valid_mean_token_accuracy",
    )  # fmt: skip
    return tuple(
        Checkpoint(
            id=str(point.number),
            step=point.step,
            epoch=point.epoch,
            tuned_model=tuned_id(job.id, point.number),
            metrics={
                "step": point.step,
                **{n: v for n, v in table.get(point.step, {}).items() if n in names},
            },
        )
        for point in points
    )


def _trained_tokens(job: TuningJob) -> int | None:
    """As services bill it: the tokens of the data, once per epoch."""
    if job.statistics is None:
        return None
    return int(job.statistics["billable_tokens"]) * int(job.options["epochs"])


def _files_of(database: Database, job: TuningJob) -> dict[str, StoredFile]:
    """The files that earlier tries of this job stored, by name."""
    names = (f"{job.id}/", f"step_metrics-{job.id}.")
    return {
        name: file
        for purpose in (ADAPTER, RESULTS)
        for name, file in files_named(database, job.owner, purpose, names).items()
    }
