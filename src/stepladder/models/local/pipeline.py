"""OpenVINO's continuous batching as we set it up, for the batch engine and for the live one.

How a pipeline is opened and how the form of an answer is told to it; what runs in it, and when, is
up to the engines.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...messages import Json
from .precision import Precision, openvino_precision

__all__ = ["cache_tokens", "constraint", "open_pipeline", "properties"]

_CACHE_GIBIBYTES = 2


def properties(*, exact: bool) -> dict[str, Any]:
    """Settings of OpenVINO's CPU device: all cores; float32 if `exact`, else as is fastest here.

    The key-value cache is in the same numbers, not in the default 8 bits: at 135M parameters the
    8-bit cache changed greedy answers (see docs/log.md).
    """
    precision = _precision(exact=exact)
    return {
        "INFERENCE_NUM_THREADS": len(os.sched_getaffinity(0)),
        "INFERENCE_PRECISION_HINT": precision,
        "KV_CACHE_PRECISION": precision,
    }


def open_pipeline(
    folder: Path, *, exact: bool, most_running: int, tokenizer: Any = None, adapters: Any = None
) -> Any:
    """A `ContinuousBatchingPipeline` with its prefix cache on.

    Pipelines that share a `tokenizer` share the grammars that were compiled for it. `adapters` is
    an `AdapterConfig` that names every layer which any adapter may change.
    """
    import openvino_genai as genai

    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = _CACHE_GIBIBYTES
    scheduler.max_num_seqs = most_running
    scheduler.max_num_batched_tokens = 512
    scheduler.enable_prefix_caching = True
    settings = properties(exact=exact)
    if adapters is not None:
        settings["adapters"] = adapters
    if tokenizer is None:
        return genai.ContinuousBatchingPipeline(str(folder), scheduler, "CPU", settings)
    return genai.ContinuousBatchingPipeline(str(folder), tokenizer, scheduler, "CPU", **settings)


def cache_tokens(config: Mapping[str, Json], *, exact: bool) -> int:
    """How many tokens the cache of a pipeline holds: 93,000 of SmolLM2-135M, half in float32."""
    heads = config["num_attention_heads"]
    head = config.get("head_dim") or config["hidden_size"] // heads
    numbers = 2 * config["num_hidden_layers"] * config.get("num_key_value_heads", heads) * head
    size = 4 if _precision(exact=exact) == "f32" else 2  # bytes of each
    return int((_CACHE_GIBIBYTES << 30) // (numbers * size))


def _precision(*, exact: bool) -> Precision:
    return "f32" if exact else openvino_precision()


def constraint(
    schema: Mapping[str, Json] | None = None,
    choices: Sequence[str] = (),
    grammar: str | None = None,
) -> Any | None:
    """The `StructuredOutputConfig` for one form of answer; None for a free answer."""
    import openvino_genai as genai

    if choices:
        # the grammar reads no surrogate pairs
        options = " | ".join(json.dumps(choice, ensure_ascii=False) for choice in choices)
        return genai.StructuredOutputConfig(grammar=f"root ::= {options}")
    if grammar is not None:
        return genai.StructuredOutputConfig(grammar=grammar)
    if schema is not None:
        return genai.StructuredOutputConfig(json_schema=json.dumps(schema))
    return None
