"""Batches of requests as both of Google's hosts take them: inline, as a file, or through `gs://`."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Mapping
from typing import Any

from .asking import Refused
from .gemini import generated
from .names import camel
from .settings import Settings
from .state import Batch, State

__all__ = ["cancelled", "polled", "read_lines", "submitted"]

ENDED = ("succeeded", "failed", "cancelled")
_BROKEN_ROW = {"code": 13, "message": "Internal error encountered."}


def submitted(
    state: State, parent: str, model: str, asked: dict[str, Any], requests: list[dict[str, Any]]
) -> Batch:
    """A new batch. Each request is {"request": ...} with whatever else its line had."""
    if not requests:
        raise Refused(400, "The batch has no requests.")
    made = Batch(str(uuid.uuid4().int % 10**18), parent, model, asked, requests)
    state.batches[made.id] = made
    return made


def polled(state: State, batch_id: str) -> Batch:
    """The batch one step further; answered when it ends."""
    batch = _find(state, batch_id)
    if batch.state in ENDED:
        return batch
    batch.polls += 1
    batch.state = "running"
    if state.settings.fail_batches:
        batch.state, batch.error = "failed", state.settings.fail_batches
    elif batch.polls >= state.settings.polls:
        batch.results = _answered(state, batch)
        batch.state = "succeeded"
    if batch.state in ENDED:
        batch.ended = time.time()
    return batch


def cancelled(state: State, batch_id: str) -> Batch:
    batch = _find(state, batch_id)
    if batch.state not in ENDED:
        batch.state, batch.ended = "cancelled", time.time()
    return batch


def read_lines(data: bytes) -> list[dict[str, Any]]:
    """The lines of a JSONL file; raises Refused at one that is not an object."""
    found = []
    for number, line in enumerate(data.decode("utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise Refused(400, f"Line {number} is not valid JSON.") from error
        if not isinstance(value, dict):
            raise Refused(400, f"Line {number} is not an object.")
        found.append(value)
    return found


def _find(state: State, batch_id: str) -> Batch:
    if batch_id not in state.batches:
        raise Refused(404, f"Batch {batch_id} was not found.")
    return state.batches[batch_id]


def _answered(state: State, batch: Batch) -> list[dict[str, Any]]:
    draw = random.Random(0)
    return [_answer(state, state.settings, draw, batch, item) for item in batch.requests]


def _answer(
    state: State, settings: Settings, draw: random.Random, batch: Batch, item: Mapping[str, Any]
) -> dict[str, Any]:
    if draw.random() < settings.fail_batch_rows:
        return {"error": _BROKEN_ROW}
    try:
        return {"response": generated(camel(item["request"]), batch.model, state)}
    except Refused as refused:
        return {"error": {"code": 3, "message": refused.message}}
