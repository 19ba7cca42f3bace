"""A tuning service in the test: it keeps its jobs whatever becomes of those who ask, and may fail.

A job that was created is seen by `find` only after `delay` seconds, as behind a real service's
caches. `Clock` is time that passes only by sleeping.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from stepladder.core import LearningPoint, Message
from stepladder.models.hosted.api import Failure
from stepladder.trainers.service import (
    Checkpoint,
    Choices,
    Order,
    Phase,
    ServiceFailed,
    TuningJob,
    TuningRow,
    TuningState,
)  # fmt: skip


@dataclass
class Clock:
    now: float = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@dataclass
class Job:
    id: str
    order: Order
    created: float
    looks: int = 0
    phase: Phase = "waiting"


@dataclass
class FakeService:
    """`at` is called before and after every call, with its name: there a test may raise."""

    clock: Clock = field(default_factory=Clock)
    form: str = "gemini"
    place: str = "fake:here"
    region: str | None = "us-central1"
    looks: int = 3  # until a job ends
    ends: Phase = "succeeded"
    delay: float = 0.0
    jobs: list[Job] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    at: Callable[[str], None] = lambda moment: None
    closed: int = 0

    def upload(self, file: Path, label: str) -> str:
        self.at("before upload")
        name = f"gs://bucket/{label}/{file.name}"
        self.files[name] = file.read_bytes()
        self.at("after upload")
        return name

    def find(self, label: str) -> str | None:
        self.at("before find")
        self.asked.append(f"find {label}")
        seen = [job for job in self.jobs if job.created + self.delay <= self.clock()]
        return next((job.id for job in seen if job.order.label == label), None)

    def create(self, order: Order) -> str:
        self.at("before create")
        self.asked.append(f"create {order.label}")
        assert {order.train, order.held_out} - {None} <= self.files.keys()
        self.jobs.append(Job(f"jobs/{len(self.jobs) + 1}", order, self.clock()))
        self.at("after create")
        return self.jobs[-1].id

    def state(self, job_id: str) -> TuningState:
        self.at("before state")
        job = self._job(job_id)
        job.looks += 1
        if job.phase in ("waiting", "running"):
            job.phase = self.ends if job.looks >= self.looks else "running"
        curve = tuple(
            LearningPoint(10 * i, i / 2, 1.0 / i, 1.5 / i) for i in range(1, 1 + job.looks)
        )
        if job.phase != "succeeded":
            return TuningState(job.phase, learning=curve, error="rows 3 and 4 are unreadable")
        return TuningState(
            "succeeded",
            model=f"endpoints/{job.id[-1]}",
            billed_tokens=12_000,
            seconds=600.0,
            learning=curve[:3],
            checkpoints=(Checkpoint("1", 10, 1.0, "endpoints/c1"),),
            cautions=("the service left 2 training rows out",),
        )

    def cancel(self, job_id: str) -> None:
        self.at("before cancel")
        self._job(job_id).phase = "cancelled"

    def close(self) -> None:
        self.closed += 1

    def _job(self, job_id: str) -> Job:
        return next(job for job in self.jobs if job.id == job_id)


def failing(*, times: int, moment: str, failure: Failure) -> Callable[[str], None]:
    """An `at` that fails so often at this moment."""
    left = times

    def at(now: str) -> None:
        nonlocal left
        if now == moment and left:
            left -= 1
            raise ServiceFailed(failure)

    return at


def rows(n: int, first: int = 0) -> tuple[TuningRow, ...]:
    return tuple(
        TuningRow(
            (Message("system", "Sort the message."), Message("user", f"message {i}")),
            ("refund", "balance")[i % 2],
            place=f"train.csv:{i + 2}",
        )
        for i in range(first, first + n)
    )


def job(n: int = 20, **choices: float) -> TuningJob:
    return TuningJob(
        "fake:base-1",
        rows(n),
        rows(4, n),
        choices=Choices(**choices),  # type: ignore[arg-type]
    )
