"""Continuous batching on the CPU with OpenVINO GenAI: a prefix that requests share runs once.

Takes token ids, gives token ids; templates, caching and prices are elsewhere.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core import Request
from .graph import stride
from .pipeline import cache_tokens, constraint, open_pipeline
from .prefixes import Prefixes

__all__ = ["Generated", "OpenVINOEngine"]

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


@dataclass
class _InFlight:
    index: int
    key: int
    handle: Any
    admitted: float
    ids: list[int] = field(default_factory=list)
    logprob: float | None = None
    share: float = 0.0
    stopped: bool = False  # by itself or at a stop string, not for want of room


class OpenVINOEngine:
    """One loaded model. `exact` computes in float32, else in what is fastest here."""

    def __init__(self, folder: Path, *, eos_id: int, exact: bool = False, window: int = 32) -> None:
        import openvino_genai as genai

        self._genai = genai
        self._eos_id = eos_id
        self._window = window
        self._pipeline = open_pipeline(folder, exact=exact, most_running=window)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self._prefixes = Prefixes(cache_tokens(config, exact=exact), stride(config))
        self._next_id = 0

    def run(
        self, prompts: Sequence[Sequence[int]], requests: Sequence[Request]
    ) -> Iterator[tuple[int, Generated]]:
        """Each answer as it finishes, with the index of its prompt."""
        waiting = deque(range(len(prompts)))
        flying: list[_InFlight] = []
        arrays = [np.asarray(prompt, dtype=np.int64) for prompt in prompts]
        try:
            while waiting or flying:
                while waiting and len(flying) < _QUEUED * self._window:
                    index = _next_of(waiting, arrays, self._prefixes)
                    if index is None:
                        break
                    flying.append(self._admit(index, arrays[index], requests[index]))
                yield from self._step(flying)
        finally:
            for leftover in flying:  # the caller stopped early: free the engine's slots
                leftover.handle.stop()
                self._prefixes.gone(leftover.key)
            if flying:
                self._pipeline.step()

    def _admit(self, index: int, prompt: npt.NDArray[np.int64], request: Request) -> _InFlight:
        import openvino

        self._next_id += 1
        ids, _ = self._prefixes.admit(self._next_id, prompt)
        tensor = openvino.Tensor(ids[None].copy())
        started = time.perf_counter()
        handle = self._pipeline.add_request(self._next_id, tensor, self._config(request))
        logprob = 0.0 if request.logprob else None
        return _InFlight(index, self._next_id, handle, started, logprob=logprob)

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
                self._prefixes.computed(item.key)
            if item.handle.get_status() == running:
                still.append(item)
            else:
                self._prefixes.gone(item.key)
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
        config.structured_output_config = constraint(request.schema, request.choices)
        return config


def _next_of(
    waiting: deque[int], prompts: Sequence[npt.NDArray[np.int64]], prefixes: Prefixes
) -> int | None:
    """Take the first of the next few that need not wait; None when all of them must."""
    for place in range(min(len(waiting), _LOOK_AHEAD)):
        index = waiting[place]
        if not prefixes.must_wait(prompts[index]):
            del waiting[place]
            return index
    return None
