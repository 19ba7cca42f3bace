"""One claimed tuning job from its files to its end: read, counted, trained, finished.

A job ends once: succeeded, failed with the reason, or cancelled. Where it is paused, or the worker
is to stop or has lost the job, nothing more is written, and whoever claims it next goes on from the
last checkpoint in the same work folder, or begins anew elsewhere.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ...core import Json
from ...database.records import TuningJob
from ...errors import MissingExtra, ModelError, StepladderError, StoreError
from ...trainers import Conversation, Pair, TrainedModel, TrainingJob
from .counting import Counted, count_rows
from .evaluating import Evaluator, config_of
from .failing import JobFailed, Problem, bad_file
from .finishing import ADAPTER_FILES, finish, withdraw
from .holding import Cancelled, Hold, LetGo, Lost, Paused
from .options import MOST_CHECKPOINTS, Choices, choose, steps_of, training_options
from .rows import LEAST_ROWS, Rows, read_rows
from .sources import read_source
from .telling import Teller

if TYPE_CHECKING:
    from ...database.database import Database
    from ...models.local.tokenizer import LocalTokenizer

__all__ = ["Workplace", "run_job"]

MOST_STARTS = 5  # without a step in between: such a job brings its worker down


@dataclass(frozen=True)
class Workplace:
    """Where a worker works: a folder of its own, what stands for gs://, and its means."""

    folder: Path
    gs_folder: Path | None = None
    threads: int | None = None
    device: str = "auto"
    most_tokens: int = 2048  # of one example

    def of(self, job: TuningJob) -> Path:
        """The folder of one job."""
        return self.folder / job.id


def run_job(database: Database, job: TuningJob, hold: Hold, place: Workplace) -> None:
    """Bring a claimed job to its end, unless the hold on it ends before."""
    teller = Teller(database, job.id, hold.check)
    try:
        hold.check()
        try:
            _run(database, job, hold, place)
            teller.say("The job has successfully completed")
        except JobFailed as failed:
            hold.check()
            _fail(database, job, failed, hold)
    except Cancelled:
        withdraw(database, job)
        database.change_job(
            job.id,
            only_in=("cancelling",),
            held_by=hold.worker,
            state="cancelled",
            finished_at=datetime.now(UTC),
        )
        teller.say("The job was cancelled")
    except Paused:
        _pause(database, job, hold, teller)
        return
    except Lost:
        return
    except LetGo:
        hold.release()
        return
    shutil.rmtree(place.of(job), ignore_errors=True)


def _run(database: Database, job: TuningJob, hold: Hold, place: Workplace) -> None:
    teller = Teller(database, job.id, hold.check)
    _count_starts(database, job, teller)
    folder, tokenizer = _base(job)
    start, rank = _fetch_start(database, job, place.of(job) / "start")
    longest = min(tokenizer.context_tokens, place.most_tokens)
    teller.say("Validating training file")
    train = _read(database, job, place, "training_file")
    counted = _counted(train, tokenizer, longest, job, "training_file")
    held_out: tuple[Conversation | Pair, ...] = ()
    if job.validation_file is not None:
        rows = _read(database, job, place, "validation_file")
        held_out = _counted(rows, tokenizer, longest, job, "validation_file").conversations
    hold.check()
    job, choices = _chosen(database, job, counted, rank, hold)
    teller.say("Files validated, training begins")
    asked = TrainingJob(
        base=job.model,
        folder=folder,
        train=counted.conversations,
        held_out=held_out,
        options=training_options(choices, longest, cut_long=job.protocol == "openai"),
        threads=place.threads,
        device=place.device,
        start=start,
        most_kept=0 if choices.last_checkpoint_only else MOST_CHECKPOINTS,
        merge=config_of(job) is not None,
    )
    job, trained = _train(database, job, asked, choices, (place.of(job), hold))
    if (config := config_of(job)) is not None:
        teller.say("Training ended, evaluation begins")
        evaluator = Evaluator(config, tokenizer, place.gs_folder, hold.check)
        alone = [row for row in held_out if not isinstance(row, Pair)]
        found = evaluator.run(job.id, trained.folder / "model", alone)
        statistics = {**(job.statistics or {}), "evaluation": found}
        job = _changed(database, job, hold, statistics=statistics)
    finish(database, job, trained, hold)


def _count_starts(database: Database, job: TuningJob, teller: Teller) -> None:
    """Tell of this start; a job that was started too often in vain is given up."""
    starts = 1
    for event in database.events(job.id, limit=100, newest_first=True):
        if "train_loss" in event.data or "paused" in event.data:
            break
        starts += "start" in event.data
    if starts > MOST_STARTS:
        raise JobFailed(
            f"the training broke off {MOST_STARTS} times before its first step",
            hint="its examples may take more memory than this machine has: make them shorter",
            reason="internal",
            code="server_error",
        )
    teller.say("Tuning job started", start=starts)


def _base(job: TuningJob) -> tuple[Path, LocalTokenizer]:
    from ...models.local.tokenizer import load_tokenizer
    from ...models.local.weights import base_folder

    try:
        folder = base_folder(job.model.removeprefix("local:"))
        return folder, load_tokenizer(folder)
    except StepladderError as error:
        raise JobFailed(
            error.message,
            hint=error.hint,
            reason="unavailable",
            code="model_not_available",
            param="model",
        ) from error


