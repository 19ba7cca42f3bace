"""How well a solver does on a few train examples: what steps search by. Dev is not touched here.

These scores choose what is proposed and carry no interval; `evaluate.py` measures trials.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ..core import Counts, Example, Metric, Model, Output, Solver, Usage, Workshop
from ..errors import ModelError
from ..stats import aggregate

__all__ = ["Attempt", "Effort", "can_score", "paired_gain", "seconds_of", "try_solver"]


@dataclass(frozen=True)
class Effort:
    """What a search took so far: model calls, tokens in and out, seconds on the clock, dollars.

    The seconds are those of the first time, also where answers were kept from then. Dollars are
    None once a part of them is unknown.
    """

    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0
    dollars: float | None = 0.0

    def __add__(self, other: Effort) -> Effort:
        known = self.dollars is not None and other.dollars is not None
        return Effort(
            self.calls + other.calls,
            self.tokens + other.tokens,
            self.seconds + other.seconds,
            (self.dollars or 0.0) + (other.dollars or 0.0) if known else None,
        )


@dataclass(frozen=True)
class Attempt:
    """One solver over some train examples, in their order.

    `tokens_per_request` counts output and the input that no cache is known to have held.
    """

    solver: Solver
    examples: tuple[Example, ...]
    outputs: tuple[Output, ...]
    counts: tuple[Counts, ...]
    effort: Effort

    @property
    def score(self) -> float:
        return aggregate(self.counts)

    @property
    def readable(self) -> float:
        """The share of answers that a value could be read from."""
        return sum(output.value is not None for output in self.outputs) / max(1, len(self.outputs))

    @property
    def tokens_per_request(self) -> float:
        used = [usage for output in self.outputs for usage in output.usage]
        fresh = sum((u.input_tokens or 0) - (u.cached_tokens or 0) for u in used)
        return (fresh + sum(u.output_tokens or 0 for u in used)) / max(1, len(self.outputs))

    @property
    def compute_seconds_per_request(self) -> float | None:
        """The machine's busy time; None when a call did not report it."""
        shares = [usage.compute_seconds for output in self.outputs for usage in output.usage]
        known = [share for share in shares if share is not None]
        return sum(known) / len(self.outputs) if known and len(known) == len(shares) else None

    def __add__(self, other: Attempt) -> Attempt:
        """The same solver over both sets of examples."""
        return Attempt(
            self.solver,
            self.examples + other.examples,
            self.outputs + other.outputs,
            self.counts + other.counts,
            self.effort + other.effort,
        )


def try_solver(
    solver: Solver, examples: Sequence[Example], metric: Metric, workshop: Workshop
) -> Attempt:
    """The solver's outputs on these examples, scored.

    Raises:
        ModelError: not one call succeeded, so that a score of zero would be no measurement.
    """
    began = time.perf_counter()
    outputs = [Output(None, error="the solver gave no answer")] * len(examples)
    for index, output in solver.answer([example.input for example in examples], workshop):
        outputs[index] = output
    errors = [output.error for output in outputs if output.error is not None]
    if outputs and len(errors) == len(outputs):
        of = f"of solver {solver.kind!r} failed"
        some = f"all {len(errors)} calls {of}; the first" if errors[1:] else f"the only call {of}"
        raise ModelError(
            f"{some}: {errors[0]}",
            hint="mend what the message names and run the same command again",
        )
    counts = [metric.score(e, o) for e, o in zip(examples, outputs, strict=True)]
    used = [usage for output in outputs for usage in output.usage]
    tokens = sum((u.input_tokens or 0) + (u.output_tokens or 0) for u in used)
    seconds = seconds_of(used, time.perf_counter() - began)
    effort = Effort(len(used), tokens, seconds, workshop.price(used))
    return Attempt(solver, tuple(examples), tuple(outputs), tuple(counts), effort)


def can_score(model: Model) -> bool:
    """Whether the model gives probabilities of answers it is handed; one that cannot says so."""
    return bool(getattr(model, "scores_choices", True))


def seconds_of(used: Sequence[Usage], elapsed: float) -> float:
    """What the calls took when they were made; kept answers of a resumed run count as well.

    Where a call does not tell, what `elapsed` now.
    """
    shares = [
        usage.waited_seconds if usage.compute_seconds is None else usage.compute_seconds
        for usage in used
    ]
    known = [share for share in shares if share is not None]
    return math.fsum(known) if used and len(known) == len(used) else elapsed


def paired_gain(better: Sequence[Counts], base: Sequence[Counts]) -> tuple[float, float]:
    """Difference of the two set scores on the same examples, and its standard error.

    The error is the delete-one jackknife's, which serves means and ratios of sums alike
    (Efron and Stein, 1981). With fewer than two examples it is infinite.
    """
    difference = aggregate(better) - aggregate(base)
    n = len(base)
    if n < 2:
        return difference, math.inf
    left_out = [
        aggregate([*better[:i], *better[i + 1 :]]) - aggregate([*base[:i], *base[i + 1 :]])
        for i in range(n)
    ]
    mean = math.fsum(left_out) / n
    spread = math.fsum((value - mean) ** 2 for value in left_out)
    return difference, math.sqrt((n - 1) / n * spread)
