"""The tuned model asked the prompts of the validation file, and its answers scored.

The metrics are those of `evaluateInstances`. Answers are the most probable ones of the merged
model, in the trainer's process. That it cannot be evaluated does not make a job fail: its run says
why.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core import Json, Request
from ...errors import StepladderError
from ...trainers import Conversation
from .. import Refusal
from ..gemini.evaluate import kind_of_metric, scorer_of
from ..gemini.objects import write_object

if TYPE_CHECKING:
    from ...database.records import TuningJob
    from ...models.local.tokenizer import LocalTokenizer

__all__ = ["Evaluator", "config_of"]

OUTPUT_TOKENS = 2048
RESULTS = "evaluation_results.jsonl"
AGGREGATE: Mapping[str, Callable[[Sequence[float]], float]] = {
    "AVERAGE": statistics.fmean,
    "MODE": statistics.mode,
    "STANDARD_DEVIATION": statistics.pstdev,
    "VARIANCE": statistics.pvariance,
    "MINIMUM": min,
    "MAXIMUM": max,
    "MEDIAN": statistics.median,
    "PERCENTILE_P90": lambda scores: float(np.percentile(scores, 90)),
    "PERCENTILE_P95": lambda scores: float(np.percentile(scores, 95)),
    "PERCENTILE_P99": lambda scores: float(np.percentile(scores, 99)),
}


def config_of(job: TuningJob) -> Mapping[str, Json] | None:
    """What is to be evaluated after a job; None where nothing is."""
    spec = job.request.get("supervisedTuningSpec") if job.protocol == "vertex" else None
    return spec.get("evaluationConfig") if isinstance(spec, dict) else None


@dataclass(frozen=True)
class Evaluator:
    """Evaluates by a job's config; `check` raises where the work is to end."""

    config: Mapping[str, Json]
    tokenizer: LocalTokenizer
    gs_folder: Path | None
    check: Callable[[], None]

    def run(self, job: str, model: Path, asked: Sequence[Conversation]) -> dict[str, Json]:
        """What the job keeps of it: `results`, `directory` and how many `examples`; or `error`."""
        try:
            scorers = [(one, scorer_of(one)) for one in self.config["metrics"]]
            said = self._answers(model, asked)
            pairs = [(text, wanted) for text, (_, wanted) in zip(said, asked, strict=True)]
            scores = [(one, score(pairs)) for one, score in scorers]
            directory = self._written(job, asked, said, scores)
        except (Refusal, StepladderError) as error:
            reason = error.reason if isinstance(error, Refusal) else "unavailable"
            return {"error": {"reason": reason, "message": error.message}}
        found: dict[str, Json] = {"examples": len(asked), "results": _aggregated(scores)}
        return {**found, "directory": directory} if directory else found

    def _answers(self, model: Path, asked: Sequence[Conversation]) -> list[str]:
        from ...models.local.transformers_engine import TransformersEngine

        tokenizer = self.tokenizer
        prompts = [tokenizer.chat_ids(messages) for messages, _ in asked]
        # they are answered side by side, padded to the longest
        room = min(OUTPUT_TOKENS, tokenizer.context_tokens - max(map(len, prompts)))
        requests = [Request(messages, max_output_tokens=max(1, room)) for messages, _ in asked]
        engine = TransformersEngine(model, eos_id=tokenizer.eos_id, pad_id=tokenizer.pad_id)
        said = [""] * len(asked)
        for place, made in engine.run(prompts, requests):
            self.check()
            said[place] = tokenizer.decode(made.ids)
        return said

    def _written(
        self,
        job: str,
        asked: Sequence[Conversation],
        said: Sequence[str],
        scores: Sequence[tuple[Mapping[str, Json], Sequence[float]]],
    ) -> str | None:
        """The folder with a line per example, where the config says where to put it."""
        destination = self.config.get("outputConfig", {}).get("gcsDestination", {})
        prefix = destination.get("outputUriPrefix")
        if not prefix:
            return None
        directory = f"{prefix.rstrip('/')}/evaluation-{job}"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / RESULTS
            with path.open("w", encoding="utf-8") as file:
                for place, (_, wanted) in enumerate(asked):
                    told = [{kind_of_metric(one): found[place]} for one, found in scores]
                    row = {"response": said[place], "reference": wanted, "scores": told}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
            write_object(f"{directory}/{RESULTS}", path, self.gs_folder)
        return directory


def _aggregated(scores: Sequence[tuple[Mapping[str, Any], Sequence[float]]]) -> list[Json]:
    return [
        {"metric": kind_of_metric(one), "aggregation": name, "score": AGGREGATE[name](found)}
        for one, found in scores
        for name in one["aggregationMetrics"]
    ]