def _fetch_start(
    database: Database, job: TuningJob, folder: Path
) -> tuple[Path | None, int | None]:
    """The adapter to go on from, in a folder, and its rank."""
    if job.pre_tuned is None:
        return None, None
    tuned = database.tuned(job.pre_tuned)
    if tuned is None or tuned.model != job.model:
        raise JobFailed(
            "the tuned model to go on from is not there any more"
            if tuned is None
            else f"the tuned model to go on from is one of {tuned.model!r}, not {job.model!r}",
            hint="tune the base model",
            code="model_not_found",
            param="model",
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name in ADAPTER_FILES:
        with (folder / name).open("wb") as file:
            for piece in database.read_file(tuned.files[name]):
                file.write(piece)
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    return folder, int(config["r"])


def _read(database: Database, job: TuningJob, place: Workplace, param: str) -> Rows:
    address = job.training_file if param == "training_file" else job.validation_file
    assert address is not None
    source = read_source(database, address, place.gs_folder, param)
    rows = read_rows(source, job.protocol, job.method)
    if rows.bad:
        raise _bad_rows(rows, param)
    least = LEAST_ROWS[job.protocol] if param == "training_file" else 1
    if len(rows.rows) < least:
        raise bad_file(
            param,
            f"the file has {len(rows.rows)} examples; at least {least} are needed",
            hint="add examples" if rows.rows else "write one JSON object per line",
        )
    return rows


def _bad_rows(rows: Rows, param: str) -> JobFailed:
    first: Problem = rows.problems[0]
    told = f"line {first.line}: {first.message}"
    if rows.bad > 1:
        told = f"{rows.bad:,} lines cannot be used, the first of them {told}"
    return bad_file(param, told[0].upper() + told[1:], rows.problems)


def _counted(
    rows: Rows, tokenizer: LocalTokenizer, longest: int, job: TuningJob, param: str
) -> Counted:
    try:
        counted = count_rows(rows.rows, tokenizer, longest, cut_long=job.protocol == "openai")
    except ModelError as error:  # a template that takes no such turns
        raise bad_file(param, error.message, hint=error.hint) from error
    if not counted.conversations:
        raise bad_file(param, f"no example of the file fits into {longest:,} tokens")
    return counted


def _chosen(
    database: Database, job: TuningJob, counted: Counted, rank: int | None, hold: Hold
) -> tuple[TuningJob, Choices]:
    """Settle and keep what was left open; a job that goes on keeps what was settled before."""
    choices = choose(job.options, len(counted.conversations), rank=rank, method=job.method)
    if job.statistics is not None:
        choices = replace(choices, open=tuple(job.statistics["chosen"]))
    statistics: Mapping[str, Json] = {
        **counted.statistics,
        "steps": steps_of(choices, len(counted.conversations)),
        "chosen": list(choices.open),
    }
    options = {**job.options, **choices.named()}
    return _changed(database, job, hold, options=options, statistics=statistics), choices


def _train(
    database: Database,
    job: TuningJob,
    asked: TrainingJob,
    choices: Choices,
    at: tuple[Path, Hold],
) -> tuple[TuningJob, TrainedModel]:
    """The trained model; a rate that was ours to choose is cut once if it was too high."""
    from ...trainers.local import LocalTrainer

    folder, hold = at
    teller = Teller(database, job.id, hold.check)
    try:
        return job, LocalTrainer().train(asked, folder, teller)
    except MissingExtra as error:
        raise _failed(error, "unavailable") from error
    except StoreError as error:
        raise _failed(error, "unavailable") from error
    except ModelError as error:
        rate = choices.learning_rate_multiplier
        if "diverged" not in error.message or "learning_rate_multiplier" not in choices.open:
            raise _failed(error, "invalid") from error
        if rate < 1:  # it was cut before
            raise _failed(error, "invalid") from error
        teller.warn(f"{error.message}; training anew with a fifth of the learning rate")
        slower = replace(choices, learning_rate_multiplier=rate / 5)
        options = {**job.options, **slower.named()}
        job = _changed(database, job, hold, options=options)
        asked = replace(
            asked,
            options=replace(asked.options, learning_rate=asked.options.learning_rate / 5),
        )
        return _train(database, job, asked, slower, (folder, hold))


def _failed(error: StepladderError, reason: str) -> JobFailed:
    if reason == "unavailable":
        return JobFailed(error.message, hint=error.hint, reason="unavailable", code="server_error")
    return JobFailed(error.message, hint=error.hint, code="training_failed")


def _pause(database: Database, job: TuningJob, hold: Hold, teller: Teller) -> None:
    """Leave a job as it is; what it had announced already it will announce again."""
    withdraw(database, job)
    left = database.change_job(job.id, only_in=("pausing",), held_by=hold.worker, state="paused")
    if left is None:  # it is to go on, or to end: whoever claims it next sees to that
        hold.release()
        return
    teller.say("The job was paused", paused=True)


def _fail(database: Database, job: TuningJob, failed: JobFailed, hold: Hold) -> None:
    database.add_event(job.id, "error", failed.message)
    ended = database.change_job(
        job.id,
        only_in=("running",),
        held_by=hold.worker,
        state="failed",
        error=failed.record(),
        finished_at=datetime.now(UTC),
    )
    _still_ours(ended, hold)


def _changed(database: Database, job: TuningJob, hold: Hold, **changes: Json) -> TuningJob:
    changed = database.change_job(job.id, only_in=("running",), held_by=hold.worker, **changes)
    return _still_ours(changed, hold)


def _still_ours(changed: TuningJob | None, hold: Hold) -> TuningJob:
    """The job after a change; raises Cancelled or Lost where it could not be changed."""
    if changed is None:
        hold.check()
        raise Lost
    return changed
