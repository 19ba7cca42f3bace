"""What the server keeps: the records of files, jobs, batches, prefixes, traffic and feedback.

Frozen, and the same for SQLite and PostgreSQL. Times are UTC and aware. Ids are bare: the protocols
put their own prefixes before them. `owner` is the id of the key that made a thing. Nothing here
touches a database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from ..core import Json

__all__ = [
    "ApiKey", "Batch", "BatchItem", "Checkpoint", "Feedback", "JobState", "KeptPrefix", "Served",
    "StoredFile", "TunedModel", "TuningEvent", "TuningJob",
]  # fmt: skip

JobState = Literal[
    "queued", "running", "succeeded", "failed", "cancelling", "cancelled", "pausing", "paused",
]  # fmt: skip
HELD: tuple[JobState, ...] = ("running", "cancelling", "pausing")  # by a worker
OVER: tuple[JobState, ...] = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that a caller sent or a job made; its bytes are read apart, in pieces."""

    id: str
    owner: str
    name: str
    purpose: str  # fine-tune, batch, batch_output, fine-tune-results, adapter, media
    media_type: str
    size_bytes: int
    sha256: str
    created_at: datetime
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A saved state of a training that can be served: `tuned_model` is the id of its TunedModel."""

    id: str  # "1", "2", ... in the order they were made
    step: int
    epoch: float
    tuned_model: str
    metrics: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TuningJob:
    """A tuning job and how far it is.

    `base` is the model as the caller named it, `model` the open model that is trained for it
    (`local:...`); `pre_tuned` the TunedModel to go on from. Files are ids of stored files or gs://
    URIs. In `options`, what is not named is left to the trainer: `epochs`, `batch_size`,
    `learning_rate_multiplier`, `adapter_rank`, `beta`, `seed`, `last_checkpoint_only`. `request` is
    the body as it came, for the fields that are only told back. `statistics` and `error` are in
    neutral words; the protocols spell them.
    """

    id: str
    owner: str
    protocol: Literal["openai", "vertex"]
    base: str
    model: str
    method: Literal["supervised", "preference"]
    training_file: str
    created_at: datetime
    updated_at: datetime
    validation_file: str | None = None
    pre_tuned: str | None = None
    name: str = ""  # the display name or suffix
    options: Mapping[str, Json] = field(default_factory=dict)
    request: Mapping[str, Json] = field(default_factory=dict)
    state: JobState = "queued"
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: Mapping[str, Json] | None = None  # {"reason", "message", "param", "rows"}
    statistics: Mapping[str, Json] | None = None
    trained_tokens: int | None = None
    tuned_model: str | None = None
    checkpoints: tuple[Checkpoint, ...] = ()
    result_files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TuningEvent:
    """Something to tell about a job. `number` orders the events of one job from 1."""

    job: str
    number: int
    created_at: datetime
    level: Literal["info", "warn", "error"]
    message: str
    data: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TunedModel:
    """A LoRA adapter on an open base model, served under its id and under the protocols' names.

    `files` are the adapter's files by name within its folder, as ids of stored files, so that every
    server of one database can fetch them.
    """

    id: str
    owner: str
    job: str
    base: str
    model: str
    created_at: datetime
    updated_at: datetime
    files: Mapping[str, str]
    name: str = ""
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    default_checkpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that are answered when there is room. `counts` are of its items."""

    id: str
    owner: str
    protocol: Literal["openai", "gemini", "vertex"]
    route: str  # "/v1/chat/completions", "generateContent", "embedContent"
    model: str | None
    created_at: datetime
    updated_at: datetime
    name: str = ""
    input_file: str | None = None
    state: JobState = "queued"
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    total: int = 0
    succeeded: int = 0
    failed: int = 0
    output_file: str | None = None
    error_file: str | None = None
    error: Mapping[str, Json] | None = None
    request: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One request of a batch; `answer` or `error` once it is done, never again after that."""

    batch: str
    index: int
    key: str
    request: Mapping[str, Json]
    answer: Json = None
    error: Mapping[str, Json] | None = None
    done: bool = False


@dataclass(frozen=True, slots=True)
class KeptPrefix:
    """Turns that requests may begin with by name (`cachedContents`), until they expire."""

    id: str
    owner: str
    model: str
    request: Mapping[str, Json]  # the body as it came: contents, systemInstruction, tools
    tokens: int
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    name: str = ""


@dataclass(frozen=True, slots=True)
class Served:
    """One call that was answered or refused. `request` and `answer` are None where no content is
    kept; `version` is the bundle's id or the model's fingerprint.
    """  # noqa: D205

    id: str
    at: datetime
    key: str
    protocol: str
    route: str
    model: str
    version: str
    status: int
    seconds: float
    first_seconds: float | None = None  # until the first piece of the answer
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    dollars: float | None = None
    finish: str | None = None
    error: str | None = None
    trace: str | None = None
    request: Json = None
    answer: Json = None


@dataclass(frozen=True, slots=True)
class Feedback:
    """What somebody says of an answer: right or wrong, what it should have been, or a remark."""

    id: str
    request: str  # the id of the call
    key: str
    at: datetime
    verdict: Literal["right", "wrong"] | None = None
    correction: Json = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Who may call, and how much. `hash` is the SHA-256 of the key, which is kept nowhere."""

    id: str
    hash: str
    role: Literal["use", "tune", "admin"]
    requests_per_minute: int | None
    dollars_per_month: float | None
    created_at: datetime
    revoked_at: datetime | None = None
