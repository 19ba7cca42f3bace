"""`batches` of the Developer API: a long-running operation over inline requests or a file."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .asking import Refused
from .batches import ENDED, cancelled, polled, read_lines, submitted
from .names import camel
from .pages import google_page
from .state import Batch, State
from .times import rfc3339

__all__ = ["batch_routes"]

_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"
_CODES = {"failed": 13, "cancelled": 1}


def batch_routes(state: State) -> list[Route]:
    async def create(request: Request) -> Response:
        asked = camel(await request.json()).get("batch", {})
        source = asked.get("inputConfig", {})
        if name := source.get("fileName"):
            lines = read_lines(state.file(name.removeprefix("files/")).data)
        else:
            lines = source.get("requests", {}).get("requests", [])
        model = f"models/{request.path_params['model']}"
        return JSONResponse(_record(submitted(state, "", model, asked, lines)))

    async def get(request: Request) -> Response:
        batch = polled(state, request.path_params["name"])
        if batch.state == "succeeded" and "fileName" in batch.asked["inputConfig"]:
            _write(state, batch)
        return JSONResponse(_record(batch))

    async def every(request: Request) -> Response:
        ours = [batch for batch in state.batches.values() if not batch.parent]
        page, following = google_page(ours[::-1], request.query_params)
        return JSONResponse({"operations": [_record(batch) for batch in page], **following})

    async def cancel(request: Request) -> Response:
        cancelled(state, request.path_params["name"])
        return JSONResponse({})

    async def drop(request: Request) -> Response:
        if state.batches.pop(request.path_params["name"], None) is None:
            raise Refused(404, "Batch was not found.")
        return JSONResponse({})

    one = "/{version}/batches/{name}"
    return [
        Route("/{version}/models/{model}:batchGenerateContent", create, methods=["POST"]),
        Route("/{version}/batches", every, methods=["GET"]),
        Route(f"{one}:cancel", cancel, methods=["POST"]),
        Route(one, get, methods=["GET"]),
        Route(one, drop, methods=["DELETE"]),
    ]


def _write(state: State, batch: Batch) -> None:
    if batch.written:
        return
    lines = [
        json.dumps({"key": item.get("key"), **result})
        for item, result in zip(batch.requests, batch.results, strict=True)
    ]
    data = "".join(f"{line}\n" for line in lines).encode()
    stored = state.store("", data, purpose="", media_type="jsonl", prefix="batch-")
    batch.written = f"files/{stored.id}"


def _record(batch: Batch) -> dict[str, Any]:
    failed = sum("error" in result for result in batch.results)
    stats = {"requestCount": len(batch.requests)}
    if batch.state == "succeeded":
        stats |= {"successfulRequestCount": len(batch.results) - failed}
        stats |= {"failedRequestCount": failed} if failed else {}
    else:
        stats |= {"pendingRequestCount": len(batch.requests)}
    name = f"batches/{batch.id}"
    metadata: dict[str, Any] = {
        "@type": _TYPE,
        "name": name,
        "model": batch.model,
        "displayName": batch.asked.get("displayName", ""),
        "state": f"BATCH_STATE_{batch.state.upper()}",
        "createTime": rfc3339(batch.created),
        "updateTime": rfc3339(batch.ended or batch.created),
        "batchStats": {key: str(value) for key, value in stats.items()},
    }
    record: dict[str, Any] = {"name": name, "metadata": metadata}
    if batch.state not in ENDED:
        return record
    metadata["endTime"] = rfc3339(batch.ended or batch.created)
    record["done"] = True
    if batch.state == "succeeded":
        metadata["output"] = _output(batch)
        record["response"] = {"@type": f"{_TYPE}Output", **_output(batch)}
    else:
        message = batch.error or "The batch was cancelled."
        record["error"] = {"code": _CODES[batch.state], "message": message}
    return record


def _output(batch: Batch) -> dict[str, Any]:
    if batch.written:
        return {"responsesFile": batch.written}
    answers = [
        {**result, **({"metadata": item["metadata"]} if "metadata" in item else {})}
        for item, result in zip(batch.requests, batch.results, strict=True)
    ]
    return {"inlinedResponses": {"inlinedResponses": answers}}
