"""`tuningJobs` of Vertex: state, checkpoints, statistics of the data, and what it refuses."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .asking import Refused
from .names import camel
from .pages import google_page
from .state import State
from .times import rfc3339
from .training_rows import preference_rows, vertex_rows
from .trainings import ENDED, Training, epochs_for
from .tuned import Row
from .tuning_stats import data_stats
from .vertex_experiments import experiment_of

__all__ = ["tuning_routes"]

PROJECT_NUMBER = "123456789012"  # names come back with the project's number, not its id
_TUNABLE: dict[str, tuple[int, ...]] = {
    "gemini-3.5-flash": (1, 2, 4, 8, 16),
    "gemini-3.1-flash-lite": (1, 2, 4, 8, 16),
    "gemini-2.5-flash": (1, 2, 4, 8, 16),
    "gemini-2.5-flash-lite": (1, 2, 4, 8, 16),
    "gemini-2.5-pro": (1, 2, 4, 8),
}
_BY_PREFERENCE = ("gemini-2.5-flash", "gemini-2.5-flash-lite")
_REGIONS_OF_3 = {"us-central1": "us", "europe-west4": "eu"}  # tuned in, served from
_SIZES = {"ONE": 1, "TWO": 2, "FOUR": 4, "EIGHT": 8, "SIXTEEN": 16, "THIRTY_TWO": 32}
_STATES = {
    "queued": "PENDING",
    "running": "RUNNING",
    "succeeded": "SUCCEEDED",
    "failed": "FAILED",
    "cancelled": "CANCELLED",
}


def tuning_routes(state: State, place: str) -> list[Route]:
    """`place` is what stands before `/tuningJobs`."""

    async def create(request: Request) -> Response:
        body = camel(await request.json())
        location = request.path_params["location"]
        _check(body, location)
        training = await asyncio.to_thread(_training, state, body, location)
        state.trainings.add(training)
        return JSONResponse(_record(training))

    async def get(request: Request) -> Response:
        return JSONResponse(_record(state.trainings.poll(_job(state, request).id)))

    async def every(request: Request) -> Response:
        location = request.path_params["location"]
        ours = [t for t in state.trainings.all.values() if t.protocol == "vertex"]
        ours = [t for t in ours if t.parent.endswith(f"/{location}")]
        if wanted := request.query_params.get("filter"):
            ours = [training for training in ours if _fits(_record(training), wanted)]
        page, following = google_page(ours[::-1], request.query_params)
        return JSONResponse({"tuningJobs": [_record(t) for t in page], **following})

    async def cancel(request: Request) -> Response:
        state.trainings.cancel(_job(state, request).id)
        return JSONResponse({})

    one = f"{place}/tuningJobs/{{name}}"
    return [
        Route(f"{place}/tuningJobs", create, methods=["POST"]),
        Route(f"{place}/tuningJobs", every, methods=["GET"]),
        Route(f"{one}:cancel", cancel, methods=["POST"]),
        Route(one, get, methods=["GET"]),
    ]


def _job(state: State, request: Request) -> Training:
    training = state.trainings.all.get(request.path_params["name"])
    if training is None or training.protocol != "vertex":
        raise Refused(404, f"The TuningJob {request.url.path.partition('/')[2]} does not exist.")
    return training


def _spec(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return body.get("supervisedTuningSpec") or body.get("preferenceOptimizationSpec") or {}


def _check(body: Mapping[str, Any], location: str) -> None:
    """What is refused before a job is made."""
    base = body.get("baseModel", "")
    if base not in _TUNABLE:
        raise Refused(400, f"Base model {base} is not supported.")
    if base.startswith("gemini-3") and location not in _REGIONS_OF_3:
        raise Refused(400, f"Tuning of {base} is not supported in the region {location}.")
    if "preferenceOptimizationSpec" in body and base not in _BY_PREFERENCE:
        raise Refused(400, f"Preference tuning is not supported for base model {base}.")
    spec = _spec(body)
    for name in ("trainingDatasetUri", "validationDatasetUri"):
        uri = spec.get(name, "" if name == "trainingDatasetUri" else "gs://v.jsonl")
        if not uri.startswith("gs://") or not uri.endswith(".jsonl"):
            said = name.replace("DatasetUri", "_dataset_uri")
            raise Refused(400, f"{said} should be a GCS object of type JSONL.")
    hyper = spec.get("hyperParameters", {})
    size = str(hyper.get("adapterSize", "ADAPTER_SIZE_FOUR")).removeprefix("ADAPTER_SIZE_")
    if _SIZES.get(size) not in _TUNABLE[base]:
        raise Refused(400, f"Adapter size {size} is not supported for base model {base}.")
    if not 0 < int(hyper.get("epochCount", 1)) <= 100:
        raise Refused(400, "epoch_count must be in the range [1, 100].")


def _training(state: State, body: dict[str, Any], location: str) -> Training:
    """The job. A fault in the rows is no refusal: the job is made, and fails."""
    spec = _spec(body)
    base = body["baseModel"]
    train = state.storage.read(spec["trainingDatasetUri"])
    held_out = b""
    if uri := spec.get("validationDatasetUri"):
        held_out = state.storage.read(uri)
    rows: list[Row] = []
    validation: list[Row] = []
    dropped: list[int] = []
    error = ""
    try:
        if "preferenceOptimizationSpec" in body:
            rows, dropped = preference_rows(train)
            validation = preference_rows(held_out)[0] if held_out else []
        else:
            rows, dropped = vertex_rows(train, base)
            validation = vertex_rows(held_out, base)[0] if held_out else []
        _check_validation(rows, validation)
    except Refused as refused:
        error = refused.message
    epochs = int(spec.get("hyperParameters", {}).get("epochCount") or epochs_for(rows))
    return Training(
        id=str(uuid.uuid4().int % 10**19),
        protocol="vertex",
        parent=f"projects/{PROJECT_NUMBER}/locations/{location}",
        base=base,
        asked=body,
        rows=rows,
        validation=validation,
        epochs=epochs,
        error=error,
        dropped=dropped,
    )


def _check_validation(rows: list[Row], validation: list[Row]) -> None:
    most = 5000 if len(validation) > 1000 else len(validation)
    if len(validation) > 1000:
        most = min(most, int(0.3 * len(rows)))
    if len(validation) > most:
        raise Refused(400, f"The validation dataset has {len(validation)} examples; the most is "
                      f"{most}.")  # fmt: skip


def _fits(record: Mapping[str, Any], wanted: str) -> bool:
    """`labels.NAME=VALUE`, `labels.NAME:*`, `state=...`, `tuned_model_display_name=...`, AND."""
    for part in wanted.split(" AND "):
        name, sign, value = part.strip().partition(":" if ":*" in part else "=")
        value = value.strip().strip('"')
        field = camel({name.strip(): 0}).popitem()[0]
        if field.startswith("labels."):
            found = record.get("labels", {}).get(name.strip().removeprefix("labels."))
        elif field in ("state", "tunedModelDisplayName", "baseModel", "description"):
            found = record.get(field)
        else:
            raise Refused(400, f"Invalid filter: {wanted}")
        if found is None or (sign == "=" and found != value):
            return False
    return True


def _record(training: Training) -> dict[str, Any]:
    spec = "supervisedTuningSpec"
    spec = spec if spec in training.asked else "preferenceOptimizationSpec"
    record: dict[str, Any] = {
        "name": f"{training.parent}/tuningJobs/{training.id}",
        "state": f"JOB_STATE_{_STATES[training.state]}",
        "createTime": rfc3339(training.created),
        "updateTime": rfc3339(training.ended or training.started or training.created),
        "baseModel": training.base,
        spec: _chosen(training, spec),
    }
    for name in ("tunedModelDisplayName", "description", "labels"):
        if name in training.asked:
            record[name] = training.asked[name]
    if training.started:
        record["startTime"] = rfc3339(training.started)
        record["experiment"] = experiment_of(training)
        if training.rows:
            record["tuningDataStats"] = data_stats(
                training, supervised=spec == "supervisedTuningSpec"
            )
    if training.state in ENDED:
        record["endTime"] = rfc3339(training.ended or time.time())
    if training.error:
        record["error"] = {"code": 3, "message": training.error}
    if training.state == "succeeded":
        record["tunedModel"] = _tuned_model(training, spec)
    return record


def _chosen(training: Training, spec: str) -> dict[str, Any]:
    """The request's own part, with what the service chose for itself."""
    asked = training.asked[spec]
    hyper = {
        "epochCount": str(training.epochs),
        "learningRateMultiplier": 1.0,
        "adapterSize": "ADAPTER_SIZE_FOUR",
        **asked.get("hyperParameters", {}),
    }
    return {**asked, "hyperParameters": {**hyper, "epochCount": str(hyper["epochCount"])}}


def _tuned_model(training: Training, spec: str) -> dict[str, Any]:
    region = training.parent.rpartition("/")[2]
    if training.base.startswith("gemini-3"):
        region = _REGIONS_OF_3[region]
    place = f"projects/{PROJECT_NUMBER}/locations/{region}"
    found: dict[str, Any] = {
        "model": f"{place}/models/{training.number}@1",
        "endpoint": f"{place}/endpoints/{training.number}",
    }
    if training.asked[spec].get("exportLastCheckpointOnly"):
        return found
    found["checkpoints"] = [
        {
            "checkpointId": str(number),
            "epoch": str(epoch.number),
            "step": str(epoch.step),
            "endpoint": f"{place}/endpoints/{training.number + epoch.number}",
        }
        for number, epoch in enumerate(training.kept_epochs(), start=1)
    ]
    return found
