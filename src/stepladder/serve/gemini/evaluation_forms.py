"""The `evaluationConfig` of a tuning job: which metrics are computed after it, and where they go.

`evaluate.py` knows the metrics; a worker computes them (`../tuning/evaluating.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core import Json
from .. import Refusal
from .evaluate import METRIC, kind_of_metric, refuse_judged
from .forms import anything, each, message, one_of, text

__all__ = ["AGGREGATIONS", "read_evaluation"]

AGGREGATIONS = (
    "AVERAGE", "MODE", "STANDARD_DEVIATION", "VARIANCE", "MINIMUM", "MAXIMUM", "MEDIAN",
    "PERCENTILE_P90", "PERCENTILE_P95", "PERCENTILE_P99",
)  # fmt: skip
REFUSED: Mapping[str, str] = {
    "autoraterConfig": "leave it out: no model judges here",
    "datasetCustomMetrics": "leave it out: nobody's code is run here",
    "inferenceGenerationConfig": "leave it out: the most probable answers are evaluated",
}
CONFIG = message(
    {
        "metrics": each(METRIC),
        "outputConfig": message({"gcsDestination": message({"outputUriPrefix": text})}),
        **dict.fromkeys(REFUSED, anything),
    },
    required=("metrics",),
)
AGGREGATION = each(one_of(*AGGREGATIONS))


def read_evaluation(spec: Mapping[str, Any], place: str) -> dict[str, Json]:
    """The config in canonical names; `spec` is what it is part of, and has the data for it.

    Raises:
        Refusal: naming the field at fault; for metrics that a model judges, too.
    """
    at = f"{place}.evaluationConfig"
    refuse_judged(spec["evaluationConfig"].get("metrics"))
    config: dict[str, Json] = CONFIG(spec["evaluationConfig"], at)
    for name, cure in REFUSED.items():
        if name in config:
            raise Refusal(
                "unsupported", f"{name!r} is not supported", hint=cure, param=f"{at}.{name}"
            )
    if not config["metrics"]:
        raise Refusal("invalid", "there is no metric", param=f"{at}.metrics")
    for index, metric in enumerate(config["metrics"]):
        kind_of_metric(metric)
        given = metric.get("aggregationMetrics") or ["AVERAGE"]
        metric["aggregationMetrics"] = AGGREGATION(
            given, f"{at}.metrics[{index}].aggregationMetrics"
        )
    prefix = config.get("outputConfig", {}).get("gcsDestination", {}).get("outputUriPrefix")
    if prefix is not None and not prefix.startswith("gs://"):
        raise Refusal("invalid", "'outputUriPrefix' begins with gs://", param=f"{at}.outputConfig")
    if "validationDatasetUri" not in spec:
        raise Refusal(
            "invalid",
            "'evaluationConfig' needs a validation dataset, whose prompts are answered",
            param=f"{place}.validationDatasetUri",
        )
    return config
