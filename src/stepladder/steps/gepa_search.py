"""The wording evolved by the package gepa, with a capable model reflecting on failures.

GEPA (Agrawal et al., 2025, "Reflective Prompt Evolution Can Outperform Reinforcement Learning")
keeps a Pareto front of wordings over examples and mutates them by what a model says about their
failures. Both models are reached through our own seam, so their answers are cached like all others.
Only train is used: one part to reflect on, another to keep the front.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..core import Example, Message, Output, Request
from ..errors import ModelError
from ..registry import need
from ..solvers.prompt import calibrate, render_input, render_target
from ..stats import aggregate
from .measure import Effort, seconds_of, try_solver
from .prompt_search import Found, Search
from .prompt_variants import Variant

__all__ = ["evolve"]

_COMPONENT = "instructions"
_REFLECTION_TOKENS = 2048


def evolve(
    search: Search,
    start: Found,
    learn: Sequence[Example],
    judge: Sequence[Example],
    max_answers: int,
) -> Found:
    """The best wording after about `max_answers` answers, everything else as in `start`.

    Raises:
        MissingExtra: gepa is not installed.
        ModelError: the reflecting model failed.
    """
    gepa = need("gepa", extra="prompt-search", what="step 'prompt' with search = 'gepa'")
    adapter, reflection = _Adapter(search, start), _Reflection(search)
    result = gepa.optimize(
        seed_candidate={_COMPONENT: start.solver.instructions},
        trainset=list(learn),
        valset=list(judge),
        adapter=adapter,
        reflection_lm=reflection,
        max_metric_calls=max_answers,
        stop_callbacks=[lambda state: reflection.failure is not None],
        logger=_Log(search),
        seed=search.task.seed,
        raise_on_exception=True,
    )
    if reflection.failure is not None:  # gepa logs what its model raises, and would go on
        raise reflection.failure
    wording = result.best_candidate[_COMPONENT]
    why = f"wording evolved by gepa, best of {result.num_candidates} on {len(judge)} train examples"
    changes = {**start.variant.changes, "instructions": wording}
    variant = Variant(f"{start.variant.name}+gepa", changes, why, "wording")
    solver = adapter.solver({_COMPONENT: wording})
    return Found(variant, solver, search.attempt(solver, judge))


@dataclass(frozen=True)
class _Trace:
    example: Example
    output: Output
    score: float


class _Adapter:
    """What gepa asks of a system: answer a batch, and show how it went."""

    propose_new_texts = None  # gepa's own reflection writes the new wording

    def __init__(self, search: Search, start: Found) -> None:
        self._search = search
        self._start = start

    def solver(self, candidate: Mapping[str, str]) -> Any:
        solver = replace(self._start.solver, instructions=candidate[_COMPONENT])
        if solver.scoring == "calibrated":
            solver = calibrate(solver, self._search.workshop)
        return solver

    def evaluate(
        self, batch: list[Example], candidate: dict[str, str], capture_traces: bool = False
    ) -> Any:
        from gepa.core.adapter import EvaluationBatch

        attempt = try_solver(
            self.solver(candidate), batch, self._search.metric, self._search.workshop
        )
        self._search.effort += attempt.effort
        scores = [aggregate([counts]) for counts in attempt.counts]
        traces = [
            _Trace(example, output, score)
            for example, output, score in zip(batch, attempt.outputs, scores, strict=True)
        ]
        return EvaluationBatch(
            outputs=list(attempt.outputs),
            scores=scores,
            trajectories=traces if capture_traces else None,
        )

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> dict[str, list[dict[str, str]]]:
        records = [self._record(trace) for trace in eval_batch.trajectories]
        return {component: records for component in components_to_update}

    def _record(self, trace: _Trace) -> dict[str, str]:
        wanted = render_target(self._start.solver, trace.example.expected)
        right = trace.score >= 1.0
        return {
            "Inputs": render_input(trace.example.input),
            "Generated Outputs": trace.output.text or trace.output.error or "(nothing)",
            "Feedback": "Right." if right else f"Score {trace.score:.2f}. Expected: {wanted}",
        }


class _Reflection:
    """The capable model as gepa calls it: a text in, a text out."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self.failure: ModelError | None = None

    def __call__(self, prompt: str | list[dict[str, Any]]) -> str:
        name = self._search.task.prompt_model or ""
        text = prompt if isinstance(prompt, str) else str(prompt[-1]["content"])
        request = Request((Message("user", text),), max_output_tokens=_REFLECTION_TOKENS)
        began = time.perf_counter()
        response = dict(self._search.workshop.model(name).generate([request]))[0]
        if response.error is not None:
            self.failure = ModelError(
                f"prompt_model {name!r} failed while rewriting the prompt: {response.error}",
                hint="check prompt_model in task.toml, or use search = 'built-in'",
            )
            raise self.failure
        used = (response.usage.input_tokens or 0) + (response.usage.output_tokens or 0)
        dollars = self._search.workshop.price((response.usage,))
        seconds = seconds_of((response.usage,), time.perf_counter() - began)
        self._search.effort += Effort(1, used, seconds, dollars)
        return response.text


class _Log:
    """What gepa logs, as progress."""

    def __init__(self, search: Search) -> None:
        self._search = search

    def log(self, message: str) -> None:
        self._search.workshop.tell("gepa", {"message": message})
