"""Every path of OpenAI's protocol, at `/v1` and at `/openai/v1`."""

from __future__ import annotations

import json
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import openai_chat
from .asking import Refused
from .batches import ENDED, cancelled, read_lines, submitted
from .openai_files import openai_file_routes
from .openai_jobs import job_routes, tuned_model
from .pages import openai_page
from .state import Batch, State

__all__ = ["openai_routes"]

_LISTED = ("gpt-4o-mini", "gpt-4o-mini-2024-07-18", "gpt-4o", "llama-3.1-8b-instruct")
_DAY = 24 * 3600


def openai_routes(state: State) -> list[Route]:
    routes = []
    for root in ("/v1", "/openai/v1"):
        routes += [
            Route(f"{root}/chat/completions", _chat(state), methods=["POST"]),
            *job_routes(state, root),
            *openai_file_routes(state, root),
            *_batch_routes(state, root),
            *_model_routes(state, root),
        ]
    routes.append(Route("/{rest:path}", _nothing, methods=["GET", "POST", "DELETE", "PUT"]))
    return routes


def _chat(state: State) -> Any:
    async def chat(request: Request) -> Response:
        body = await request.json()
        if not body.get("model"):
            raise Refused(400, "you must provide a model parameter", param="model")
        base, scores = tuned_model(state, body["model"])
        outcome = request.scope.get("state", {}).get("outcome", "")
        return openai_chat.completion(body, scores, base, state.prefixes, outcome)

    return chat


def _model_routes(state: State, root: str) -> list[Route]:
    async def every(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [_model(name) for name in _LISTED]})

    async def get(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _LISTED:
            tuned = tuned_model(state, name)[1]
            if tuned is None:
                raise Refused(404, f"The model '{name}' does not exist", "model_not_found")
        return JSONResponse(_model(name))

    async def drop(request: Request) -> Response:
        name = request.path_params["name"]
        if tuned_model(state, name)[1] is None:
            raise Refused(403, "You have insufficient permissions for this operation.")
        return JSONResponse({"id": name, "object": "model", "deleted": True})

    one = f"{root}/models/{{name:path}}"
    return [
        Route(f"{root}/models", every, methods=["GET"]),
        Route(one, get, methods=["GET"]),
        Route(one, drop, methods=["DELETE"]),
    ]


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 1_790_000_000, "owned_by": "tests"}


def _batch_routes(state: State, root: str) -> list[Route]:
    async def create(request: Request) -> Response:
        body = await request.json()
        if body.get("endpoint") != "/v1/chat/completions":
            raise Refused(400, f"Invalid value: {body.get('endpoint')!r}.", param="endpoint")
        lines = read_lines(state.file(body["input_file_id"]).data)
        return JSONResponse(_record(submitted(state, "openai", "", body, lines)))

    async def get(request: Request) -> Response:
        return JSONResponse(_record(_polled(state, request.path_params["name"])))

    async def every(request: Request) -> Response:
        ours = [batch for batch in state.batches.values() if batch.parent == "openai"]
        records = [_record(batch) for batch in ours[::-1]]
        return JSONResponse(openai_page(records, request.query_params))

    async def cancel(request: Request) -> Response:
        batch_id = request.path_params["name"].removeprefix("batch_")
        return JSONResponse(_record(cancelled(state, batch_id)))

    return [
        Route(f"{root}/batches", create, methods=["POST"]),
        Route(f"{root}/batches", every, methods=["GET"]),
        Route(f"{root}/batches/{{name}}", get, methods=["GET"]),
        Route(f"{root}/batches/{{name}}/cancel", cancel, methods=["POST"]),
    ]


def _polled(state: State, name: str) -> Batch:
    batch = state.batches.get(name.removeprefix("batch_"))
    if batch is None:
        raise Refused(404, f"No batch found with id '{name}'.")
    if batch.state in ENDED:
        return batch
    batch.polls += 1
    batch.state = "running"
    if state.settings.fail_batches:
        batch.state, batch.error = "failed", state.settings.fail_batches
    elif batch.polls >= state.settings.polls:
        batch.results = [_answer(state, line) for line in batch.requests]
        lines = [json.dumps(line) for line in batch.results if line["error"] is None]
        data = "".join(f"{line}\n" for line in lines).encode()
        stored = state.store(
            "output.jsonl", data, purpose="batch_output", media_type="", prefix="file-"
        )
        batch.state, batch.written = "succeeded", stored.id
    if batch.state in ENDED:
        batch.ended = time.time()
    return batch


def _answer(state: State, line: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"id": f"batch_req_{line['custom_id']}", "custom_id": line["custom_id"]}
    try:
        base, scores = tuned_model(state, line["body"]["model"])
        body = openai_chat.completed(line["body"], scores, base, state.prefixes, "")
    except Refused as refused:
        return {**found, "response": None, "error": {"code": "400", "message": refused.message}}
    response = {"status_code": 200, "request_id": found["id"], "body": body}
    return {**found, "response": response, "error": None}


def _record(batch: Batch) -> dict[str, Any]:
    status = {"pending": "validating", "running": "in_progress", "succeeded": "completed"}
    good = sum(line["error"] is None for line in batch.results)
    ended = int(batch.ended) if batch.ended else None
    errors = None
    if batch.error:
        data = [{"code": "failed", "message": batch.error, "line": None, "param": None}]
        errors = {"object": "list", "data": data}
    return {
        "id": f"batch_{batch.id}",
        "object": "batch",
        "endpoint": batch.asked["endpoint"],
        "errors": errors,
        "input_file_id": batch.asked["input_file_id"],
        "completion_window": batch.asked.get("completion_window", "24h"),
        "status": status.get(batch.state, batch.state),
        "output_file_id": batch.written or None,
        "error_file_id": None,
        "created_at": int(batch.created),
        "expires_at": int(batch.created) + _DAY,
        "completed_at": ended if batch.state == "succeeded" else None,
        "request_counts": {
            "total": len(batch.requests),
            "completed": good,
            "failed": len(batch.results) - good,
        },
        "metadata": batch.asked.get("metadata"),
    }


async def _nothing(request: Request) -> Response:
    raise Refused(404, f"Invalid URL ({request.method} {request.url.path})")
