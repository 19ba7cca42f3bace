"""What Vertex says of a job's data: how many, how long, what was left out, what is billed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .trainings import Training

__all__ = ["data_stats"]

_BUCKETS = 10


def data_stats(training: Training, *, supervised: bool) -> dict[str, Any]:
    """A TuningDataStats; int64 as strings, as JSON of protocol buffers has them."""
    inputs = [row.tokens - row.answer_tokens for row in training.rows]
    outputs = [row.answer_tokens for row in training.rows]
    dropped = "truncatedExampleIndices" if supervised else "droppedExampleIndices"
    found: dict[str, Any] = {
        "tuningDatasetExampleCount": str(len(training.rows) + len(training.dropped)),
        "totalBillableTokenCount": str(training.tokens),
        "tuningStepCount": str(training.steps),
        "userInputTokenDistribution": _distribution(inputs),
        "userOutputTokenDistribution": _distribution(outputs),
    }
    if supervised:
        turns = [1 + len(row.asked.turns) for row in training.rows]
        found["userMessagePerExampleDistribution"] = _distribution(turns)
        found["totalTruncatedExampleCount"] = str(len(training.dropped))
    if training.dropped:
        found[dropped] = [str(number) for number in training.dropped]
        found["droppedExampleReasons"] = ["Too many tokens" for _ in training.dropped]
    kind = "supervisedTuningDataStats" if supervised else "preferenceOptimizationDataStats"
    return {kind: found}


def _distribution(values: Sequence[int]) -> dict[str, Any]:
    counts, bounds = np.histogram(values, bins=_BUCKETS)
    return {
        "sum": str(sum(values)),
        "billableSum": str(sum(values)),
        "min": min(values),
        "max": max(values),
        "mean": float(np.mean(values)),
        "median": float(np.median(values)),
        "p5": float(np.percentile(values, 5)),
        "p95": float(np.percentile(values, 95)),
        "buckets": [
            {"count": int(count), "left": float(left), "right": float(right)}
            for count, left, right in zip(counts, bounds, bounds[1:], strict=False)
        ],
    }
