"""The same requests as jobs at a lower price, for who can wait: submitted once, waited for, read.

    <runs>/jobs/batch-<label>.json   what is being submitted, or was; written before anything is

A crash at any moment submits nothing twice: the record says that something may be on its way, and
the label, which stands for the requests, finds it at the service. Two processes with the same
requests take turns. On Ctrl-C the job goes on at the service, and the same command picks it up.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import cast

from ...core import Request, Response, Usage
from ...errors import ModelError, StepladderError
from ...interrupts import allowed
from .. import ProviderSettings
from .api import Api, BatchApi, BatchState, Failure
from .batch_record import BatchRecord, label_of
from .keys import redact
from .pace import backoff
from .pool import Timing

__all__ = ["Batches", "in_chunks"]

MOST_REQUESTS = 10_000  # in one job; services take at least so many
MOST_BYTES = 12_000_000  # of text in one job, before what the service's form adds
FIRST_SECONDS, GROWTH, LONGEST_SECONDS = 5.0, 1.5, 300.0  # between two looks at a job
MOST_FAILURES = 20  # in a row: an outage of more than an hour


@dataclass
class _Job:
    """One job with the requests in it, by their places in the whole."""

    places: Sequence[int]
    requests: Sequence[Request]
    record: BatchRecord
    done: int = 0
    failures: int = 0  # to look, in a row


class _Stopped(Exception):
    """Somebody called `stop` while we waited."""


class Batches:
    """Asks one model by batch jobs."""

    def __init__(
        self, name: str, api: Api, settings: ProviderSettings, timing: Timing | None = None
    ) -> None:
        self._name = name
        self._bare = name.partition(":")[2]
        self._api = api
        self._settings = settings
        self._timing = timing or Timing()
        self._stopped = threading.Condition()
        self._stopping = False
        self._refused = False

    def possible(self) -> bool:
        """Whether the model has batches; where it has none that is said once."""
        facts = self._settings.catalogue.facts(self._name)
        able = hasattr(self._api, "submit_batch") and (facts is None or facts.batch)
        if not able and not self._refused:
            self._refused = True
            self._note("has no batch mode: its calls are made one by one, at the full price")
        return able

    def run(self, requests: Sequence[Request]) -> Iterator[tuple[int, Response]]:
        """Every answer, when its job has ended, with the place of its request.

        Raises:
            ModelError: a job cannot be submitted or asked after, or all of them failed.
        """
        self._stopping = False
        try:
            with ExitStack() as held:
                running = self._open(requests, held)
                for job in running:
                    self._start(job)
                yield from self._collect(running)
        except _Stopped:
            return
        except KeyboardInterrupt:
            self._note("goes on with its batch at the service: the same command picks it up")
            raise

    def stop(self) -> None:
        """Wait no longer; what was submitted goes on at the service."""
        with self._stopped:
            self._stopping = True
            self._stopped.notify_all()

    def _open(self, requests: Sequence[Request], held: ExitStack) -> list[_Job]:
        """The jobs with their records, each held by this process alone."""
        chunks = in_chunks(requests)
        labelled = [(label_of(self._name, [requests[at] for at in one]), one) for one in chunks]
        jobs = []
        for label, places in sorted(labelled):  # in one order for all, so that none wait in a ring
            record = BatchRecord(self._settings.jobs, label, self._wait_for_other, self._sleep)
            held.enter_context(record)
            jobs.append(_Job(places, [requests[at] for at in places], record))
        return jobs

    def _start(self, job: _Job) -> None:
        """Make sure that the job is at the service, once."""
        record, failures = job.record, 0
        if record.job is not None:
            return
        record.intend()
        while record.job is None:
            try:
                record.submitted(self._found_or_submitted(job))
            except Exception as error:
                failures += 1
                what = f"a batch of {len(job.requests)} requests cannot be submitted"
                self._bear(error, failures, what)
        self._note(f"waits for a batch of {len(job.requests)} requests ({record.job})")

    def _found_or_submitted(self, job: _Job) -> str:
        with allowed():  # an interrupt loses nothing: the job is found by its label
            found = self._batch_api.find_batch(self._bare, job.record.label)
            return found or self._batch_api.submit_batch(self._bare, job.requests, job.record.label)

    def _collect(self, running: list[_Job]) -> Iterator[tuple[int, Response]]:
        seconds, answered = FIRST_SECONDS, False
        failed: list[tuple[_Job, BatchState]] = []
        while running:
            for job in list(running):
                state = self._look(job)
                if state is None or state.state == "running":
                    continue
                running.remove(job)
                if not state.answers:
                    failed.append((job, state))
                    job.record.collected()
                    continue
                answered = True
                yield from self._answers(job, state)
                job.record.collected()  # not before: its answers may still be lost
            if running:
                self._sleep(seconds)
                seconds = min(LONGEST_SECONDS, seconds * GROWTH)
        if failed and not answered:
            raise ModelError(
                f"the batch {failed[0][0].record.job!r} of {self._name!r} failed: "
                f"{redact(failed[0][1].error or 'the service gave no reason')}",
                hint="run the same command again for a new batch, or set batch = false",
            )
        for job, state in failed:
            yield from self._answers(job, state)

    def _look(self, job: _Job) -> BatchState | None:
        """Where the job is; None when that could not be seen this time."""
        try:
            with allowed():  # an interrupt loses nothing: the service keeps the answers
                state = self._batch_api.poll_batch(self._bare, str(job.record.job), job.requests)
        except Exception as error:
            job.failures += 1
            self._bear(error, job.failures, f"its batch {job.record.job!r} cannot be asked after")
            return None
        job.failures = 0
        if state.state == "running" and state.done > job.done:
            job.done = state.done
            self._note(f"has {state.done} of {state.total} answers of its batch")
        return state

    def _answers(self, job: _Job, state: BatchState) -> Iterator[tuple[int, Response]]:
        """An answer for every request of a job that ended."""
        why = state.error or "the batch ended without an answer to this request"
        nothing = Usage(self._name, 0, 0, 0, thinking_tokens=0, audio_tokens=0)
        missing = Response("", nothing, "error", error=why)
        for order, place in enumerate(job.places):
            found = (state.answers or {}).get(order, missing)
            usage = replace(found.usage, tier="batch", seconds=None)
            error = None if found.error is None else redact(found.error)
            yield place, replace(found, usage=usage, error=error)

    def _bear(self, error: Exception, failures: int, what: str) -> None:
        """Wait before another try, or raise when there is no point in one."""
        if isinstance(error, StepladderError):
            raise error
        failure: Failure = self._api.explain(error)
        if not failure.retry or failure.fatal or failures >= MOST_FAILURES:
            raise ModelError(
                f"{self._name}: {what}: {redact(failure.message)}",
                hint=redact(failure.hint)
                or f"run the same command again; what is known of it is in {self._settings.jobs}",
            ) from None
        self._sleep((failure.wait_seconds or 0.0) + backoff(failures, self._timing.random))

    def _sleep(self, seconds: float) -> None:
        with self._stopped:
            if not self._stopping:
                with allowed():
                    self._timing.wait(self._stopped, seconds)
            if self._stopping:
                raise _Stopped

    def _wait_for_other(self) -> None:
        self._note("is asked the same batch by another process: waiting for that")

    def _note(self, text: str) -> None:
        self._settings.tell("note", {"text": f"{self._name} {text}"})

    @property
    def _batch_api(self) -> BatchApi:
        return cast(BatchApi, self._api)


def in_chunks(requests: Sequence[Request]) -> list[tuple[int, ...]]:
    """The places of the requests, in as few jobs as their number and size allow."""
    chunks: list[tuple[int, ...]] = []
    current: list[int] = []
    size = 0
    for place, request in enumerate(requests):
        more = _bytes(request)
        if current and (len(current) == MOST_REQUESTS or size + more > MOST_BYTES):
            chunks.append(tuple(current))
            current, size = [], 0
        current.append(place)
        size += more
    return [*chunks, tuple(current)] if current else chunks


def _bytes(request: Request) -> int:
    """About how much text a request has; a file counts with the address of it alone."""
    return sum(len(repr(message).encode()) for message in request.messages) + len(
        repr((request.schema, request.functions))
    )
