"""The seam between a managed trainer and a service that tunes models, and the nouns of both.

A service implements `TuningService`; what makes a job safe against crashes, and what is told of it,
is in `managed.py`. Nothing here acts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from ..catalogue import Method
from ..core import Call, Function, LearningPoint, Message
from ..models.hosted.api import Failure

__all__ = [
    "Checkpoint", "Choices", "Deployment", "Form", "Order", "Phase", "RentedService",
    "ServiceFailed", "TuningJob", "TuningRow", "TuningService", "TuningState",
]  # fmt: skip

Form = Literal["gemini", "openai"]
Phase = Literal["waiting", "running", "succeeded", "failed", "cancelled", "expired"]


@dataclass(frozen=True)
class TuningRow:
    """One example to learn: what the model is given and what it should answer.

    `rejected` is the worse answer of a preference; `place` is `file:line` of where it came from.
    Where it should call some of `functions`, `calls` say which, and how `answer` says so in text.
    """

    messages: tuple[Message, ...]
    answer: str
    rejected: str | None = None
    place: str = ""
    calls: tuple[Call, ...] = ()
    functions: tuple[Function, ...] = ()


@dataclass(frozen=True)
class Choices:
    """What the user chose about the training; what is None is left to the service.

    A service takes either a rate or a multiplier of its own, as `TuningLimits.own_rate` says.
    """

    epochs: int | None = None
    learning_rate_multiplier: float | None = None
    adapter_size: int | None = None
    batch_size: int | None = None
    seed: int | None = None
    learning_rate: float | None = None


@dataclass(frozen=True)
class TuningJob:
    """A hosted base model, `provider:name`, and what it should learn. `held_out` is only looked at.

    `attempt` above 1 asks for a new job although one like it failed.
    """

    base: str
    train: tuple[TuningRow, ...]
    held_out: tuple[TuningRow, ...] = ()
    method: Method = "supervised"
    choices: Choices = Choices()


@dataclass(frozen=True)
class Order:
    """A job as a service is asked for it, under a `label` that no other job has.

    `model` is without its provider; `train` and `held_out` are what `upload` gave.
    """

    label: str
    model: str
    train: str
    held_out: str | None
    method: Method
    choices: Choices


@dataclass(frozen=True)
class Checkpoint:
    """A model on the way to the tuned one; `model` is its name at the service, if it is served.

    Losses are what the service reports; None where it reports none.
    """

    id: str
    step: int | None = None
    epoch: float | None = None
    model: str | None = None
    train_loss: float | None = None
    held_out_loss: float | None = None


@dataclass(frozen=True)
class TuningState:
    """Where a job is. Once it succeeded, `model` is what to ask for, as the service names it.

    `billed_tokens` is what the service says it charges for, `billed_dollars` what it says the job
    costs; None is unknown. `doing` says in words what a job that waits is waiting for. `seconds` is
    how long the service worked on it.
    """

    phase: Phase
    doing: str = ""
    model: str | None = None
    error: str = ""
    step: int | None = None
    steps: int | None = None
    epoch: float | None = None
    billed_tokens: int | None = None
    seconds: float | None = None
    learning: tuple[LearningPoint, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    cautions: tuple[str, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)  # worth keeping: experiment, result files
    billed_dollars: float | None = None

    @property
    def ended(self) -> bool:
        return self.phase not in ("waiting", "running")


@dataclass(frozen=True)
class Deployment:
    """The name by which a tuned model answers; None while no machine runs it.

    `how` to have one is a command or a page of the service: the user rents it, never we.
    """

    name: str | None
    how: str = ""


class ServiceFailed(Exception):
    """A call to a tuning service failed; `failure` says how, and what may be done about it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@runtime_checkable
class TuningService(Protocol):
    """One service that tunes models. Every method raises ServiceFailed when its call fails.

    `form` is how training files are written, `place` names the project or address where jobs run
    (no secret: it is part of a job's identity), `region` where that is, if the service has any.
    """

    @property
    def form(self) -> Form: ...

    @property
    def place(self) -> str: ...

    @property
    def region(self) -> str | None: ...

    def upload(self, file: Path, label: str) -> str:
        """The file's name at the service, from an earlier upload of the same content if any."""
        ...

    def find(self, label: str) -> str | None:
        """The id of the job that was created under `label`, if there is one."""
        ...

    def create(self, order: Order) -> str:
        """Start a job and give its id. Not idempotent: `managed.py` sees to it that it is once."""
        ...

    def state(self, job_id: str) -> TuningState:
        """Where the job is now."""
        ...

    def cancel(self, job_id: str) -> None:
        """Ask the service to end the job; `state` tells when it has."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class RentedService(Protocol):
    """A tuning service whose tuned models answer only from a machine that the user rents there."""

    def deployment(self, model: str) -> Deployment:
        """Where the tuned model answers now, by the name that `TuningState.model` gave it."""
        ...
