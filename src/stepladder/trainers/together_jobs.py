"""Tuning jobs of Together, through its official SDK: `files` and `fine-tunes`.

A job is known again by its suffix, which no other job has. Together answers with a tuned model
only from a machine that the user rents; this looks for one, and never rents it. Nothing of this was
ever run against Together: the forms are those of the SDK's types and of its documentation.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..core import Json, LearningPoint
from ..models import ProviderSettings
from ..models.hosted.keys import redact
from ..models.hosted.options import read_options
from ..models.openai import find_endpoint
from ..models.openai.endpoints import Endpoint
from ..registry import need
from .curves import thinned
from .managed import ManagedTrainer
from .own_sdks import call, key_and_address, open_sdk_client, refused, wait_until
from .service import Checkpoint, Deployment, Form, Order, Phase, TuningState

__all__ = ["TogetherService", "open_trainer"]

Result = TypeVar("Result")

ANSWERING = {  # states of a deployment
    "DEPLOYMENT_STATE_READY", "DEPLOYMENT_STATE_SCALING", "DEPLOYMENT_STATE_DEGRADED",
}  # fmt: skip
LOOKS = 4  # at the held-out rows while a job runs; the service has no choice of its own
NANODOLLARS = 1_000_000_000  # of a job's `total_price`, as the SDK's own command line reads it
_PHASES: dict[str, Phase] = {
    "pending": "waiting",
    "queued": "waiting",
    "running": "running",
    "compressing": "running",
    "uploading": "running",
    "cancel_requested": "running",
    "cancelled": "cancelled",
    "error": "failed",
    "user_error": "failed",
    "completed": "succeeded",
}
_LOSSES = {"train/loss": "train", "eval/loss": "held_out"}


def open_trainer(settings: ProviderSettings) -> ManagedTrainer:
    """The trainer, with the key from the environment or the keyring.

    Raises:
        MissingExtra: the package `together` or `openai` is not installed.
        ModelError: there is no key.
    """
    what = f"tuning {settings.name!r} models"
    sdk = need("together", extra="together", what=what)
    need("openai", extra="together", what=what)
    read_options(settings)
    endpoint = find_endpoint(settings.name)
    api_key, url = key_and_address(endpoint)
    root = url.removesuffix("/v1") if _names_versions(sdk) else url
    return ManagedTrainer(
        TogetherService(endpoint, open_sdk_client(sdk.Together, sdk, api_key, root), url, sdk)
    )


def _names_versions(sdk: Any) -> bool:
    """Whether the SDK's own paths begin with the API's version: from its third major one on."""
    return int(sdk.__version__.partition(".")[0]) >= 3


@dataclass
class TogetherService:
    """Files and jobs of one account, through one client of the SDK."""

    endpoint: Endpoint
    client: Any
    url: str
    sdk: Any
    sleep: Callable[[float], None] = time.sleep
    region: str | None = None

    form: Form = "openai"

    @property
    def place(self) -> str:
        return f"{self.endpoint.name}:{self.url}"

    def upload(self, file: Path, label: str) -> str:
        # the service knows a file by its contents: one that is there already is not sent again
        found = self._call(lambda: self.client.files.upload(file, purpose="fine-tune", check=False))
        name = str(found.id)
        what = f"{self.endpoint.name} is still looking at the rows of {file.name!r}"
        wait_until(lambda: self._is_read(name), what, self.sleep)
        return name

    def _is_read(self, file_id: str) -> bool:
        """Whether the service is done with looking at the rows; ServiceFailed if they are bad."""
        file = self._call(lambda: self.client.files.retrieve(file_id))
        state = getattr(file, "processing_status", None)
        if state in ("FAILED", "INVALID_FORMAT"):
            report = getattr(file, "validation_report", None)
            raise refused(self.endpoint, (report and report.error) or f"the rows are {state}")
        return state in (None, "COMPLETED")

    def find(self, label: str) -> str | None:
        def look() -> str | None:
            for job in self.client.fine_tuning.list().data:
                # the suffix is part of the tuned model's name, which may be told in its place
                names = (job.x_model_output_name or "").split(":")
                if job.suffix == label or label in names:
                    return str(job.id)
            return None

        return self._call(look)

    def create(self, order: Order) -> str:
        asked = _asked(order)
        return self._call(lambda: self._created(asked))

    def _created(self, asked: Mapping[str, Any]) -> str:
        try:
            return str(self.client.fine_tuning.create(**asked).id)
        except json.JSONDecodeError:  # a success that cannot be read: the job may be there
            raise
        except ValueError as error:  # the SDK refuses what the service's own limits forbid
            raise refused(self.endpoint, str(error)) from error

    def state(self, job_id: str) -> TuningState:
        jobs = self.client.fine_tuning

        def look() -> TuningState:
            job = jobs.retrieve(job_id)
            metrics = jobs.list_metrics(job_id).metrics or []
            events = jobs.list_events(job_id).data or []
            points = jobs.list_checkpoints(job_id).data if job.status == "completed" else []
            return _state(job, metrics, events, points)

        return self._call(look)

    def cancel(self, job_id: str) -> None:
        self._call(lambda: self.client.fine_tuning.cancel(job_id))

    def deployment(self, model: str) -> Deployment:
        found = self._call(lambda: self._endpoint(model) or self._deployed(model))
        how = (
            f"tg endpoints create --model '{model}' --hardware HARDWARE --wait "
            "(https://docs.together.ai/docs/fine-tuning/deployment)"
        )
        return Deployment(found, "" if found else how)

    def _endpoint(self, model: str) -> str | None:
        """Under which name an endpoint of the API's first version answers with the model."""
        # asked by its path: the newer SDK has methods for the API's second version alone
        path = f"{self.url}/endpoints"
        options: Any = {"params": {"type": "dedicated", "mine": "true"}}
        found: Any = self.client.get(path, cast_to=object, options=options)
        for one in found.get("data", []):
            if one.get("model") == model and one.get("state") == "STARTED":
                return str(one["name"])
        return None

    def _deployed(self, model: str) -> str | None:
        """The same of the second version, which knows models by id and splits an endpoint's calls.

        The name is the deployment's own, so that no other model of the endpoint answers.
        """
        jobs = self.client.fine_tuning
        made = [job.id for job in jobs.list().data if job.x_model_output_name == model]
        wanted = {jobs.retrieve(job).api_model_object_id for job in made} - {None}
        if not wanted:
            return None
        project = self.client.project_id or self.client.whoami().project_id
        if _names_versions(self.sdk):
            endpoints = self.client.endpoints
        else:
            second = self.client.with_options(base_url=f"{self.url.removesuffix('/v1')}/v2")
            endpoints = second.beta.endpoints
        for endpoint in endpoints.list(project_id=project):
            for one in endpoint.deployments:
                # projects/P/models/ID/revisions/R
                if one.state in ANSWERING and wanted & set(one.model.split("/")[3:4]):
                    return str(one.name)
        return None

    def close(self) -> None:
        self.client.close()

    def _call(self, what: Callable[[], Result]) -> Result:
        return call(what, self.endpoint, self.sdk, self.url)


