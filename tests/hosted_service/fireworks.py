"""Datasets, tuning jobs, models and deployments of Fireworks at `/fireworks/v1`, and its chat.

Forms are those of the SDK's types; nobody here has seen the service itself.
"""

from __future__ import annotations

import asyncio
import json
import time
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

__all__ = ["fireworks_routes"]

ROOT = "/fireworks/v1/accounts/{account}"
_BASE = "accounts/fireworks/models/"
_TUNABLE = ("qwen3-8b", "qwen3p5-9b")
_SUPERVISED, _PREFERENCE = "supervisedFineTuningJobs", "dpoJobs"
_STATES = {
    "queued": "JOB_STATE_PENDING",
    "running": "JOB_STATE_RUNNING",
    "succeeded": "JOB_STATE_COMPLETED",
    "failed": "JOB_STATE_FAILED",
    "cancelled": "JOB_STATE_CANCELLED",
}
SIGNATURE = "signed-by-the-service-of-tests"
_DOLLARS_PER_TOKEN = 0.5 / 1_000_000


def fireworks_routes(state: State) -> list[Route]:
    return [
        *_dataset_routes(state),
        *_job_routes(state, _SUPERVISED),
        *_job_routes(state, _PREFERENCE),
        *_serving_routes(state),
    ]


# --- datasets -----------------------------------------------------------------------------------


def _dataset_routes(state: State) -> list[Route]:
    async def create(request: Request) -> Response:
        body = await request.json()
        name = _dataset_name(request, body["datasetId"])
        if name in state.files:
            raise Refused(409, f"dataset {name} already exists", "ALREADY_EXISTS")
        if "userUploaded" not in body["dataset"]:
            raise Refused(400, "one of the sources of the dataset must be set")
        state.files[name] = Stored(name, "", "dataset", "", b"")
        return JSONResponse(_dataset(state.files[name]))

    async def upload(request: Request) -> Response:
        name = _dataset_name(request, request.path_params["name"])
        parts = parts_of(request.headers["content-type"], await request.body())
        filename, data = parts["file"]
        state.files[name] = Stored(name, filename, "dataset", "", data)
        return JSONResponse({"filename": filename, "bytes": len(data)})

    async def get(request: Request) -> Response:
        name = _dataset_name(request, request.path_params["name"])
        return JSONResponse(_dataset(state.file(name)))

    datasets = f"{ROOT}/datasets"
    return [
        Route(datasets, create, methods=["POST"]),
        Route(f"{datasets}/{{name}}:upload", upload, methods=["POST"]),
        Route(f"{datasets}/{{name}}", get, methods=["GET"]),
    ]


def _dataset_name(request: Request, name: str) -> str:
    return f"accounts/{request.path_params['account']}/datasets/{name}"


def _dataset(stored: Stored) -> dict[str, Any]:
    # the rows are read a moment after they came
    read = bool(stored.data) and time.time() - stored.created > 0.1
    return {
        "name": stored.id,
        "createTime": rfc3339(stored.created),
        "state": "READY" if read else "UPLOADING",
        "status": {"code": "OK", "message": ""},
        "exampleCount": str(stored.data.count(b"\n")),
        "userUploaded": {},
    }


# --- jobs ---------------------------------------------------------------------------------------


def _job_routes(state: State, kind: str) -> list[Route]:
    id_of = "dpoJobId" if kind == _PREFERENCE else "supervisedFineTuningJobId"

    async def create(request: Request) -> Response:
        label = request.query_params[id_of]
        account = request.path_params["account"]
        body = await request.json()
        training = await asyncio.to_thread(_training, state, kind, account, label, body)
        state.trainings.add(training)
        return JSONResponse(_record(training))

    async def get(request: Request) -> Response:
        training = state.trainings.poll(_job(state, kind, request).id)
        told = {} if kind == _PREFERENCE else {"metricsFileSignedUrl": signed(request, training)}
        return JSONResponse({**_record(training), **told})

    async def metrics_file(request: Request) -> Response:
        return JSONResponse({"signedUrl": signed(request, _job(state, kind, request))})

    async def metrics(request: Request) -> Response:
        rows = [
            {"step": epoch.step, "train/loss": epoch.loss, "train/epoch": epoch.number}
            | ({} if epoch.validation_loss is None else {"eval/loss": epoch.validation_loss})
            for epoch in _job(state, kind, request).history
        ]
        return Response("".join(json.dumps(row) + "\n" for row in rows))

    def signed(request: Request, training: Training) -> str:
        """Where anybody who knows the address reads it, as from a bucket."""
        label = training.id.partition("-")[2]
        account = training.parent.rpartition("/")[2]
        path = f"{jobs.format(account=account)}/{label}/metrics.jsonl"
        return f"{request.base_url}{path.lstrip('/')}?signature={SIGNATURE}"

    async def cancel(request: Request) -> Response:
        state.trainings.cancel(_job(state, kind, request).id)
        return JSONResponse({})

    jobs = f"{ROOT}/{kind}"
    return [
        Route(jobs, create, methods=["POST"]),
        Route(f"{jobs}/{{name}}:cancel", cancel, methods=["POST"]),
        Route(f"{jobs}/{{name}}:getMetricsFileEndpoint", metrics_file, methods=["GET"]),
        Route(f"{jobs}/{{name}}/metrics.jsonl", metrics, methods=["GET"]),
        Route(f"{jobs}/{{name}}", get, methods=["GET"]),
    ]


