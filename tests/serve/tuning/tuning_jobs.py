"""Tuning jobs over a tiny model: posted, waited for, and looked at."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stepladder.core import Json
from stepladder.database import new_id
from stepladder.database.database import Database
from stepladder.database.records import TuningJob
from stepladder.serve.tuning import telling

COLOURS = ("red", "green", "blue", "grey")


def openai_row(number: int, **more: Json) -> dict[str, Json]:
    colour = COLOURS[number % 4]
    return {
        "messages": [
            {"role": "user", "content": f"ann {number}: {colour}"},
            {"role": "assistant", "content": colour},
        ],
        **more,
    }


def gemini_row(number: int) -> dict[str, Json]:
    colour = COLOURS[number % 4]
    return {
        "contents": [
            {"role": "user", "parts": [{"text": f"ann {number}: {colour}"}]},
            {"role": "model", "parts": [{"text": colour}]},
        ]
    }


def openai_pair_row(number: int) -> dict[str, Json]:
    """The colour is better than its name behind a "no"."""
    row, colour = openai_row(number), COLOURS[number % 4]
    return {
        "input": {"messages": row["messages"][:1]},
        "preferred_output": row["messages"][1:],
        "non_preferred_output": [{"role": "assistant", "content": f"no {colour}"}],
    }


def gemini_pair_row(number: int) -> dict[str, Json]:
    row, colour = gemini_row(number), COLOURS[number % 4]
    worse = {"role": "model", "parts": [{"text": f"no {colour}"}]}
    return {
        "contents": row["contents"][:1],
        "completions": [
            {"score": 0, "completion": worse}, {"score": 1, "completion": row["contents"][1]},
        ],
    }  # fmt: skip


def lines(rows: Sequence[Json]) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def upload(database: Database, content: bytes, owner: str = "me") -> str:
    file = database.add_file(
        owner=owner,
        name="train.jsonl",
        purpose="fine-tune",
        media_type="application/jsonl",
        chunks=[content],
    )
    return file.id


def post(database: Database, base: Path, content: bytes, **more: Any) -> TuningJob:
    """A queued job of OpenAI's protocol, over a file of these bytes."""
    now = datetime.now(UTC)
    job = TuningJob(
        id=new_id(),
        owner="me",
        protocol="openai",
        base="gpt-5-mini",
        model=f"local:{base}",
        method="supervised",
        training_file=upload(database, content),
        created_at=now,
        updated_at=now,
        options={"epochs": 2, "adapter_rank": 4},
    )
    job = replace(job, **more)
    database.add_job(job)
    return job


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, act: Any) -> None:
    """Call `act` when the trainer has made so many steps, before that is told."""
    tell = telling.Teller.__call__

    def told(self: telling.Teller, event: str, fields: dict[str, Any]) -> None:
        if fields.get("step") == step and "train_loss" in fields:
            act()
        tell(self, event, fields)

    monkeypatch.setattr(telling.Teller, "__call__", told)


def now_of(database: Database, job: TuningJob) -> TuningJob:
    found = database.job(job.id)
    assert found is not None
    return found
