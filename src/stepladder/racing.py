"""A step's candidates on dev, in pairs over the same examples; the hopeless stop early.

Runs what `race.py` judges. What becomes of the trials is for `climb.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from .core import Candidate, Example, Trial
from .race import eliminate, looks
from .runner import Runner
from .solvers import model_of
from .solvers.prompt import PromptSolver, ask_ahead

if TYPE_CHECKING:
    from .climb import Climb

__all__ = ["race_on_dev"]

FIRST_LOOK = 32  # examples before the first look of a race
FIRST_OF_BATCHES = 128  # the same where each look waits for a batch job
RACE_ALPHA = 0.05  # the accepted chance that racing stops a step's best candidate


def race_on_dev(candidates: Sequence[Candidate], on: Climb) -> list[Trial]:
    """The candidates measured on dev, in pairs over the same examples; the hopeless stop early."""
    dev = on.split.dev
    with ExitStack() as open_files:
        runners = {}
        for one in candidates:
            runners[one.name] = open_files.enter_context(on.runner(one, "dev", dev))
            on.tell("candidate", step=one.step, name=one.name, planned=len(dev))
        stops = _stops(candidates, on)
        done = 0
        for stop in stops:
            running = {name: one for name, one in runners.items() if one.stopped is None}
            _ask_together([runner.candidate for runner in running.values()], dev[done:stop], on)
            for runner in running.values():
                runner.answer(dev[done:stop])
            done = stop
            if stop < len(dev):
                _stop_the_hopeless(running, len(stops) - 1, on)
    return [_trial(runner) for runner in runners.values()]


def _stops(candidates: Sequence[Candidate], on: Climb) -> list[int]:
    """How many examples are answered at each look; few looks where each waits for a job."""
    size = len(on.split.dev)
    if len(candidates) < 2:
        return [size]
    first = FIRST_OF_BATCHES if any(_in_batches(one, on) for one in candidates) else FIRST_LOOK
    return [*looks(size, first), size]


def _ask_together(candidates: Sequence[Candidate], block: Sequence[Example], on: Climb) -> None:
    """All candidates' requests as one batch job, where the service answers by those."""
    waiting = [one.solver for one in candidates if _in_batches(one, on)]
    prompts = [solver for solver in waiting if isinstance(solver, PromptSolver)]
    if len(prompts) > 1:
        ask_ahead(prompts, [example.input for example in block], on.bench.workshop)


def _in_batches(candidate: Candidate, on: Climb) -> bool:
    model = model_of(candidate.solver)
    return model is not None and getattr(on.bench.workshop.model(model), "batching", False)


def _trial(runner: Runner) -> Trial:
    return Trial(
        runner.candidate,
        runner.evaluation(),
        runner.diagnosis(),
        stopped_early=runner.stopped,
    )


def _stop_the_hopeless(running: dict[str, Runner], look_count: int, on: Climb) -> None:
    rows = {name: runner.rows for name, runner in running.items()}
    reasons = eliminate(
        rows,
        on.bench.metric.scale,
        RACE_ALPHA,
        looks=look_count,
        target=on.bench.task.target.score,
        cost=_costs(running),
    )
    for name, reason in reasons.items():
        running[name].stopped = reason
        on.tell(
            "eliminated",
            step=running[name].candidate.step,
            name=name,
            done=len(rows[name]),
            planned=len(on.split.dev),
            reason=reason,
        )


def _costs(running: dict[str, Runner]) -> dict[str, float] | None:
    """Mean cost of an answer by candidate, in the first unit that is known of every row of all."""
    for unit in ("dollars", "compute_seconds", "input_tokens"):
        values = {
            name: [getattr(row, unit) for row in runner.rows] for name, runner in running.items()
        }
        if all(found and None not in found for found in values.values()):
            return {name: sum(found) / len(found) for name, found in values.items()}
    return None
