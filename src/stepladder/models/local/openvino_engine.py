"""Continuous batching on the CPU with OpenVINO GenAI: a prefix that requests share runs once.

Takes token ids, gives token ids; templates, caching and prices are elsewhere.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...core import Request

__all__ = ["Generated", "OpenVINOEngine"]


@dataclass(frozen=True)
class Generated:
    """What an engine gives back for one request. Seconds as in `core.Usage`."""

    ids: tuple[int, ...]
    logprob: float | None
    finish: str
    seconds: float
    compute_seconds: float
    error: str | None = None


@dataclass
class _InFlight:
    index: int
    handle: Any
    admitted: float
    ids: list[int] = field(default_factory=list)
    logprob: float = 0.0
    share: float = 0.0
    stopped: bool = False  # by itself or at a stop string, not for want of room


class OpenVINOEngine:
    """One loaded model. `exact` computes in float32 (half the speed), else in bfloat16.

    The key-value cache is bfloat16, not the default 8 bits: at 135M parameters the 8-bit cache
    changed greedy answers (see docs/log.md).
    """

    def __init__(self, folder: Path, *, eos_id: int, exact: bool = False, window: int = 32) -> None:
        import openvino_genai as genai

        self._genai = genai
        self._eos_id = eos_id
        self._window = window
        scheduler = genai.SchedulerConfig()
        scheduler.cache_size = 2  # GiB; about 87,000 tokens of SmolLM2-135M in bfloat16
        scheduler.max_num_seqs = window
        scheduler.max_num_batched_tokens = 512
        scheduler.enable_prefix_caching = True
        precision = "f32" if exact else "bf16"
        properties = {
            "INFERENCE_NUM_THREADS": len(os.sched_getaffinity(0)),
            "INFERENCE_PRECISION_HINT": precision,
            "KV_CACHE_PRECISION": precision,
        }
        self._pipeline = genai.ContinuousBatchingPipeline(str(folder), scheduler, "CPU", properties)
        self._next_id = 0

    def run(
        self, prompts: Sequence[Sequence[int]], requests: Sequence[Request]
    ) -> Iterator[tuple[int, Generated]]:
        """Each answer as it finishes, with the index of its prompt."""
        waiting = list(range(len(prompts)))[::-1]
        flying: list[_InFlight] = []
        try:
            while waiting or flying:
                # the first goes alone until its prompt is computed: a request finds the shared
                # prefix in the cache only if it was there when the request was admitted
                alone = bool(flying) and not flying[0].ids and len(flying) == 1
                room = 0 if alone else (self._window - len(flying) if flying else 1)
                for _ in range(min(room, len(waiting))):
                    index = waiting.pop()
                    flying.append(self._admit(index, prompts[index], requests[index]))
                yield from self._step(flying)
        finally:
            for leftover in flying:  # the caller stopped early: free the engine's slots
                leftover.handle.stop()
            if flying:
                self._pipeline.step()

    def _admit(self, index: int, prompt: Sequence[int], request: Request) -> _InFlight:
        import openvino

        tensor = openvino.Tensor(np.array([prompt], dtype=np.int64))
        self._next_id += 1
        started = time.perf_counter()
        handle = self._pipeline.add_request(self._next_id, tensor, self._config(request))
        return _InFlight(index, handle, started)

    def _step(self, flying: list[_InFlight]) -> Iterator[tuple[int, Generated]]:
        started = time.perf_counter()
        self._pipeline.step()
        now = time.perf_counter()
        running = self._genai.GenerationStatus.RUNNING
        done: list[tuple[int, Generated]] = []
        still: list[_InFlight] = []
        for item in flying:
            item.share += (now - started) / len(flying)
            if item.handle.can_read():
                for output in item.handle.read().values():
                    item.ids.extend(output.generated_ids)
                    item.logprob += float(sum(output.generated_log_probs))
                    item.stopped = output.finish_reason == self._genai.GenerationFinishReason.STOP
            if item.handle.get_status() == running:
                still.append(item)
            else:
                done.append((item.index, self._finish(item, now)))
        flying[:] = still
        yield from done

    def _finish(self, item: _InFlight, now: float) -> Generated:
        status = self._genai.GenerationStatus
        seconds = now - item.admitted
        if item.handle.get_status() == status.IGNORED:
            message = "the prompt does not fit the engine's cache"
            return Generated((), None, "error", seconds, item.share, message)
        ended = bool(item.ids) and item.ids[-1] == self._eos_id
        ids = tuple(item.ids[:-1] if ended else item.ids)
        finish = "stop" if ended or item.stopped else "length"
        return Generated(ids, item.logprob, finish, seconds, item.share)

    def _config(self, request: Request) -> Any:
        genai = self._genai
        config = genai.GenerationConfig()
        config.max_new_tokens = request.max_output_tokens
        config.eos_token_id = self._eos_id
        config.apply_chat_template = False
        config.logprobs = 1
        config.do_sample = request.temperature > 0
        if request.temperature > 0:
            config.temperature = request.temperature
            config.rng_seed = request.seed
        if request.stop:
            config.stop_strings = set(request.stop)
        if request.choices:
            options = " | ".join(
                json.dumps(choice, ensure_ascii=False)  # the grammar reads no surrogate pairs
                for choice in request.choices
            )
            config.structured_output_config = genai.StructuredOutputConfig(
                grammar=f"root ::= {options}"
            )
        elif request.schema is not None:
            config.structured_output_config = genai.StructuredOutputConfig(
                json_schema=json.dumps(request.schema)
            )
        return config