def _asked(order: Order) -> dict[str, Any]:
    """The SDK's arguments; what is left out is the SDK's or the service's choice."""
    choices = order.choices
    asked: dict[str, Json] = {
        "model": order.model,
        "training_file": order.train,
        "suffix": order.label,
        "n_epochs": choices.epochs,
        "learning_rate": choices.learning_rate,
        "batch_size": choices.batch_size,
        "random_seed": choices.seed,
        "training_method": "dpo" if order.method == "preference" else "sft",
    }
    if order.method == "supervised":
        asked["train_on_inputs"] = "auto"  # of conversations: the answers alone
    if order.held_out is not None:
        asked |= {"validation_file": order.held_out, "n_evals": LOOKS}
    if choices.adapter_size is not None:
        asked |= {"lora": True, "lora_r": choices.adapter_size}
    return {name: value for name, value in asked.items() if value is not None}


# --- what comes back ----------------------------------------------------------------------------


def _state(
    job: Any, metrics: Sequence[Mapping[str, float]], events: Sequence[Any], points: Sequence[Any]
) -> TuningState:
    phase = _PHASES.get(job.status, "running")  # a status that is newer than this table
    curve = _curve(metrics)
    last = curve[-1] if curve else None
    steps = max((event.total_steps or 0 for event in events), default=0) or None
    done = phase == "succeeded"
    price = job.total_price
    return TuningState(
        phase,
        doing="the job waits for its turn" if job.status == "queued" else "",
        model=job.x_model_output_name if done else None,
        error=redact(_why(events)) if phase == "failed" else "",
        step=None if last is None else last.step,
        steps=steps,
        epoch=None if last is None else last.epoch,
        billed_tokens=job.token_count if done else None,
        billed_dollars=price / NANODOLLARS if done and price is not None else None,
        seconds=_seconds(job) if phase not in ("waiting", "running") else None,
        learning=thinned(curve),
        checkpoints=tuple(Checkpoint(point.path, point.step) for point in points),
        cautions=_cautions(events),
    )


def _curve(metrics: Iterable[Mapping[str, float]]) -> list[LearningPoint]:
    """A point for each step whose training loss was told; looks at held-out rows come apart."""
    seen: dict[int, dict[str, float]] = {}
    for row in metrics:
        step = row.get("train/global_step", row.get("eval/global_step"))
        if step is None:
            continue
        told = {short: row[name] for name, short in _LOSSES.items() if name in row}
        epoch = row.get("train/epoch", row.get("eval/epoch"))
        seen.setdefault(int(step), {}).update(told, **({} if epoch is None else {"epoch": epoch}))
    return [
        LearningPoint(at, told.get("epoch", 0.0), told["train"], told.get("held_out"))
        for at, told in sorted(seen.items())
        if "train" in told
    ]


def _why(events: Sequence[Any]) -> str:
    """The last error among the events."""
    said = [one.message for one in events if one.level == "error" or one.type == "job_error"]
    return str(said[-1]) if said else ""


def _seconds(job: Any) -> float | None:
    """From the job's creation to its last change, the time in the queue included."""
    if job.created_at is None or job.updated_at is None:
        return None
    return float((job.updated_at - job.created_at).total_seconds())


def _cautions(events: Sequence[Any]) -> tuple[str, ...]:
    warned = (one.message for one in events if one.level == "warning" or one.type == "warning")
    return tuple(f"the service: {redact(message)}" for message in dict.fromkeys(warned))
