"""`batchPredictionJobs` of Vertex: requests and answers are lines of objects in `gs://`."""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .asking import Refused
from .batches import cancelled, polled, read_lines, submitted
from .names import camel
from .pages import google_page
from .state import Batch, State
from .times import rfc3339

__all__ = ["vertex_batch_routes"]


def vertex_batch_routes(state: State, place: str) -> list[Route]:
    """`place` is what stands before `/batchPredictionJobs`."""

    async def create(request: Request) -> Response:
        body = camel(await request.json())
        params = request.path_params
        parent = f"projects/{params['project']}/locations/{params['location']}"
        lines = []
        for uri in body["inputConfig"].get("gcsSource", {}).get("uris", []):
            lines += read_lines(await asyncio.to_thread(state.storage.read, uri))
        model = body["model"]
        if "/publishers/" not in f"/{model}":
            raise Refused(400, f"Batch prediction is not supported for the tuned model {model}.")
        if not model.startswith("projects/"):
            model = f"{parent}/{model}"
        return JSONResponse(_record(submitted(state, parent, model, body, lines)))

    async def get(request: Request) -> Response:
        batch = polled(state, request.path_params["name"])
        if batch.state == "succeeded" and not batch.written:
            await asyncio.to_thread(_write, state, batch)
        return JSONResponse(_record(batch))

    async def every(request: Request) -> Response:
        ours = [batch for batch in state.batches.values() if batch.parent]
        if wanted := request.query_params.get("filter"):
            ours = [batch for batch in ours if _fits(batch, wanted)]
        page, following = google_page(ours[::-1], request.query_params)
        return JSONResponse({"batchPredictionJobs": [_record(b) for b in page], **following})

    async def cancel(request: Request) -> Response:
        cancelled(state, request.path_params["name"])
        return JSONResponse({})

    one = f"{place}/batchPredictionJobs/{{name}}"
    return [
        Route(f"{place}/batchPredictionJobs", create, methods=["POST"]),
        Route(f"{place}/batchPredictionJobs", every, methods=["GET"]),
        Route(f"{one}:cancel", cancel, methods=["POST"]),
        Route(one, get, methods=["GET"]),
    ]


def _fits(batch: Batch, wanted: str) -> bool:
    """`displayName="..."` or `display_name=...`, the only filter that is read here."""
    name, _, value = wanted.partition("=")
    if name.strip() not in ("displayName", "display_name"):
        raise Refused(400, f"Invalid filter: {wanted}")
    return bool(batch.asked.get("displayName") == value.strip().strip('"'))


def _write(state: State, batch: Batch) -> None:
    """The lines as they came, each with its response or status; in no order."""
    lines = []
    for item, result in zip(batch.requests, batch.results, strict=True):
        line: dict[str, Any] = {**item, "status": "", "processed_time": rfc3339(time.time())}
        if "error" in result:
            line["status"] = result["error"]["message"]
            line["response"] = {}
        else:
            line["response"] = result["response"]
        lines.append(json.dumps(line))
    random.Random(batch.id).shuffle(lines)
    prefix = batch.asked["outputConfig"]["gcsDestination"]["outputUriPrefix"].rstrip("/")
    folder = f"{prefix}/prediction-model-{rfc3339(batch.created)}"
    state.storage.write(f"{folder}/predictions.jsonl", "\n".join(lines).encode() + b"\n")
    batch.written = folder


def _record(batch: Batch) -> dict[str, Any]:
    failed = sum("error" in result for result in batch.results)
    record: dict[str, Any] = {
        "name": f"{batch.parent}/batchPredictionJobs/{batch.id}",
        "displayName": batch.asked.get("displayName", ""),
        "model": batch.asked["model"],
        "inputConfig": batch.asked["inputConfig"],
        "outputConfig": batch.asked["outputConfig"],
        "state": f"JOB_STATE_{batch.state.upper()}",
        "createTime": rfc3339(batch.created),
        "updateTime": rfc3339(batch.ended or batch.created),
    }
    if "labels" in batch.asked:
        record["labels"] = batch.asked["labels"]
    if batch.ended:
        record["endTime"] = rfc3339(batch.ended)
    if batch.written:
        record["outputInfo"] = {"gcsOutputDirectory": batch.written}
        good = len(batch.results) - failed
        record["completionStats"] = {"successfulCount": str(good), "failedCount": str(failed)}
    if batch.error:
        record["error"] = {"code": 13, "message": batch.error}
    return record
