"""Continuous batching on the CPU with OpenVINO GenAI: a prefix that requests share runs once.

Takes token ids, gives token ids; templates, caching and prices are elsewhere.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...core import Request

__all__ = ["Generated", "OpenVINOEngine"]

_WORTH_WAITING = 64  # tokens; a shorter beginning is computed again sooner than waited for
_LOOK_AHEAD = 64  # requests
_QUEUED = 2  # times as many are admitted as run at once, so that a free place is taken in that step


@dataclass(frozen=True)
class Generated:
    """What an engine gives back for one request. Seconds as in `core.Usage`."""

    ids: tuple[int, ...]
    logprob: float | None
    finish: str
    seconds: float
    compute_seconds: float
    error: str | None = None


class _Prefixes:
    """Whose turn it is, so that no beginning which requests share is computed twice.

    A request finds a shared prefix in the engine's cache only if it was there when the request was
    admitted. So while one request with a long beginning is being computed, others with the same
    beginning wait, and requests with another beginning may go first.
    """

    def __init__(self, prompts: Sequence[Sequence[int]]) -> None:
        self._prompts = [np.asarray(prompt, dtype=np.int64) for prompt in prompts]
        self._pending: list[int] = []  # admitted, not yet computed
        self._leaders: list[int] = []  # computed, each with a beginning that no other had before

    def computed(self, indices: Iterable[int]) -> None:
        for index in indices:
            if index in self._pending:
                self._pending.remove(index)
                if not self._is_known(index, len(self._prompts[index])):
                    self._leaders.append(index)

    def next_of(self, waiting: deque[int]) -> int | None:
        """Take the first of the next few that need not wait; None when all of them must."""
        for place in range(min(len(waiting), _LOOK_AHEAD)):
            index = waiting[place]
            shared = max((self._shared(index, other) for other in self._pending), default=0)
            if shared < _WORTH_WAITING or self._is_known(index, shared):
                del waiting[place]
                self._pending.append(index)
                return index
        return None

    def _is_known(self, index: int, shared: int) -> bool:
        return any(
            self._shared(index, leader) > shared - _WORTH_WAITING for leader in self._leaders
        )

    def _shared(self, one: int, other: int) -> int:
        first, second = self._prompts[one], self._prompts[other]
        size = min(len(first), len(second))
        differ = first[:size] != second[:size]
        return int(differ.argmax()) if differ.any() else size


@dataclass
class _InFlight:
    index: int
    handle: Any
    admitted: float
    ids: list[int] = field(default_factory=list)
    logprob: float | None = None
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
        waiting = deque(range(len(prompts)))
        flying: list[_InFlight] = []
        prefixes = _Prefixes(prompts)
        try:
            while waiting or flying:
                prefixes.computed(item.index for item in flying if item.ids)
                while waiting and len(flying) < _QUEUED * self._window:
                    index = prefixes.next_of(waiting)
                    if index is None:
                        break
                    flying.append(self._admit(index, prompts[index], requests[index]))
                done = self._step(flying)
                prefixes.computed(index for index, _ in done)  # some end with their first token
                yield from done
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
        return _InFlight(index, handle, started, logprob=0.0 if request.logprob else None)

    def _step(self, flying: list[_InFlight]) -> list[tuple[int, Generated]]:
        """One step of the engine; what finished is taken out of `flying` and returned."""
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
                    if item.logprob is not None:
                        item.logprob += float(sum(output.generated_log_probs))
                    item.stopped = output.finish_reason == self._genai.GenerationFinishReason.STOP
            if item.handle.get_status() == running:
                still.append(item)
            else:
                done.append((item.index, self._finish(item, now)))
        flying[:] = still
        return done

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
        config.logprobs = int(request.logprob)
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
