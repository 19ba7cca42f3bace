"""A clock and records for the tests of the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from stepladder.database import new_id
from stepladder.database.records import (
    Batch,
    BatchItem,
    Feedback,
    KeptPrefix,
    Served,
    TunedModel,
    TuningJob,
)

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Clock:
    """The time, which only the test moves."""

    def __init__(self) -> None:
        self.now = AT

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)


def a_job(**changes: Any) -> TuningJob:
    given: dict[str, Any] = {
        "id": new_id(), "owner": "ann", "protocol": "openai", "base": "gpt-4o-mini",
        "model": "local:smollm2", "method": "supervised", "training_file": "1", "created_at": AT,
        "updated_at": AT,
    }  # fmt: skip
    return TuningJob(**{**given, **changes})


def a_batch(**changes: Any) -> Batch:
    given: dict[str, Any] = {
        "id": new_id(), "owner": "ann", "protocol": "openai", "route": "/v1/chat/completions",
        "model": "small", "created_at": AT, "updated_at": AT,
    }  # fmt: skip
    return Batch(**{**given, **changes})


def items_of(batch: Batch, count: int) -> list[BatchItem]:
    return [BatchItem(batch.id, index, f"row {index}", {"n": index}) for index in range(count)]


def a_call(**changes: Any) -> Served:
    given: dict[str, Any] = {
        "id": new_id(), "at": AT, "key": "ann", "protocol": "gemini", "route": "generateContent",
        "model": "small", "version": "abc", "status": 200, "seconds": 0.25, "first_seconds": 0.125,
        "input_tokens": 12, "output_tokens": 3, "cached_tokens": 0, "dollars": 0.5,
        "finish": "stop", "trace": "f00", "request": {"contents": "how much?"}, "answer": ["two"],
    }  # fmt: skip
    return Served(**{**given, **changes})


def a_remark(request: str, **changes: Any) -> Feedback:
    given: dict[str, Any] = {
        "id": new_id(), "request": request, "key": "ann", "at": AT, "verdict": "wrong",
        "correction": {"answer": "three"}, "comment": "not two",
    }  # fmt: skip
    return Feedback(**{**given, **changes})


def a_prefix(**changes: Any) -> KeptPrefix:
    given: dict[str, Any] = {
        "id": new_id(), "owner": "ann", "model": "small", "request": {"contents": []}, "tokens": 9,
        "created_at": AT, "updated_at": AT, "expires_at": AT.replace(hour=13),
    }  # fmt: skip
    return KeptPrefix(**{**given, **changes})


def a_model(**changes: Any) -> TunedModel:
    given: dict[str, Any] = {
        "id": new_id(), "owner": "ann", "job": "1", "base": "gpt-4o-mini", "model": "local:smollm2",
        "created_at": AT, "updated_at": AT, "files": {"adapter.safetensors": "7"},
        "labels": {"team": "é"},
    }  # fmt: skip
    return TunedModel(**{**given, **changes})
