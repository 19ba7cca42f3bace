"""Tuning jobs, whatever the protocol: what they are made of, and how far they are."""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from .answering import Scores
from .asking import Asked, Refused
from .settings import Settings
from .tuned import Epoch, Row, fit

__all__ = ["ENDED", "Training", "Trainings", "epochs_for"]

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ENDED = ("succeeded", "failed", "cancelled")


@dataclass
class Training:
    """One job. `asked` is the request that made it, in its protocol's words."""

    id: str
    protocol: Literal["vertex", "openai", "together", "fireworks"]
    parent: str  # projects/P/locations/L
    base: str
    asked: dict[str, Any]
    rows: list[Row]
    validation: list[Row]
    epochs: int
    created: float = field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    polls: int = 0
    state: State = "queued"
    error: str = ""
    dropped: list[int] = field(default_factory=list)  # rows that were left out, from 1
    history: list[Epoch] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return sum(row.tokens for row in self.rows)

    @property
    def steps(self) -> int:
        return self.epochs * max(1, -(-len(self.rows) // 16))

    @property
    def number(self) -> int:
        """The job's id as a number, from which those of its models and endpoints are made."""
        return zlib.crc32(self.id.encode())

    def kept_epochs(self) -> list[Epoch]:
        """Those with a checkpoint: all below ten epochs, else about ten."""
        every = 1 if self.epochs < 10 else round(self.epochs / 10)
        return [epoch for epoch in self.history if epoch.number % every == 0]


class Trainings:
    """All jobs. With a folder they outlive the process."""

    def __init__(self, settings: Settings, folder: Path | None = None) -> None:
        self._settings = settings
        self._folder = folder
        self._lock = threading.Lock()
        self.all: dict[str, Training] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(folder.glob("*.json")):
                training = _read(json.loads(path.read_text(encoding="utf-8")))
                self.all[training.id] = training
                if training.state in ("queued", "running", "succeeded"):
                    self._begin(training)

    def add(self, training: Training) -> None:
        """Raises Refused above the jobs allowed at once."""
        under_way = sum(other.state not in ENDED for other in self.all.values())
        allowed = self._settings.jobs_at_once
        if allowed is not None and under_way >= allowed:
            raise Refused(
                429,
                "Quota exceeded for global_concurrent_tuning_jobs. Please submit a quota increase "
                "request.",
                "RESOURCE_EXHAUSTED",
            )
        self.all[training.id] = training
        if training.error:
            training.state, training.ended = "failed", time.time()
        else:
            self._begin(training)
        self._keep(training)

    def find(self, job: str) -> Training:
        if job not in self.all:
            raise Refused(404, f"The job {job} was not found.", "")
        return self.all[job]

    def poll(self, job: str) -> Training:
        """The job one step further: it ends after some polls, but not before it is trained."""
        training = self.find(job)
        if training.state in ENDED:
            return training
        training.polls += 1
        training.state = "running"
        training.started = training.started or time.time()
        if self._settings.fail_jobs:
            training.state, training.error = "failed", self._settings.fail_jobs
        elif training.polls >= self._settings.polls and self._is_trained(training):
            training.state = "succeeded"
        if training.state in ENDED:
            training.ended = time.time()
        self._keep(training)
        return training

    def cancel(self, job: str) -> Training:
        training = self.find(job)
        if training.state in ENDED:
            raise Refused(400, f"The job {job} is in a terminal state.", "FAILED_PRECONDITION")
        training.state, training.ended = "cancelled", time.time()
        self._keep(training)
        return training

    def model(self, number: int) -> tuple[str, Scores] | None:
        """What answers at an endpoint: that of the job or of one of its checkpoints."""
        for training in self.all.values():
            place = number - training.number
            if training.state == "succeeded" and 0 <= place <= training.epochs:
                self._is_trained(training, wait=True)
                return training.base, training.history[place - 1].scores
        return None

    def _begin(self, training: Training) -> None:
        def work() -> None:
            with self._lock:  # one job at a time: the machine has other things to do
                try:
                    for epoch in fit(training.rows, training.validation, training.epochs):
                        training.history.append(epoch)
                except Exception:
                    training.state, training.error = "failed", "Internal error occurred."
                    raise

        threading.Thread(target=work, daemon=True, name=training.id).start()

    def _is_trained(self, training: Training, *, wait: bool = False) -> bool:
        while wait and len(training.history) < training.epochs:
            time.sleep(0.01)
        return len(training.history) == training.epochs

    def _keep(self, training: Training) -> None:
        if self._folder is None:
            return
        record = {k: v for k, v in vars(training).items() if k != "history"}
        for name in ("rows", "validation"):
            record[name] = [asdict(row) for row in record[name]]
        path = self._folder / f"{training.id}.json"
        path.with_suffix(".new").write_text(json.dumps(record), encoding="utf-8")
        path.with_suffix(".new").replace(path)


def _read(record: Mapping[str, Any]) -> Training:
    found = dict(record)
    for name in ("rows", "validation"):
        found[name] = [_row(row) for row in found[name]]
    return Training(**found)


def _row(record: Mapping[str, Any]) -> Row:
    asked = record["asked"]
    turns = tuple((role, text) for role, text in asked["turns"])
    plain = Asked(asked["model"], asked["system"], turns)
    return Row(plain, record["answer"], record["tokens"])


def epochs_for(rows: Sequence[Row]) -> int:
    """The service's own choice: fewer the more rows there are."""
    return 4 if len(rows) >= 1000 else 6 if len(rows) >= 200 else 10
