"""`fine_tuning/jobs` of OpenAI's protocol: create, get, list, cancel, events, checkpoints."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .answering import Scores
from .asking import Refused
from .pages import openai_page
from .state import State
from .training_rows import openai_rows
from .trainings import ENDED, Training, epochs_for
from .tuned import Row

__all__ = ["job_routes", "tuned_model"]

_TUNABLE = ("gpt-4o-mini-2024-07-18", "gpt-4o-2024-08-06", "gpt-4.1-mini-2025-04-14",
            "gpt-4.1-nano-2025-04-14", "meta-llama/Llama-3.1-8B-Instruct-Reference")  # fmt: skip
_ORGANIZATION = "org-tests"
_TUNED = re.compile(r"ft:(?P<base>[^:]+):tests:(?P<suffix>[^:]*):(?P<id>\w+)(:ckpt-step-(\d+))?$")


def job_routes(state: State, root: str) -> list[Route]:
    async def create(request: Request) -> Response:
        training = await asyncio.to_thread(_training, state, await request.json())
        state.trainings.add(training)
        return JSONResponse(_record(training))

    async def get(request: Request) -> Response:
        return JSONResponse(_record(state.trainings.poll(_job(state, request).id)))

    async def every(request: Request) -> Response:
        found = [t for t in state.trainings.all.values() if t.protocol == "openai"]
        return JSONResponse(openai_page([_record(t) for t in found[::-1]], request.query_params))

    async def cancel(request: Request) -> Response:
        return JSONResponse(_record(state.trainings.cancel(_job(state, request).id)))

    async def events(request: Request) -> Response:
        found = _events(_job(state, request))
        return JSONResponse(openai_page(found[::-1], request.query_params))

    async def checkpoints(request: Request) -> Response:
        found = _checkpoints(_job(state, request))
        return JSONResponse(openai_page(found[::-1], request.query_params))

    jobs = f"{root}/fine_tuning/jobs"
    return [
        Route(jobs, create, methods=["POST"]),
        Route(jobs, every, methods=["GET"]),
        Route(f"{jobs}/{{name}}", get, methods=["GET"]),
        Route(f"{jobs}/{{name}}/cancel", cancel, methods=["POST"]),
        Route(f"{jobs}/{{name}}/events", events, methods=["GET"]),
        Route(f"{jobs}/{{name}}/checkpoints", checkpoints, methods=["GET"]),
    ]


def tuned_model(state: State, name: str) -> tuple[str, Scores | None]:
    """The base of a model and, if it is a tuned one, what it makes of a prompt."""
    if not name.startswith("ft:"):
        return name, None
    found = _TUNED.match(name)
    training = state.trainings.all.get(f"ftjob-{found['id']}") if found else None
    if found is None or training is None or training.state != "succeeded":
        raise Refused(404, f"The model `{name}` does not exist.", "model_not_found")
    step = int(found[5]) if found[5] else training.history[-1].step
    for epoch in training.history:
        if epoch.step == step:
            return training.base, epoch.scores
    raise Refused(404, f"The model `{name}` does not exist.", "model_not_found")


def _job(state: State, request: Request) -> Training:
    training = state.trainings.all.get(request.path_params["name"])
    if training is None or training.protocol != "openai":
        raise Refused(404, "Could not find fine tune.", "fine_tune_not_found")
    return training


def _training(state: State, body: dict[str, Any]) -> Training:
    base = body.get("model", "")
    pre_tuned = _TUNED.match(base)
    if pre_tuned:
        base = pre_tuned["base"]
    if base not in _TUNABLE:
        raise Refused(
            400, f"Model {base} is not available for fine-tuning.", "model_not_available",
            param="model",
        )  # fmt: skip
    files = {}
    for name in ("training_file", "validation_file"):
        if not (file_id := body.get(name)):
            continue
        if file_id not in state.files:
            raise Refused(400, f"invalid {name}: {file_id}", "invalid_value", param=name)
        if state.files[file_id].purpose != "fine-tune":
            raise Refused(400, f"{name} has another purpose than fine-tune", param=name)
        files[name] = state.files[file_id].data
    rows: list[Row] = []
    validation: list[Row] = []
    error = ""
    try:
        rows = openai_rows(files["training_file"])
        if "validation_file" in files:
            validation = openai_rows(files["validation_file"])
    except Refused as refused:
        error = refused.message
    chosen = _hyperparameters(body).get("n_epochs", "auto")
    epochs = epochs_for(rows) if chosen == "auto" else int(chosen)
    return Training(
        id=f"ftjob-{uuid.uuid4().hex[:12]}",
        protocol="openai",
        parent="",
        base=base,
        asked=body,
        rows=rows,
        validation=validation,
        epochs=epochs,
        error=error,
    )


def _method(body: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    method = body.get("method") or {"type": "supervised"}
    return method["type"], dict(method.get(method["type"]) or {})


def _hyperparameters(body: Mapping[str, Any]) -> dict[str, Any]:
    inner: dict[str, Any] = _method(body)[1].get("hyperparameters") or {}
    return {**(body.get("hyperparameters") or {}), **inner}


def _record(training: Training) -> dict[str, Any]:
    body = training.asked
    kind, method = _method(body)
    auto = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
    chosen = {**auto, **_hyperparameters(body)}
    if training.state != "queued":
        known = {"n_epochs": training.epochs, "batch_size": 16, "learning_rate_multiplier": 1.0}
        chosen = {key: known.get(key, v) if v == "auto" else v for key, v in chosen.items()}
    done = training.state == "succeeded"
    failed = training.state == "failed"
    return {
        "object": "fine_tuning.job",
        "id": training.id,
        "model": training.base,
        "created_at": int(training.created),
        "finished_at": int(training.ended) if training.ended and done else None,
        "fine_tuned_model": _name(training) if done else None,
        "organization_id": _ORGANIZATION,
        "result_files": [],
        "status": "validating_files" if training.state == "queued" else training.state,
        "validation_file": body.get("validation_file"),
        "training_file": body["training_file"],
        "hyperparameters": chosen,
        "trained_tokens": training.tokens * training.epochs if done else None,
        "error": _error(training) if failed else None,
        "seed": body.get("seed") or 0,
        "estimated_finish": None,
        "integrations": [],
        "metadata": body.get("metadata"),
        "method": {"type": kind, kind: {**method, "hyperparameters": chosen}},
    }


def _error(training: Training) -> dict[str, Any]:
    invalid = training.error.startswith("Dataset")
    code = "invalid_training_file" if invalid else "server_error"
    return {"code": code, "message": training.error, "param": "training_file" if invalid else None}


def _name(training: Training) -> str:
    suffix = training.asked.get("suffix") or ""
    return f"ft:{training.base}:tests:{suffix}:{training.id.removeprefix('ftjob-')}"


def _events(training: Training) -> list[dict[str, Any]]:
    said: list[tuple[str, str, dict[str, Any] | None]] = [
        ("message", f"Created fine-tuning job: {training.id}", None),
        ("message", f"Validating training file: {training.asked['training_file']}", None),
    ]
    if training.started:
        said.append(("message", "Fine-tuning job started", None))
        for epoch in training.history:
            data = {
                "step": epoch.step,
                "total_steps": training.steps,
                "train_loss": epoch.loss,
                "train_mean_token_accuracy": epoch.accuracy,
            }
            if epoch.validation_loss is not None:
                data["valid_loss"] = epoch.validation_loss
                data["valid_mean_token_accuracy"] = epoch.validation_accuracy or 0.0
            text = f"Step {epoch.step}/{training.steps}: training loss={epoch.loss:.2f}"
            said.append(("metrics", text, data))
    if training.state in ENDED:
        said.append(("message", f"The job has {training.state}. {training.error}".strip(), None))
    return [
        {
            "object": "fine_tuning.job.event",
            "id": f"ftevent-{training.id.removeprefix('ftjob-')}-{place}",
            "created_at": int(training.created) + place,
            "level": "error" if "failed" in text else "info",
            "message": text,
            "type": kind,
            **({"data": data} if data else {}),
        }
        for place, (kind, text, data) in enumerate(said)
    ]


def _checkpoints(training: Training) -> list[dict[str, Any]]:
    if training.state != "succeeded":
        return []
    return [
        {
            "object": "fine_tuning.job.checkpoint",
            "id": f"ftckpt_{training.id.removeprefix('ftjob-')}_{epoch.number}",
            "created_at": int(training.created) + epoch.number,
            "fine_tuned_model_checkpoint": f"{_name(training)}:ckpt-step-{epoch.step}",
            "fine_tuning_job_id": training.id,
            "step_number": epoch.step,
            "metrics": {
                "step": epoch.step,
                "train_loss": epoch.loss,
                "train_mean_token_accuracy": epoch.accuracy,
                **_held_out(epoch.validation_loss, epoch.validation_accuracy),
            },
        }
        for epoch in training.kept_epochs()[-3:]
    ]


def _held_out(loss: float | None, accuracy: float | None) -> dict[str, float]:
    if loss is None or accuracy is None:
        return {}
    return {"full_valid_loss": loss, "full_valid_mean_token_accuracy": accuracy}
