"""A `TuningJob` in Vertex's words: state, tuned model, statistics of the data, error.

What is told is what the worker wrote; the names of resources are under the project and location of
the request, which are accepted and told back but separate nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...core import Json
from ...database.records import JobState, TuningJob
from .errors import RPC_CODES, STATUS_NAMES, TYPES
from .own import rfc3339
from .tuning_forms import ADAPTER_SIZES, SPECS

__all__ = ["JOB_STATES", "job_body", "status_of"]

JOB_STATES: Mapping[JobState, str] = {
    "queued": "JOB_STATE_PENDING", "running": "JOB_STATE_RUNNING",
    "succeeded": "JOB_STATE_SUCCEEDED", "failed": "JOB_STATE_FAILED",
    "cancelling": "JOB_STATE_CANCELLING", "cancelled": "JOB_STATE_CANCELLED",
    "pausing": "JOB_STATE_RUNNING", "paused": "JOB_STATE_PAUSED",
}  # fmt: skip
SPEC_NAMES = {method: name for name, method in SPECS.items()}
STATISTICS = {
    "supervised": "supervisedTuningDataStats", "preference": "preferenceOptimizationDataStats",
}  # fmt: skip
SIZE_NAMES = {size: name for name, size in ADAPTER_SIZES.items()}
DISTRIBUTIONS = {
    "userInputTokenDistribution": "input_tokens",
    "userOutputTokenDistribution": "output_tokens",
    "userMessagePerExampleDistribution": "messages_per_example",
}


def job_body(job: TuningJob, place: str) -> dict[str, Json]:
    """The resource; `place` is `projects/P/locations/L`."""
    body: dict[str, Json] = {
        "name": f"{place}/tuningJobs/{job.id}",
        "state": JOB_STATES[job.state],
        "createTime": rfc3339(job.created_at),
        "updateTime": rfc3339(job.updated_at),
        SPEC_NAMES[job.method]: _spec(job),
    }
    if job.pre_tuned is None:
        body["baseModel"] = job.base
    else:
        body["preTunedModel"] = {**job.request.get("preTunedModel", {}), "baseModel": job.base}
    for name in ("tunedModelDisplayName", "description", "labels"):
        if name in job.request:
            body[name] = job.request[name]
    if job.started_at is not None:
        body["startTime"] = rfc3339(job.started_at)
    if job.finished_at is not None:
        body["endTime"] = rfc3339(job.finished_at)
    if job.statistics is not None:
        told = _statistics if job.method == "supervised" else _preference_statistics
        body["tuningDataStats"] = {STATISTICS[job.method]: told(job.statistics)}
    if job.tuned_model is not None:
        body["tunedModel"] = _tuned_model(job, place)
        if (found := (job.statistics or {}).get("evaluation")) is not None:
            body["evaluateDatasetRuns"] = [_evaluation(job, found)]
    if job.error is not None:
        body["error"] = status_of(job.error)
    return body


def _evaluation(job: TuningJob, found: Mapping[str, Json]) -> dict[str, Json]:
    """The evaluation of the model, which is that of the last checkpoint."""
    run: dict[str, Json] = {}
    if job.checkpoints and not job.options.get("last_checkpoint_only"):
        run["checkpointId"] = job.checkpoints[-1].id
    if "error" in found:
        return {**run, "error": status_of(found["error"])}
    results = [
        {
            "aggregationMetric": one["aggregation"],
            f"{one['metric']}MetricValue": {"score": one["score"]},
        }
        for one in found["results"]
    ]
    asked = job.request["supervisedTuningSpec"]["validationDatasetUri"]
    output: dict[str, Json] = {
        "aggregationOutput": {
            "aggregationResults": results, "dataset": {"gcsSource": {"uris": [asked]}},
        },
    }  # fmt: skip
    if "directory" in found:
        output["outputInfo"] = {"gcsOutputDirectory": found["directory"]}
    return {**run, "evaluateDatasetResponse": output}


def status_of(error: Mapping[str, Json]) -> dict[str, Json]:
    """What failed as a google.rpc.Status; rows at fault are its details."""
    name = STATUS_NAMES.get(error.get("reason") or "internal", "INTERNAL")
    status: dict[str, Json] = {
        "code": RPC_CODES["CANCELLED" if error.get("reason") == "cancelled" else name],
        "message": str(error.get("message") or name),
    }
    if rows := error.get("rows"):
        violations = [_violation(row) for row in rows]
        status["details"] = [{"@type": f"{TYPES}BadRequest", "fieldViolations": violations}]
    return status


def _violation(row: Json) -> dict[str, str]:
    if not isinstance(row, Mapping):
        return {"field": "", "description": str(row)}
    line = row.get("line", row.get("row"))
    where = str(row.get("param") or "")
    return {
        "field": where if line is None else f"line {line}{f': {where}' if where else ''}",
        "description": str(row.get("message", "")),
    }


def _spec(job: TuningJob) -> dict[str, Json]:
    """The request's own part, with what was chosen for the job where it left that open."""
    asked = job.request.get(SPEC_NAMES[job.method], {})
    found: dict[str, Json] = {**asked, "trainingDatasetUri": asked.get("trainingDatasetUri", "")}
    hyper: dict[str, Json] = {**asked.get("hyperParameters", {})}
    options = job.options
    whole = {"epochCount": "epochs", "batchSize": "batch_size"}
    if job.method == "preference":
        del whole["batchSize"]  # which its form has no field for
    for name, option in whole.items():
        if options.get(option) is not None:
            hyper[name] = str(options[option])
    for name, option in (("learningRateMultiplier", "learning_rate_multiplier"), ("beta", "beta")):
        if options.get(option) is not None:
            hyper[name] = options[option]
    if options.get("adapter_rank") in SIZE_NAMES:
        hyper["adapterSize"] = SIZE_NAMES[options["adapter_rank"]]
    if hyper:
        found["hyperParameters"] = hyper
    return found


