"""A `Batch` in either service's words: a long-running operation, or a `BatchPredictionJob`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...core import Json
from ...database.records import OVER, Batch, BatchItem, JobState
from .batch_items import KINDS, result_of
from .own import rfc3339
from .tuning_bodies import JOB_STATES, status_of

__all__ = ["operation", "prediction_job"]

TYPES = "type.googleapis.com/google.ai.generativelanguage.v1beta."
BATCH_STATES: Mapping[JobState, str] = {
    "queued": "BATCH_STATE_PENDING", "running": "BATCH_STATE_RUNNING",
    "succeeded": "BATCH_STATE_SUCCEEDED", "failed": "BATCH_STATE_FAILED",
    "cancelling": "BATCH_STATE_RUNNING", "cancelled": "BATCH_STATE_CANCELLED",
}  # fmt: skip


def operation(batch: Batch, items: Iterable[BatchItem] = ()) -> dict[str, Json]:
    """The operation of the Developer API; `items` are those of a batch that is told inline."""
    kind = f"{TYPES}{KINDS[batch.route]}"
    name = f"batches/{batch.id}"
    expired = (batch.error or {}).get("reason") == "expired"
    metadata: dict[str, Json] = {
        "@type": kind,
        "name": name,
        "model": f"models/{batch.model}",
        "displayName": batch.name,
        "state": "BATCH_STATE_EXPIRED" if expired else BATCH_STATES[batch.state],
        "createTime": rfc3339(batch.created_at),
        "updateTime": rfc3339(batch.updated_at),
        "batchStats": _stats(batch),
    }
    if batch.input_file is not None:
        metadata["inputConfig"] = {"fileName": f"files/{batch.input_file}"}
    told: dict[str, Json] = {"name": name, "metadata": metadata}
    if batch.state not in OVER:
        return told
    metadata["endTime"] = rfc3339(batch.finished_at or batch.updated_at)
    output = _output(batch, items)
    if output:
        metadata["output"] = output
    told["done"] = True
    if batch.state == "succeeded":
        told["response"] = {"@type": f"{kind}Output", **output}
    else:
        told["error"] = _error(batch)
    return told


def prediction_job(batch: Batch, place: str) -> dict[str, Json]:
    """The resource of Vertex; `place` is `projects/P/locations/L`."""
    asked = batch.request
    told: dict[str, Json] = {
        "name": f"{place}/batchPredictionJobs/{batch.id}",
        "displayName": batch.name,
        "model": asked["model"],
        "inputConfig": asked["inputConfig"],
        "outputConfig": asked["outputConfig"],
        "state": "JOB_STATE_EXPIRED"
        if (batch.error or {}).get("reason") == "expired"
        else JOB_STATES[batch.state],
        "createTime": rfc3339(batch.created_at),
        "updateTime": rfc3339(batch.updated_at),
    }
    if "labels" in asked:
        told["labels"] = asked["labels"]
    if batch.started_at is not None:
        told["startTime"] = rfc3339(batch.started_at)
        told["completionStats"] = {
            "successfulCount": str(batch.succeeded),
            "failedCount": str(batch.failed),
            "incompleteCount": str(batch.total - batch.succeeded - batch.failed),
        }
    if batch.state in OVER:
        told["endTime"] = rfc3339(batch.finished_at or batch.updated_at)
    if batch.output_file is not None:
        told["outputInfo"] = {"gcsOutputDirectory": batch.output_file}
    if batch.state in ("failed", "cancelled"):
        told["error"] = _error(batch)
    return told


def _stats(batch: Batch) -> dict[str, str]:
    """As in JSON of protocol buffers, what is 0 is left out."""
    counts = {
        "requestCount": batch.total,
        "successfulRequestCount": batch.succeeded,
        "failedRequestCount": batch.failed,
        "pendingRequestCount": batch.total - batch.succeeded - batch.failed,
    }
    return {name: str(count) for name, count in counts.items() if count}


def _output(batch: Batch, items: Iterable[BatchItem]) -> dict[str, Json]:
    if batch.output_file is not None:
        return {"responsesFile": f"files/{batch.output_file}"}
    if batch.input_file is not None:
        return {}
    answers = []
    for item in items:
        line = item.request["line"]
        metadata = {"metadata": line["metadata"]} if "metadata" in line else {}
        answers.append({**result_of(item), **metadata})
    return {"inlinedResponses": {"inlinedResponses": answers}} if answers else {}


def _error(batch: Batch) -> dict[str, Json]:
    if batch.state == "cancelled" and batch.error is None:
        return status_of({"reason": "cancelled", "message": "the batch was cancelled"})
    return status_of(batch.error or {"reason": "internal", "message": "the batch failed"})