def _job(state: State, kind: str, request: Request) -> Training:
    training = state.trainings.all.get(f"{kind}-{request.path_params['name']}")
    if training is None or training.protocol != "fireworks":
        raise Refused(404, "fine-tuning job not found", "NOT_FOUND")
    return training


def _training(state: State, kind: str, account: str, label: str, body: dict[str, Any]) -> Training:
    config = body.get("trainingConfig", body)
    base = config.get("baseModel", "")
    if base.removeprefix(_BASE) not in _TUNABLE:
        raise Refused(400, f"base model {base} is not tunable", "INVALID_ARGUMENT")
    if f"{kind}-{label}" in state.trainings.all:
        raise Refused(409, f"job {label} already exists", "ALREADY_EXISTS")
    rows, validation, error = [], [], ""
    try:
        rows = openai_rows(state.file(body["dataset"]).data)
        if body.get("evaluationDataset"):
            validation = openai_rows(state.file(body["evaluationDataset"]).data)
    except Refused as refused:
        error = refused.message
    return Training(
        id=f"{kind}-{label}",
        protocol="fireworks",
        parent=f"accounts/{account}",
        base=base,
        asked=body,
        rows=rows,
        validation=validation,
        epochs=config.get("epochs", 1),
        error=error,
    )


def _record(training: Training) -> dict[str, Any]:
    kind, _, label = training.id.partition("-")
    config = training.asked.get("trainingConfig", training.asked)
    config = {**config, "outputModel": f"{training.parent}/models/{label}"}
    failed = training.state == "failed"
    record = {
        "name": f"{training.parent}/{kind}/{label}",
        "displayName": training.asked.get("displayName"),
        "dataset": training.asked["dataset"],
        "createTime": rfc3339(training.created),
        "completedTime": rfc3339(training.ended) if training.ended else None,
        "state": _STATES[training.state],
        "status": {"code": "INTERNAL" if failed else "OK", "message": training.error},
    }
    if kind == _PREFERENCE:
        return {**record, "trainingConfig": config}
    cost = training.tokens * training.epochs * _DOLLARS_PER_TOKEN
    percent = 100 * len(training.history) // max(1, training.epochs)
    return {
        **record,
        **config,
        "evaluationDataset": training.asked.get("evaluationDataset"),
        "jobProgress": {"percent": percent, "epoch": len(training.history)},
        "estimatedCost": {
            "currencyCode": "USD",
            "units": str(int(cost)),
            "nanos": round(cost % 1 * 1e9),
        },
    }


# --- what answers -------------------------------------------------------------------------------


def _serving_routes(state: State) -> list[Route]:
    async def model(request: Request) -> Response:
        training = _tuned(state, f"accounts/{request.path_params['account']}", request)
        refs = [{"deployment": f"{training.parent}/deployments/d1", "state": "DEPLOYED",
                 "default": True}]  # fmt: skip
        return JSONResponse(
            {
                "name": _name(training),
                "kind": "HF_PEFT_ADDON",
                "state": "READY",
                "deployedModelRefs": refs if state.settings.deployed else [],
            }
        )

    async def deployments(request: Request) -> Response:
        return JSONResponse({"deployments": []})

    async def chat(request: Request) -> Response:
        body = await request.json()
        name, scores = body.get("model", ""), None
        base = name
        for training in state.trainings.all.values():
            done = training.protocol == "fireworks" and training.state == "succeeded"
            if done and name == _name(training) and state.settings.deployed:
                base, scores = training.base, training.history[-1].scores
        short = base.removeprefix(_BASE)
        if short not in _TUNABLE:
            raise Refused(404, f"Model not found, inaccessible, and/or not deployed: {name}")
        outcome = request.scope.get("state", {}).get("outcome", "")
        return openai_chat.completion(body, scores, short, state.prefixes, outcome)

    return [
        Route(f"{ROOT}/models/{{name}}", model, methods=["GET"]),
        Route(f"{ROOT}/deployments", deployments, methods=["GET"]),
        Route("/fireworks/inference/v1/chat/completions", chat, methods=["POST"]),
    ]


def _tuned(state: State, account: str, request: Request) -> Training:
    wanted = f"{account}/models/{request.path_params['name']}"
    for training in state.trainings.all.values():
        if training.protocol == "fireworks" and _name(training) == wanted:
            return training
    raise Refused(404, f"model {wanted} not found", "NOT_FOUND")


def _name(training: Training) -> str:
    return f"{training.parent}/models/{training.id.partition('-')[2]}"