def _tuned_model(job: TuningJob, place: str) -> dict[str, Json]:
    found: dict[str, Json] = {
        "model": f"{place}/models/{job.tuned_model}@1",
        "endpoint": f"{place}/endpoints/{job.tuned_model}",
    }
    if job.checkpoints and not job.options.get("last_checkpoint_only"):
        found["checkpoints"] = [
            {
                "checkpointId": checkpoint.id,
                "epoch": str(round(checkpoint.epoch)),
                "step": str(checkpoint.step),
                "endpoint": f"{place}/endpoints/{checkpoint.tuned_model}",
            }
            for checkpoint in job.checkpoints
        ]
    return found


def _statistics(neutral: Mapping[str, Json]) -> dict[str, Json]:
    """What Vertex calls truncated are the rows that were left out."""
    counts = {
        "tuningDatasetExampleCount": "examples",
        "totalBillableTokenCount": "billable_tokens",
        "tuningStepCount": "steps",
        "totalTruncatedExampleCount": "dropped",
    }
    found: dict[str, Json] = {
        name: str(neutral[key]) for name, key in counts.items() if neutral.get(key) is not None
    }
    for name, key in (
        ("truncatedExampleIndices", "dropped_rows"),
        ("droppedExampleReasons", "dropped_reasons"),
    ):
        if rows := neutral.get(key):
            found[name] = [str(row) for row in rows]
    for name, key in DISTRIBUTIONS.items():
        if neutral.get(key):
            found[name] = _distribution(neutral[key])
    return found


def _preference_statistics(neutral: Mapping[str, Json]) -> dict[str, Json]:
    """The same of preferences, for which Vertex has a form with other names."""
    found = _statistics(neutral)
    for gone in ("totalTruncatedExampleCount", "userMessagePerExampleDistribution"):
        found.pop(gone, None)
    if "truncatedExampleIndices" in found:
        found["droppedExampleIndices"] = found.pop("truncatedExampleIndices")
    for name in found.keys() & DISTRIBUTIONS.keys():
        found[name] = {key: found[name][key] for key in found[name] if key != "billableSum"}
        found[name]["sum"] = float(found[name]["sum"])
    return found


def _distribution(neutral: Mapping[str, Json]) -> dict[str, Json]:
    names = ("min", "max", "mean", "median", "p5", "p95", "buckets")
    found: dict[str, Json] = {name: neutral[name] for name in names if name in neutral}
    if "sum" in neutral:
        found |= {"sum": str(neutral["sum"]), "billableSum": str(neutral["sum"])}
    return found
