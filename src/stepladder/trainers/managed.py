"""Tunes a hosted model as a job at its service: upload, create, follow, and keep what came of it.

Tuning takes hours and costs money, so the job outlives this process. It is created once for the
same data and choices, whatever happens in between: every stage is in the ledger (`jobs.py`) before
the next begins, and after a crash between wanting a job and knowing its id the service is asked for
a job with that label before another is created. Which models are tuned, and on what, is for the
step; how a service is spoken to is for `service.py` and those that implement it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from ..core import Json, Tell
from ..data.writing import write_whole
from ..errors import BudgetExceeded, ModelError, NotApplicable
from ..models.hosted.api import Failure
from . import TrainedModel
from .jobs import JobRecord, alone, read_job, tuning_hash, write_job
from .service import (
    Order,
    RentedService,
    ServiceFailed,
    TuningJob,
    TuningRow,
    TuningService,
    TuningState,
)  # fmt: skip
from .tuning_data import to_row

__all__ = ["ManagedTrainer", "follow_pause"]

Result = TypeVar("Result")

SAME_COMMAND = "the same command finds it and goes on with it"
ATTEMPTS = 5  # of a call that fails in passing
LOST_SECONDS = 3600.0  # the service is out of reach for so long before we stop asking
LONGEST_PAUSE = 60.0


@dataclass(frozen=True)
class ManagedTrainer:
    """Tunes models at one service. The same job again is resumed, or its result given at once.

    With `cancel_on_interrupt` Ctrl-C also cancels the job at the service; otherwise it goes on
    there. With `retry_failed` a job that failed, was cancelled or expired is asked for anew.
    """

    service: TuningService
    cancel_on_interrupt: bool = False
    retry_failed: bool = False
    settle_seconds: float = 60.0  # a job whose creation was cut off may appear so much later
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep

    def train(self, job: TuningJob, artifacts: Path, tell: Tell) -> TrainedModel:
        """The tuned model, from `artifacts` if this job was finished before.

        Raises ModelError when the service refuses the job, or the job fails, is cancelled or
        expires; StoreError when the ledger cannot be kept.
        """
        name = tuning_hash(job, self.service.place)
        folder = artifacts / name
        with alone(artifacts, name, tell):
            record = read_job(folder) or JobRecord(job.base, f"stepladder-{name}")
            if record.stage == "finished" and _failed(record) and self.retry_failed:
                record = _anew(record, name)
            if record.stage == "prepared":
                record = self._upload(record, job, folder, tell)
            if record.stage in ("uploaded", "intended"):
                record = self._submit(record, job, folder, tell)
            if record.stage == "submitted":
                record = self._follow(record, folder, tell)
        return _outcome(record, folder)

    def served(self, trained: TrainedModel, tell: Tell) -> TrainedModel:
        """The tuned model under the name that it answers by.

        Raises NotApplicable while it waits for a machine that the user has to rent: the job is
        kept, and the same command goes on once there is one.
        """
        if not isinstance(self.service, RentedService):
            return trained
        service = self.service
        base, _, model = trained.name.partition("@")
        what = f"cannot ask the service where {trained.name!r} answers"
        found = self._persist(what, lambda: service.deployment(model), tell)
        if found.name is None:
            raise _waits(trained, found.how)
        said = "it answers from a machine rented by time: what a request costs is not known"
        cautions = (*trained.cautions, said)
        return replace(trained, name=f"{base}@{found.name}", cautions=cautions)

    def close(self) -> None:
        self.service.close()

    # --- the stages -----------------------------------------------------------------------------

    def _upload(self, record: JobRecord, job: TuningJob, folder: Path, tell: Tell) -> JobRecord:
        """The training files at the service. To do it twice is no harm."""
        write_job(folder, record)
        files = {}
        for side, rows in (("train", job.train), ("held_out", job.held_out)):
            if rows:
                tell("training", {"waiting": f"{len(rows)} rows are uploaded"})
                path = folder / f"{side}.jsonl"
                _write_rows(path, rows, job, self.service)
                files[side] = self._persist(
                    f"cannot upload the training rows for {job.base!r}",
                    partial(self.service.upload, path, record.label),
                    tell,
                )
        return write_job(folder, replace(record, stage="uploaded", files=files))

    def _submit(self, record: JobRecord, job: TuningJob, folder: Path, tell: Tell) -> JobRecord:
        """The job exists at the service, once, and its id is kept."""
        order = _order(record, job)
        failures = 0
        while True:
            found = self._find(record, tell)
            if found is not None:
                return self._submitted(record, found, folder)
            intended = replace(record, stage="intended", intended_at=self.clock())
            record = write_job(folder, intended)
            try:
                return self._submitted(record, self.service.create(order), folder)
            except ServiceFailed as error:
                failure = error.failure
                if not _unsure(failure):
                    # refused: there is no job to look for, and it may be the files that are gone
                    write_job(folder, replace(record, stage="prepared", intended_at=None))
                failures += not failure.throttled  # a full queue is waited for
                if failure.fatal or not failure.retry or failures == ATTEMPTS:
                    raise _as_error(f"cannot start tuning {job.base!r}", error) from error
                self._wait(failure, failures, tell)
            except KeyboardInterrupt as error:
                label = record.label
                error.add_note(f"a tuning job {label!r} may have been started; {SAME_COMMAND}")
                raise

    def _find(self, record: JobRecord, tell: Tell) -> str | None:
        """The job under this label. One whose creation was cut off is given time to appear."""
        what = f"cannot ask the service for a job called {record.label!r}"
        while True:
            found = self._persist(what, lambda: self.service.find(record.label), tell)
            if found is not None or record.intended_at is None:
                return found
            left = self.settle_seconds - abs(self.clock() - record.intended_at)
            if left <= 0:
                return None
            tell("training", {"waiting": f"to see whether {record.label!r} was started"})
            self.sleep(min(10.0, left))

    def _persist(self, what: str, call: Callable[[], Result], tell: Tell) -> Result:
        """What a call gives that may be made again; a passing failure is waited out."""
        failures = 0
        while True:
            try:
                return call()
            except ServiceFailed as error:
                failures += 1
                if error.failure.fatal or not error.failure.retry or failures == ATTEMPTS:
                    raise _as_error(what, error) from error
                self._wait(error.failure, failures, tell)

    def _wait(self, failure: Failure, failures: int, tell: Tell) -> None:
        tell("training", {"waiting": f"the service: {failure.message}"})
        self.sleep(failure.wait_seconds or min(LONGEST_PAUSE, 2.0 ** max(0, failures - 1)))

    def _submitted(self, record: JobRecord, job: str, folder: Path) -> JobRecord:
        at = self.clock()
        return write_job(folder, replace(record, stage="submitted", job=job, submitted_at=at))

    def _follow(self, record: JobRecord, folder: Path, tell: Tell) -> JobRecord:
        """Watch the job to its end, and keep what it came to."""
        assert record.job is not None
        try:
            tell("note", {"text": f"tuning job {record.job!r}: {self._how_to_leave()}"})
            state = self._watch(record, folder, tell)
        except KeyboardInterrupt as error:
            if self.cancel_on_interrupt:
                with _told(f"cannot cancel the tuning job {record.job!r}"):
                    self.service.cancel(record.job)
                error.add_note(f"the tuning job {record.job!r} is being cancelled at the service")
            else:
                error.add_note(f"tuning job {record.job!r}: {self._how_to_leave()}")
            raise
        except BudgetExceeded as error:
            raise BudgetExceeded(
                f"{error.message}; the tuning job {record.job!r} goes on at the service",
                hint=f"{error.hint}; the same command resumes it",
            ) from error
        return write_job(folder, replace(record, stage="finished", state=state))

    def _watch(self, record: JobRecord, folder: Path, tell: Tell) -> TuningState:
        job = record.job
        assert job is not None
        began = last_seen = self.clock()
        while True:
            try:
                state = self.service.state(job)
            except ServiceFailed as error:
                unseen = self.clock() - last_seen
                if not self._may_be_seen(error.failure, record, unseen):
                    raise _lost(job, folder, error.failure) from error
                tell("training", {"waiting": f"the service: {error.failure.message}"})
                self.sleep(error.failure.wait_seconds or follow_pause(unseen))
                continue
            last_seen = self.clock()
            tell("training", _shown(state))
            if state.ended:
                return state
            self.sleep(follow_pause(last_seen - began))

    def _may_be_seen(self, failure: Failure, record: JobRecord, unseen: float) -> bool:
        """Whether to look again: after what passes, or where the job is too new to be known."""
        new = abs(self.clock() - (record.submitted_at or 0.0)) < self.settle_seconds
        return new or (failure.retry and not failure.fatal and unseen <= LOST_SECONDS)

    def _how_to_leave(self) -> str:
        if self.cancel_on_interrupt:
            return "Ctrl-C cancels it"
        return (
            "Ctrl-C leaves it running there and the same command resumes it; to cancel it, set "
            "cancel_on_interrupt = true in [steps.fine_tune] and press Ctrl-C"
        )


def follow_pause(seconds: float) -> float:
    """Seconds until the next look: a tenth of the time so far, at least one, at most a minute."""
    return min(LONGEST_PAUSE, max(1.0, seconds / 10))


# --- what is sent -------------------------------------------------------------------------------


def _write_rows(
    path: Path, rows: Sequence[TuningRow], job: TuningJob, service: TuningService
) -> None:
    with write_whole(path) as file:
        for row in rows:
            text = json.dumps(to_row(row, service.form, job.method), ensure_ascii=False)
            file.write(text.encode() + b"\n")


def _order(record: JobRecord, job: TuningJob) -> Order:
    return Order(
        label=record.label,
        model=job.base.partition(":")[2],
        train=record.files["train"],
        held_out=record.files.get("held_out"),
        method=job.method,
        choices=job.choices,
    )


def _anew(record: JobRecord, name: str) -> JobRecord:
    """A new job in place of one that failed, under a label of its own."""
    attempt = record.attempt + 1
    return JobRecord(record.base, f"stepladder-{name}-{attempt}", attempt=attempt)


# --- what comes back ----------------------------------------------------------------------------


def _failed(record: JobRecord) -> bool:
    return record.state is not None and record.state.phase != "succeeded"


def _outcome(record: JobRecord, folder: Path) -> TrainedModel:
    """The model of a finished job; raises ModelError when it came to nothing."""
    state = record.state
    assert state is not None
    if state.phase != "succeeded" or state.model is None:
        why = {"failed": "failed", "cancelled": "was cancelled", "expired": "expired"}
        what = why.get(state.phase, "gave no model")
        raise ModelError(
            f"the tuning job {record.job!r} of {record.base!r} {what}"
            + (f": {state.error}" if state.error else ""),
            hint="it is not started again by itself: mend what the service names, or set "
            "retry_failed = true in [steps.fine_tune] to pay for another",
        )
    return TrainedModel(
        name=f"{record.base}@{state.model}",
        folder=folder,
        learning=state.learning,
        seconds=state.seconds or 0.0,
        tokens=state.billed_tokens or 0,
        cautions=state.cautions,
        facts={
            "job": record.job,
            "billed_tokens": state.billed_tokens,
            "billed_dollars": state.billed_dollars,
            "attempt": record.attempt,
            "checkpoints": len(state.checkpoints),
            **state.facts,
        },
    )


def _waits(trained: TrainedModel, how: str) -> NotApplicable:
    dollars = trained.facts.get("billed_dollars")
    paid = "" if dollars is None else f" (for ${dollars:.2f})"
    return NotApplicable(
        f"{trained.name!r} is tuned{paid} and waits for a deployment: its service answers with it "
        "only from a machine that you rent there by time",
        hint=f"make one, and the same command finds it and measures it: {how}. It is paid for "
        "until you delete it",
    )


def _shown(state: TuningState) -> dict[str, Json]:
    """A state as the event that training tells."""
    if state.phase == "waiting":
        return {"waiting": state.doing or "the service has not begun"}
    last = state.learning[-1] if state.learning else None
    return {
        "step": state.step if last is None else last.step,
        "steps": state.steps,
        "epoch": state.epoch,
        "train_loss": None if last is None else last.train_loss,
        "held_out_loss": None if last is None else last.held_out_loss,
    }


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn a failed call into a ModelError that says what could not be done."""
    try:
        yield
    except ServiceFailed as error:
        raise _as_error(what, error) from error


def _unsure(failure: Failure) -> bool:
    """Whether a creation that failed so may have made a job all the same.

    All that a service says is that a call may be made again; a job costs more than a minute's wait.
    """
    return failure.maybe_billed or failure.retry


def _lost(job: str, folder: Path, failure: Failure) -> ModelError:
    return ModelError(
        f"lost sight of the tuning job {job!r}: {failure.message}",
        hint=f"{failure.hint or 'the same command looks for it again'}; if the job is gone from "
        f"the service, delete {str(folder)!r} to start anew",
    )


def _as_error(what: str, error: ServiceFailed) -> ModelError:
    hint = error.failure.hint or "run the same command again: nothing is started or paid for twice"
    return ModelError(f"{what}: {error.failure.message}", hint=hint)
