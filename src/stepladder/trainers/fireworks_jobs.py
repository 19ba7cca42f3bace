"""Tuning jobs of Fireworks, through its official SDK: `datasets`, and supervised or DPO jobs.

The id of a job is ours to choose, so a job is known again by its label, and a second one cannot be
made under it. Fireworks answers with a tuned model only from a deployment that the user rents; this
looks for one, and never rents it. Nothing of this was ever run against Fireworks: the forms are
those of the SDK's types and of its documentation.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ..core import Json
from ..errors import ModelError
from ..models import ProviderSettings
from ..models.hosted.keys import redact
from ..models.hosted.options import read_options
from ..models.openai import find_endpoint
from ..models.openai.endpoints import Endpoint, is_loopback
from ..registry import need
from .curves import thinned
from .fireworks_losses import FireworksLosses, LossesUnread
from .managed import ManagedTrainer
from .own_sdks import call, key_and_address, open_sdk_client, refused, wait_until
from .service import Choices, Deployment, Form, Order, Phase, ServiceFailed, TuningState

__all__ = ["ACCOUNT", "FireworksService", "open_trainer"]

Result = TypeVar("Result")

ACCOUNT = "FIREWORKS_ACCOUNT_ID"  # the SDK's own name for it
INFERENCE = "/inference/v1"  # where models answer; all else is beside it
_PHASES: dict[str, Phase] = {
    "JOB_STATE_UNSPECIFIED": "waiting",
    "JOB_STATE_CREATING": "waiting",
    "JOB_STATE_PENDING": "waiting",
    "JOB_STATE_VALIDATING": "waiting",
    "JOB_STATE_CREATING_INPUT_DATASET": "waiting",
    "JOB_STATE_RE_QUEUEING": "waiting",
    "JOB_STATE_PAUSED": "waiting",
    "JOB_STATE_IDLE": "waiting",
    "JOB_STATE_RUNNING": "running",
    "JOB_STATE_WRITING_RESULTS": "running",
    "JOB_STATE_CANCELLING": "running",
    "JOB_STATE_COMPLETED": "succeeded",
    "JOB_STATE_EARLY_STOPPED": "succeeded",
    "JOB_STATE_FAILED": "failed",
    "JOB_STATE_CANCELLED": "cancelled",
    "JOB_STATE_DELETING": "cancelled",
    "JOB_STATE_DELETING_CLEANING_UP": "cancelled",
    "JOB_STATE_EXPIRED": "expired",
}
_DOING = {
    "JOB_STATE_VALIDATING": "the service looks at the rows",
    "JOB_STATE_CREATING_INPUT_DATASET": "the service looks at the rows",
    "JOB_STATE_PENDING": "the job waits for its turn",
    "JOB_STATE_RE_QUEUEING": "the job waits for its turn again",
    "JOB_STATE_PAUSED": "the job was paused at the service",
}
_SUPERVISED, _PREFERENCE = "supervisedFineTuningJobs", "dpoJobs"


def open_trainer(settings: ProviderSettings) -> ManagedTrainer:
    """The trainer, with the key from the environment or the keyring.

    Raises:
        MissingExtra: the package `fireworks` or `openai` is not installed.
        ModelError: there is no key, or nothing says whose account it is.
    """
    what = f"tuning {settings.name!r} models"
    sdk = need("fireworks", extra="fireworks", what=what)
    need("openai", extra="fireworks", what=what)
    read_options(settings)
    endpoint = find_endpoint(settings.name)
    api_key, url = key_and_address(endpoint)
    account = os.environ.get(ACCOUNT, "").strip().removeprefix("accounts/")
    if not account:
        raise ModelError(
            f"nothing says to which account the tuning jobs of {settings.name!r} belong",
            hint=f"set {ACCOUNT} to its id, as `firectl account get` shows it",
        )
    root = url.removesuffix(INFERENCE)
    client = open_sdk_client(sdk.Fireworks, sdk, api_key, root, account_id=account)
    losses = FireworksLosses(sdk, local=is_loopback(urlsplit(url).hostname or ""))
    return ManagedTrainer(FireworksService(endpoint, client, root, account, sdk, losses))


@dataclass
class FireworksService:
    """Datasets and jobs of one account, through one client of the SDK."""

    endpoint: Endpoint
    client: Any
    url: str
    account: str
    sdk: Any
    losses: FireworksLosses | None = None  # None: not told
    sleep: Callable[[float], None] = time.sleep
    region: str | None = None

    form: Form = "openai"

    @property
    def place(self) -> str:
        return f"{self.endpoint.name}:{self.url}/accounts/{self.account}"

    def upload(self, file: Path, label: str) -> str:
        name = f"{label}-{file.stem.replace('_', '-')}"
        if not self._is_ready(name):
            self._send(file, name)
            what = f"{self.endpoint.name} is still looking at the rows of {file.name!r}"
            wait_until(lambda: self._is_ready(name), what, self.sleep)
        return f"accounts/{self.account}/datasets/{name}"

    def _send(self, file: Path, name: str) -> None:
        """The rows in a dataset of this id, whether or not it was begun before."""
        with file.open("rb") as content:
            count = sum(1 for _ in content)
        record = {"display_name": name, "example_count": str(count), "user_uploaded": {}}

        def send() -> None:
            with suppress(self.sdk.ConflictError):  # it was begun before
                self.client.datasets.create(dataset_id=name, dataset=record)
            with file.open("rb") as content:
                self.client.datasets.upload(name, file=(file.name, content))

        self._call(send)

    def _is_ready(self, name: str) -> bool:
        dataset = self._found(lambda: self.client.datasets.get(name))
        if dataset is None or dataset.state == "READY":
            return dataset is not None
        status = dataset.status
        if status is not None and status.code not in (None, "OK"):
            raise refused(self.endpoint, f"the rows are refused: {status.message or status.code}")
        return False

    def find(self, label: str) -> str | None:
        for kind in (_SUPERVISED, _PREFERENCE):
            job = f"accounts/{self.account}/{kind}/{label}"
            if self._found(lambda job=job: self._get(job)) is not None:  # type: ignore[misc]
                return job
        return None

    def create(self, order: Order) -> str:
        supervised = order.method == "supervised"
        kind = _SUPERVISED if supervised else _PREFERENCE
        job = f"accounts/{self.account}/{kind}/{order.label}"

        def make() -> None:
            try:
                if supervised:
                    self.client.supervised_fine_tuning_jobs.create(**_supervised(order))
                else:
                    self.client.dpo_jobs.create(**_preference(order))
            except self.sdk.ConflictError:
                # under our own label: it was made by a call whose answer was lost
                self._get(job)

        self._call(make)
        return job

    def state(self, job_id: str) -> TuningState:
        job = self._call(lambda: self._get(job_id))
        return self._with_losses(_state(job, self.account), job, job_id)

    def _with_losses(self, state: TuningState, job: Any, job_id: str) -> TuningState:
        """The state with its losses; that they cannot be read fails no job, and is said."""
        if self.losses is None or state.phase == "waiting":
            return state
        try:
            address = self._metrics_file(job, job_id)
            curve = self.losses.curve(address) if address else []
        except (LossesUnread, ServiceFailed) as error:
            why = error.failure.message if isinstance(error, ServiceFailed) else str(error)
            said = f"the losses of the tuning cannot be read: {why}"
            return replace(state, cautions=(*state.cautions, said))
        if not curve:
            return state
        percent, last = state.step or 0, curve[-1]
        steps = round(last.step * 100 / percent) if percent else None
        return replace(state, step=last.step, steps=steps, learning=thinned(curve))

    def _metrics_file(self, job: Any, job_id: str) -> str | None:
        """Where the job's metrics are; None while there are none."""
        jobs, name = self._jobs(job_id)
        if not hasattr(jobs, "get_metrics_file_endpoint"):
            return getattr(job, "metrics_file_signed_url", None) or None
        found = self._found(lambda: jobs.get_metrics_file_endpoint(name))
        return None if found is None else found.signed_url or None

    def cancel(self, job_id: str) -> None:
        jobs, name = self._jobs(job_id)
        self._call(lambda: jobs.cancel(name, body={}))

    def deployment(self, model: str) -> Deployment:
        for name in self._call(lambda: list(self._deployed(model))):
            return Deployment(name)
        return Deployment(
            None,
            f"firectl deployment create {model} "
            "(https://docs.fireworks.ai/fine-tuning/deploying-loras)",
        )

    def _deployed(self, model: str) -> Iterator[str]:
        """Under which names the model answers: merged into its deployment, or added to one."""
        for one in self.client.models.get(model.rpartition("/")[2]).deployed_model_refs or []:
            if one.state == "DEPLOYED":
                yield model if one.default else f"{model}#{one.deployment}"
        for one in self.client.deployments.list():
            if one.base_model == model and one.state == "READY":
                yield f"{model}#{one.name}"

    def close(self) -> None:
        self.client.close()
        if self.losses is not None:
            self.losses.close()

    def _jobs(self, job_id: str) -> tuple[Any, str]:
        """The SDK's resource of the job's kind, and the id without what names its kind."""
        kind, _, name = job_id.rpartition("/")
        if kind.endswith(_PREFERENCE):
            return self.client.dpo_jobs, name
        return self.client.supervised_fine_tuning_jobs, name

    def _get(self, job_id: str) -> Any:
        jobs, name = self._jobs(job_id)
        return jobs.get(name)

    def _found(self, what: Callable[[], Any]) -> Any:
        """What a call gives, or None where there is no such thing."""

        def ask() -> Any:
            try:
                return what()
            except self.sdk.NotFoundError:
                return None

        return self._call(ask)

    def _call(self, what: Callable[[], Result]) -> Result:
        return call(what, self.endpoint, self.sdk, self.url)


