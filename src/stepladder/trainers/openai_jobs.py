"""Tuning jobs as OpenAI's protocol has them: `files` and `fine_tuning/jobs`, by the official SDK.

A job is known again by a label among its metadata; the suffix of the tuned model carries it too.
`endpoints.toml` says which services tune so; those that speak the chat protocol but tune by an API
of their own have a file of their own here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..catalogue import Method
from ..core import Json, LearningPoint
from ..errors import NotApplicable
from ..models import ProviderSettings
from ..models.hosted.keys import redact
from ..models.hosted.options import read_options
from ..models.openai import connect, find_endpoint
from ..models.openai.endpoints import Endpoint, user_file
from ..models.openai.failures import explain_failure
from ..registry import look_up, need
from .curves import thinned
from .managed import ManagedTrainer
from .service import Checkpoint, Choices, Form, Order, Phase, ServiceFailed, TuningState

__all__ = ["OpenAIService", "open_trainer"]

Result = TypeVar("Result")

LABEL = "stepladder"  # the key of our label among a job's metadata
CALL_SECONDS = 120.0
PAGE = 100
_LOSSES = ("train_loss", "valid_loss", "full_valid_loss")
_PHASES: dict[str, Phase] = {
    "validating_files": "waiting",
    "queued": "waiting",
    "paused": "waiting",
    "running": "running",
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "cancelled",
}
_ENDED = ("succeeded", "failed", "cancelled")
_DOING = {
    "validating_files": "the service looks at the rows",
    "queued": "the job waits for its turn",
    "paused": "the job was paused at the service",
}


def open_trainer(settings: ProviderSettings) -> ManagedTrainer:
    """The trainer of an endpoint, with its key from the environment or the keyring.

    Raises:
        MissingExtra: the package `openai` is not installed.
        NotApplicable: the endpoint does not tune models, as far as is known.
        ModelError: there is no key.
    """
    need("openai", extra="openai", what=f"tuning {settings.name!r} models")
    read_options(settings)
    endpoint = find_endpoint(settings.name)
    if endpoint.tuning in ("together", "fireworks"):  # an endpoint of the user's own
        opened: ManagedTrainer = look_up("trainer", endpoint.tuning)(settings)
        return opened
    if endpoint.tuning != "openai":
        raise NotApplicable(
            f"{settings.name!r} models cannot be tuned: the service is not known to tune any",
            hint=f'give it tuning = "openai" in {str(user_file())!r} if it has OpenAI\'s jobs',
        )
    return ManagedTrainer(OpenAIService(endpoint, connect(endpoint, read_seconds=CALL_SECONDS)))


@dataclass
class OpenAIService:
    """Files and jobs of one endpoint, through one client of the SDK."""

    endpoint: Endpoint
    client: Any
    region: str | None = None

    form: Form = "openai"

    @property
    def place(self) -> str:
        return f"{self.endpoint.name}:{self.client.base_url}"

    def upload(self, file: Path, label: str) -> str:
        name = f"{label}-{file.name}"
        size = file.stat().st_size

        def send() -> str:
            for there in self.client.files.list(purpose="fine-tune", limit=PAGE):
                if there.filename == name and there.bytes == size and there.status != "error":
                    return str(there.id)
            with file.open("rb") as content:
                return str(self.client.files.create(file=(name, content), purpose="fine-tune").id)

        return self._call(send)

    def find(self, label: str) -> str | None:
        # all jobs are looked through: not every server knows how to filter them
        def look() -> str | None:
            for job in self.client.fine_tuning.jobs.list(limit=PAGE):
                if (job.metadata or {}).get(LABEL) == label:
                    return str(job.id)
            return None

        return self._call(look)

    def create(self, order: Order) -> str:
        asked: dict[str, Any] = {
            "model": order.model,
            "training_file": order.train,
            "suffix": order.label,
            "metadata": {LABEL: order.label},
            "method": _method(order.method, order.choices),
        }
        if order.held_out is not None:
            asked["validation_file"] = order.held_out
        if order.choices.seed is not None:
            asked["seed"] = order.choices.seed
        return self._call(lambda: str(self.client.fine_tuning.jobs.create(**asked).id))

    def state(self, job_id: str) -> TuningState:
        jobs = self.client.fine_tuning.jobs

        def look() -> TuningState:
            job = jobs.retrieve(job_id)
            events = jobs.list_events(job_id, limit=PAGE)
            # the newest page says how far it is; the whole curve is read once
            told = list(events) if job.status in _ENDED else list(events.data)
            return _state(job, told, list(jobs.checkpoints.list(job_id, limit=PAGE)))

        return self._call(look)

    def cancel(self, job_id: str) -> None:
        self._call(lambda: self.client.fine_tuning.jobs.cancel(job_id))

    def close(self) -> None:
        self.client.close()

    def _call(self, what: Callable[[], Result]) -> Result:
        """What a call gives; ServiceFailed when it fails."""
        try:
            return what()
        except Exception as error:  # the SDK raises many kinds; our own bugs are raised again
            url = str(self.client.base_url)
            raise ServiceFailed(explain_failure(error, self.endpoint, url, redact)) from error


def _method(method: Method, choices: Choices) -> dict[str, Json]:
    name = "dpo" if method == "preference" else "supervised"
    chosen: dict[str, Json] = {
        "n_epochs": choices.epochs,
        "batch_size": choices.batch_size,
        "learning_rate_multiplier": choices.learning_rate_multiplier,
    }
    given = {key: value for key, value in chosen.items() if value is not None}
    return {"type": name, name: {"hyperparameters": given}}


# --- what comes back ----------------------------------------------------------------------------


def _state(job: Any, events: Sequence[Any], points: Sequence[Any]) -> TuningState:
    phase = _PHASES.get(job.status, "running")  # a status that is newer than this table
    learning, steps = _learning(job, events, points)
    last = learning[-1] if learning else None
    return TuningState(
        phase,
        doing=_DOING.get(job.status, "the service has not begun"),
        model=job.fine_tuned_model,
        error=redact(_why(job)),
        step=None if last is None else last.step,
        steps=steps,
        epoch=None if last is None or steps is None else last.epoch,
        billed_tokens=job.trained_tokens,
        seconds=float(job.finished_at - job.created_at) if job.finished_at else None,
        learning=thinned(learning),
        checkpoints=tuple(map(_checkpoint, sorted(points, key=lambda point: point.step_number))),
        cautions=_cautions(events),
        facts={"result_files": ", ".join(job.result_files)} if job.result_files else {},
    )


def _why(job: Any) -> str:
    if job.error is None or not job.error.message:
        return ""
    param = f" ({job.error.param})" if job.error.param else ""
    return f"{job.error.message}{param}"


def _learning(
    job: Any, events: Sequence[Any], points: Sequence[Any]
) -> tuple[list[LearningPoint], int | None]:
    """A point for each step whose loss was reported, and how many steps there are in all."""
    told = [event.data for event in events if isinstance(event.data, Mapping)]
    told += [
        {**point.metrics.to_dict(), "step": point.step_number}
        for point in points
        if point.metrics is not None
    ]
    steps = next((int(data["total_steps"]) for data in told if data.get("total_steps")), None)
    per_step = (_epochs(job) or 0) / steps if steps else 0.0
    seen: dict[int, dict[str, float]] = {}
    for data in told:
        if data.get("step") is not None:
            losses = {key: data[key] for key in _LOSSES if data.get(key) is not None}
            seen.setdefault(int(data["step"]), {}).update(losses)
    curve = [
        LearningPoint(
            step=at,
            epoch=at * per_step,
            train_loss=losses["train_loss"],
            held_out_loss=losses.get("full_valid_loss", losses.get("valid_loss")),
        )
        for at, losses in sorted(seen.items())
        if "train_loss" in losses
    ]
    return curve, steps


def _epochs(job: Any) -> int | None:
    """The number of epochs as asked for or as the service chose it; None while it says "auto"."""
    name = job.method.type if job.method is not None else "supervised"
    kind = getattr(job.method, name, None) if job.method is not None else None
    for said in (getattr(kind, "hyperparameters", None), job.hyperparameters):
        epochs = getattr(said, "n_epochs", None)
        if isinstance(epochs, int):
            return epochs
    return None


def _checkpoint(point: Any) -> Checkpoint:
    said = point.metrics.to_dict() if point.metrics is not None else {}
    return Checkpoint(
        id=point.id,
        step=point.step_number,
        model=point.fine_tuned_model_checkpoint,
        train_loss=said.get("train_loss"),
        held_out_loss=said.get("full_valid_loss", said.get("valid_loss")),
    )


def _cautions(events: Sequence[Any]) -> tuple[str, ...]:
    """What the service warned of, for the report."""
    warned = (event.message for event in events if event.level in ("warn", "error"))
    return tuple(dict.fromkeys(f"the service: {redact(message)}" for message in warned))
