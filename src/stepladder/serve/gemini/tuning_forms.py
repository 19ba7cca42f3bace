"""What a request for a tuning job may hold, read into the fields of a `TuningJob`.

Everything that would change the result and is not done here is refused by name. Whether the rows
are good is not looked at: a job over bad rows is made and fails, as at the service.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from ...core import Json
from .. import Refusal
from .evaluation_forms import read_evaluation
from .forms import anything, decimal, flag, long, mapped, message, one_of, struct, text

__all__ = [
    "ADAPTER_SIZES", "SPECS", "WITHOUT_EFFECT", "file_id", "options_of", "read_job", "spec_of",
]  # fmt: skip

ADAPTER_SIZES: Mapping[str, int] = {
    "ADAPTER_SIZE_ONE": 1, "ADAPTER_SIZE_TWO": 2, "ADAPTER_SIZE_FOUR": 4, "ADAPTER_SIZE_EIGHT": 8,
    "ADAPTER_SIZE_SIXTEEN": 16, "ADAPTER_SIZE_THIRTY_TWO": 32,
}  # fmt: skip
UNSPECIFIED = "ADAPTER_SIZE_UNSPECIFIED"
HYPER = message({
    "epochCount": long, "learningRateMultiplier": decimal, "batchSize": long,
    "learningRate": decimal, "adapterSize": one_of(*ADAPTER_SIZES, UNSPECIFIED),
})  # fmt: skip
SUPERVISED = message(
    {
        "trainingDatasetUri": text, "validationDatasetUri": text, "hyperParameters": HYPER,
        "exportLastCheckpointOnly": flag, "evaluationConfig": struct,
        "tuningMode": one_of(
            "TUNING_MODE_PEFT_ADAPTER", "TUNING_MODE_FULL", "TUNING_MODE_UNSPECIFIED"
        ),
    },
    required=("trainingDatasetUri",),
)  # fmt: skip
PREFERENCE = message(
    {
        "trainingDatasetUri": text, "validationDatasetUri": text,
        "hyperParameters": message({
            "epochCount": long, "learningRateMultiplier": decimal, "beta": decimal,
            "adapterSize": one_of(*ADAPTER_SIZES, UNSPECIFIED),
        }),
        "exportLastCheckpointOnly": flag,
    },
    required=("trainingDatasetUri",),
)  # fmt: skip
SPECS: Mapping[str, Literal["supervised", "preference"]] = {
    "supervisedTuningSpec": "supervised", "preferenceOptimizationSpec": "preference",
}  # fmt: skip
PRE_TUNED = message(
    {"tunedModelName": text, "checkpointId": text, "baseModel": text}, required=("tunedModelName",)
)
OTHER_SPECS = (
    "distillationSpec", "reinforcementTuningSpec",
    "fullFineTuningSpec", "partnerModelTuningSpec", "veoTuningSpec", "veoLoraTuningSpec",
)  # fmt: skip
# told by the service and without effect in a request
TOLD = (
    "name", "state", "createTime", "startTime", "endTime", "updateTime", "error", "experiment",
    "tunedModel", "tuningDataStats", "tuningJobState", "tuningJobMetadata", "pipelineJob",
    "evaluateDatasetRuns", "gcsMetricsUri", "satisfiesPzi", "satisfiesPzs",
)  # fmt: skip
JOB = message({
    "baseModel": text, "preTunedModel": PRE_TUNED, "supervisedTuningSpec": SUPERVISED,
    "preferenceOptimizationSpec": PREFERENCE,
    "tunedModelDisplayName": text, "description": text, "labels": mapped(text),
    "encryptionSpec": message({"kmsKeyName": text}), "serviceAccount": text,
    "customBaseModel": text, "outputUri": text,
    **dict.fromkeys((*OTHER_SPECS, *TOLD), anything),
})  # fmt: skip
WITHOUT_EFFECT = ("encryptionSpec", "serviceAccount")  # of the cloud, not of what is trained
REFUSED: Mapping[str, str] = {
    "customBaseModel": "name the base model, and serve its weights as one of this server's models",
    "outputUri": "leave it out: the adapter is kept by this server and served under an endpoint",
}
JSONL = re.compile(r"gs://[^/]+/.+\.jsonl", re.DOTALL)
FILE = re.compile(r"(?:.*/)?files/([a-z0-9-]{1,40})")
MOST_EPOCHS = 100
MOST_BETA = 2
LONGEST_NAME = 128


def read_job(body: Json) -> dict[str, Any]:
    """The request in canonical names, checked; output fields that it may carry are left out.

    Raises:
        Refusal: naming the field at fault.
    """
    asked: dict[str, Any] = JOB(body, "")
    for name in OTHER_SPECS:
        if name in asked:
            raise _unsupported(name, f"this server tunes with {' or '.join(SPECS)}")
    for name, cure in REFUSED.items():
        if name in asked:
            raise _unsupported(name, cure)
    for name in TOLD:
        asked.pop(name, None)
    if sum(name in asked for name in SPECS) != 1:
        raise Refusal(
            "invalid",
            f"exactly one of {' and '.join(map(repr, SPECS))} has to be given",
            param="supervisedTuningSpec",
        )
    if ("baseModel" in asked) == ("preTunedModel" in asked):
        raise Refusal(
            "invalid",
            "exactly one of 'baseModel' and 'preTunedModel' has to be given",
            param="baseModel",
        )
    if len(asked.get("tunedModelDisplayName", "")) > LONGEST_NAME:
        raise Refusal(
            "invalid",
            f"'tunedModelDisplayName' is longer than {LONGEST_NAME} characters",
            param="tunedModelDisplayName",
        )
    name = spec_of(asked)
    _check_spec(asked[name], name)
    if "evaluationConfig" in asked[name]:
        asked[name]["evaluationConfig"] = read_evaluation(asked[name], name)
    return asked


def spec_of(asked: Mapping[str, Any]) -> str:
    """Which of `SPECS` a job has."""
    return next(name for name in SPECS if name in asked)


def options_of(spec: Mapping[str, Any]) -> dict[str, Json]:
    """The choices in the words of `TuningJob.options`; what was not said is not there."""
    hyper = spec.get("hyperParameters", {})
    size = ADAPTER_SIZES.get(hyper.get("adapterSize", UNSPECIFIED))
    options = {
        "epochs": hyper.get("epochCount"),
        "learning_rate_multiplier": hyper.get("learningRateMultiplier"),
        "batch_size": hyper.get("batchSize"),
        "adapter_rank": size,
        "beta": hyper.get("beta"),
        "last_checkpoint_only": spec.get("exportLastCheckpointOnly"),
    }
    return {name: value for name, value in options.items() if value is not None}


def file_id(uri: str) -> str | None:
    """The id of a file of this server that `uri` names (`files/123`), None for `gs://`."""
    match = None if uri.startswith("gs://") else FILE.fullmatch(uri)
    return match[1] if match else None


def _check_spec(spec: Mapping[str, Any], place: str) -> None:
    for name in ("trainingDatasetUri", "validationDatasetUri"):
        uri = spec.get(name)
        if uri is not None and not (JSONL.fullmatch(uri) or file_id(uri)):
            said = name.replace("DatasetUri", "_dataset_uri")
            raise Refusal(
                "invalid",
                f"{said} should be a GCS object of type JSONL, not {uri[:200]!r}",
                hint="give gs://BUCKET/NAME.jsonl, or files/ID of a file uploaded to this server",
                param=f"{place}.{name}",
            )
    if spec.get("tuningMode") == "TUNING_MODE_FULL":
        raise _unsupported(f"{place}.tuningMode", "adapters are tuned: TUNING_MODE_PEFT_ADAPTER")
    _check_hyper(spec.get("hyperParameters", {}), f"{place}.hyperParameters")


def _check_hyper(hyper: Mapping[str, Any], place: str) -> None:
    if "learningRate" in hyper:
        raise _unsupported(f"{place}.learningRate", "give learningRateMultiplier")
    if not 0 < hyper.get("epochCount", 1) <= MOST_EPOCHS:
        raise _out_of_range(f"{place}.epochCount", f"from 1 to {MOST_EPOCHS}")
    if hyper.get("batchSize", 1) < 1:
        raise _out_of_range(f"{place}.batchSize", "at least 1")
    if hyper.get("learningRateMultiplier", 1.0) <= 0:
        raise _out_of_range(f"{place}.learningRateMultiplier", "greater than 0")
    if not 0 < hyper.get("beta", 1.0) <= MOST_BETA:
        raise _out_of_range(f"{place}.beta", f"greater than 0, at most {MOST_BETA}")


def _unsupported(field: str, cure: str) -> Refusal:
    return Refusal("unsupported", f"{field!r} is not supported", hint=cure, param=field)


def _out_of_range(field: str, wanted: str) -> Refusal:
    return Refusal("invalid", f"{field!r} has to be {wanted}", param=field)