def _supervised(order: Order) -> dict[str, Json]:
    asked: dict[str, Json] = {
        "supervised_fine_tuning_job_id": order.label,
        "display_name": order.label,
        "dataset": order.train,
        "base_model": order.model,
        **_chosen(order.choices),
    }
    return asked if order.held_out is None else {**asked, "evaluation_dataset": order.held_out}


def _preference(order: Order) -> dict[str, Json]:
    return {
        "dpo_job_id": order.label,
        "display_name": order.label,
        "dataset": order.train,
        "training_config": {"base_model": order.model, **_chosen(order.choices)},
        "loss_config": {"method": "DPO"},
    }


def _chosen(choices: Choices) -> dict[str, Json]:
    """What the user chose, in the service's words; the seed is its own."""
    chosen: dict[str, Json] = {
        "epochs": choices.epochs,
        "learning_rate": choices.learning_rate,
        "lora_rank": choices.adapter_size,
        "batch_size_samples": choices.batch_size,  # its `batch_size` counts tokens
    }
    return {name: value for name, value in chosen.items() if value is not None}


# --- what comes back ----------------------------------------------------------------------------


def _state(job: Any, account: str) -> TuningState:
    said = job.state or "JOB_STATE_UNSPECIFIED"
    phase = _PHASES.get(said, "running")  # a state that is newer than this table
    progress = getattr(job, "job_progress", None)
    ended = phase not in ("waiting", "running")
    return TuningState(
        phase,
        doing=_DOING.get(said, "the service has not begun"),
        model=_model(job, account) if phase == "succeeded" else None,
        error=redact((job.status.message if job.status else "") or "") if ended else "",
        # the service tells how far it is in percent, not in steps
        step=None if progress is None else progress.percent,
        steps=None if progress is None or progress.percent is None else 100,
        epoch=None if progress is None else progress.epoch,
        billed_dollars=_dollars(job) if phase == "succeeded" else None,
        seconds=_seconds(job),
        cautions=_cautions(said, phase, job),
    )


def _model(job: Any, account: str) -> str:
    """The tuned model's full name; without one of its own it has the job's."""
    config = getattr(job, "training_config", None)
    named = getattr(job if config is None else config, "output_model", None)
    name = str(named or job.name.rpartition("/")[2])
    return name if name.startswith("accounts/") else f"accounts/{account}/models/{name}"


def _dollars(job: Any) -> float | None:
    """The service's own estimate of the job's cost; it tells no bill. None unless in dollars."""
    cost = getattr(job, "estimated_cost", None)
    if cost is None or cost.currency_code != "USD":
        return None
    return int(cost.units or 0) + (cost.nanos or 0) / 1_000_000_000


def _seconds(job: Any) -> float | None:
    if job.create_time is None or job.completed_time is None:
        return None
    return float((job.completed_time - job.create_time).total_seconds())


def _cautions(said: str, phase: Phase, job: Any) -> tuple[str, ...]:
    told = []
    if said == "JOB_STATE_EARLY_STOPPED":
        told.append("the service ended the training early: the held-out loss did not fall")
    if phase == "succeeded" and _dollars(job) is not None:
        told.append("what the tuning cost is the service's own estimate")
    return tuple(told)
