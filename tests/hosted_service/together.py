"""Together's files, tuning jobs and dedicated endpoints at `/together/v1`.

Forms are those of the SDK's types; nobody here has seen the service itself.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import openai_chat
from .asking import Refused
from .openai_files import parts_of
from .state import State, Stored
from .times import rfc3339
from .training_rows import openai_rows
from .trainings import Training

__all__ = ["together_routes"]

ROOT = "/together/v1"
_TUNABLE = ("Qwen/Qwen3-8B", "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference")
_STATUS = {"queued": "queued", "succeeded": "completed", "failed": "error"}
_NANODOLLARS_PER_TOKEN = 480  # $0.48 a million


def together_routes(state: State) -> list[Route]:
    return [*_file_routes(state), *_job_routes(state), *_serving_routes(state)]


# --- files --------------------------------------------------------------------------------------


def _file_routes(state: State) -> list[Route]:
    async def begin(request: Request) -> Response:
        """Where to put the contents: the file is known by their checksum."""
        parts = parts_of(request.headers["content-type"], await request.body())
        told = {name: data.decode() for name, (_, data) in parts.items()}
        file_id = f"file-{told['checksum'][:16]}"
        if file_id in state.files:
            return JSONResponse({"file_id": file_id, "error": {"message": "exists"}}, 409)
        place = f"{request.url.scheme}://{request.url.netloc}{ROOT}/uploads/{file_id}"
        headers = {
            "Location": f"{place}?upload_id=1&name={told['file_name']}",
            "X-Together-File-Id": file_id,
        }
        return Response(status_code=302, headers=headers)

    async def put(request: Request) -> Response:
        file_id, data = request.path_params["name"], await request.body()
        name = request.query_params["name"]
        state.files[file_id] = Stored(file_id, name, "fine-tune", "", data)
        return Response()

    async def get(request: Request) -> Response:
        return JSONResponse(_file(state.file(request.path_params["name"])))

    async def every(request: Request) -> Response:
        return JSONResponse({"data": [_file(one) for one in state.files.values()]})

    return [
        Route(f"{ROOT}/files", begin, methods=["POST"]),
        Route(f"{ROOT}/files", every, methods=["GET"]),
        Route(f"{ROOT}/uploads/{{name}}", put, methods=["PUT"]),
        Route(f"{ROOT}/files/{{name}}/preprocess", get, methods=["POST"]),
        Route(f"{ROOT}/files/{{name}}", get, methods=["GET"]),
    ]


def _file(stored: Stored) -> dict[str, Any]:
    # the rows are read a moment after they came
    read = time.time() - stored.created > 0.1
    return {
        "id": stored.id,
        "object": "file",
        "bytes": len(stored.data),
        "created_at": int(stored.created),
        "filename": stored.name,
        "FileType": "jsonl",
        "purpose": "fine-tune",
        "Processed": read,
        "processing_status": "COMPLETED" if read else "RUNNING",
        "validation_report": None,
    }


# --- jobs ---------------------------------------------------------------------------------------


def _job_routes(state: State) -> list[Route]:
    async def create(request: Request) -> Response:
        training = await asyncio.to_thread(_training, state, await request.json())
        state.trainings.add(training)
        return JSONResponse(_record(training))

    async def every(request: Request) -> Response:
        found = [t for t in state.trainings.all.values() if t.protocol == "together"]
        return JSONResponse({"data": [_record(t) for t in found[::-1]]})

    async def get(request: Request) -> Response:
        return JSONResponse(_record(state.trainings.poll(_job(state, request).id)))

    async def cancel(request: Request) -> Response:
        return JSONResponse(_record(state.trainings.cancel(_job(state, request).id)))

    async def events(request: Request) -> Response:
        return JSONResponse({"data": _events(_job(state, request))})

    async def metrics(request: Request) -> Response:
        return JSONResponse({"metrics": _metrics(_job(state, request))})

    async def checkpoints(request: Request) -> Response:
        return JSONResponse({"data": _checkpoints(_job(state, request))})

    async def limits(request: Request) -> Response:
        return JSONResponse(_limits(request.query_params["model_name"]))

    async def price(request: Request) -> Response:
        body = await request.json()
        tokens = sum(row.tokens for row in openai_rows(state.file(body["training_file"]).data))
        billed = tokens * body.get("n_epochs", 1)
        return JSONResponse(
            {
                "estimation_available": True,
                "allowed_to_proceed": True,
                "estimated_total_price": billed * _NANODOLLARS_PER_TOKEN / 1e9,
                "estimated_train_token_count": billed,
                "estimated_eval_token_count": 0,
                "user_limit": 100.0,
            }
        )

    jobs = f"{ROOT}/fine-tunes"
    return [
        Route(f"{jobs}/models/limits", limits, methods=["GET"]),
        Route(f"{jobs}/estimate-price", price, methods=["POST"]),
        Route(jobs, create, methods=["POST"]),
        Route(jobs, every, methods=["GET"]),
        Route(f"{jobs}/{{name}}", get, methods=["GET"]),
        Route(f"{jobs}/{{name}}/cancel", cancel, methods=["POST"]),
        Route(f"{jobs}/{{name}}/events", events, methods=["GET"]),
        Route(f"{jobs}/{{name}}/metrics", metrics, methods=["GET"]),
        Route(f"{jobs}/{{name}}/checkpoints", checkpoints, methods=["GET"]),
    ]


def _job(state: State, request: Request) -> Training:
    training = state.trainings.all.get(request.path_params["name"])
    if training is None or training.protocol != "together":
        raise Refused(404, "The fine-tune job was not found.")
    return training


def _training(state: State, body: dict[str, Any]) -> Training:
    base = body.get("model", "")
    if base not in _TUNABLE:
        raise Refused(400, f"Model {base} is not available for fine-tuning.", param="model")
    suffix = body.get("suffix") or ""
    if len(suffix) > 40:
        raise Refused(400, "The suffix is longer than 40 characters.", param="suffix")
    rows, validation, error = [], [], ""
    try:
        rows = openai_rows(state.file(body["training_file"]).data)
        if body.get("validation_file"):
            validation = openai_rows(state.file(body["validation_file"]).data)
    except Refused as refused:
        error = refused.message
    return Training(
        id=f"ft-{uuid.uuid4()}",
        protocol="together",
        parent="",
        base=base,
        asked=body,
        rows=rows,
        validation=validation,
        epochs=body.get("n_epochs", 1),
        error=error,
    )


def _record(training: Training) -> dict[str, Any]:
    done = training.state == "succeeded"
    billed = training.tokens * training.epochs
    return {
        "id": training.id,
        "status": _STATUS.get(training.state, training.state),
        "user_id": "user-tests",
        "created_at": rfc3339(training.created),
        "updated_at": rfc3339(training.ended or time.time()),
        "model": training.base,
        "model_output_name": _name(training),
        "adapter_output_name": None,
        "suffix": training.asked.get("suffix"),
        "training_file": training.asked["training_file"],
        "validation_file": training.asked.get("validation_file"),
        "n_epochs": training.epochs,
        "batch_size": training.asked.get("batch_size"),
        "learning_rate": training.asked.get("learning_rate"),
        "token_count": billed if done else None,
        "total_price": billed * _NANODOLLARS_PER_TOKEN if done else None,
        "events": [],
    }


def _name(training: Training) -> str:
    return f"org-tests/{training.base}:{training.asked.get('suffix')}:{training.id}"


def _events(training: Training) -> list[dict[str, Any]]:
    said: list[tuple[str, str, str]] = [("job_pending", "info", "The job is pending.")]
    if training.started:
        said.append(("training_start", "info", "Training started."))
    if training.state == "failed":
        said.append(("job_error", "error", training.error))
    return [
        {
            "object": "fine-tune-event",
            "created_at": rfc3339(training.created + place),
            "type": kind,
            "level": level,
            "message": message,
            "total_steps": training.steps if kind == "training_start" else None,
        }
        for place, (kind, level, message) in enumerate(said)
    ]


def _metrics(training: Training) -> list[dict[str, float]]:
    """Looks at the held-out rows come as entries of their own."""
    found: list[dict[str, float]] = []
    for epoch in training.history if training.started else ():
        at: Mapping[str, float] = {"train/global_step": epoch.step, "train/epoch": epoch.number}
        found.append({**at, "train/loss": epoch.loss})
        if epoch.validation_loss is not None:
            found.append({**at, "eval/loss": epoch.validation_loss})
    return found


def _checkpoints(training: Training) -> list[dict[str, Any]]:
    return [
        {
            "checkpoint_type": "Final adapter",
            "created_at": rfc3339(training.ended or time.time()),
            "path": f"s3://checkpoints/{training.id}/{training.steps}",
            "step": training.steps,
            "checkpoint": "adapter",
        }
    ]


def _limits(model: str) -> dict[str, Any]:
    if model not in _TUNABLE:
        raise Refused(404, f"Model {model} is not available for fine-tuning.")
    return {
        "model_name": model,
        "default_gradient_accumulation_steps": 1,
        "lora_training": {
            "default_rank": 64,
            "max_batch_size": 16,
            "max_batch_size_dpo": 8,
            "max_rank": 64,
            "min_batch_size": 8,
            "target_modules": ["q_proj"],
        },
        "max_learning_rate": 0.01,
        "min_learning_rate": 1e-8,
        "max_num_checkpoints": 20,
        "max_num_epochs": 20,
        "max_num_evals": 100,
        "max_seq_length_dpo": 8192,
        "max_seq_length_sft": 8192,
        "min_max_seq_length": 512,
        "merge_output_lora": True,
        "supports_full_training": False,
        "supports_reasoning": False,
        "supports_tools": True,
        "supports_vision": False,
    }


# --- what answers -------------------------------------------------------------------------------


def _serving_routes(state: State) -> list[Route]:
    async def endpoints(request: Request) -> Response:
        found = [t for t in state.trainings.all.values() if t.protocol == "together"]
        records = [
            {
                "object": "endpoint",
                "id": f"endpoint-{training.number}",
                "name": _served(training),
                "model": _name(training),
                "type": "dedicated",
                "owner": "org-tests",
                "state": "STARTED" if state.settings.deployed else "STOPPED",
                "created_at": rfc3339(training.created),
            }
            for training in found
            if training.state == "succeeded"
        ]
        return JSONResponse({"object": "list", "data": records})

    async def chat(request: Request) -> Response:
        body = await request.json()
        base, scores = body.get("model", ""), None
        for training in state.trainings.all.values():
            if training.protocol == "together" and base == _served(training):
                base, scores = training.base, training.history[-1].scores
        if base not in _TUNABLE or (scores is not None and not state.settings.deployed):
            raise Refused(404, f"Unable to access model {base}.", "model_not_available")
        outcome = request.scope.get("state", {}).get("outcome", "")
        return openai_chat.completion(body, scores, base, state.prefixes, outcome)

    return [
        Route(f"{ROOT}/endpoints", endpoints, methods=["GET"]),
        Route(f"{ROOT}/chat/completions", chat, methods=["POST"]),
    ]


def _served(training: Training) -> str:
    """The endpoint has a name of its own, which is what one asks for."""
    return f"org-tests/{training.base}-{training.number:x}"
