"""What measuring the candidates of a climb will take at most, for the plan that `climb.py` gives.

Steps say which prompts they will have measured, by `measured(task, train)`; nothing is asked here.
Racing stops what is hopeless, so a climb mostly takes less.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .core import Estimate, Split, Step, Task, Workshop
from .solvers.prompt import PromptSolver
from .steps.speed import estimate_calls

__all__ = ["MEASURING", "measuring"]

MEASURING = "measuring, at most"


def measuring(
    steps: Sequence[Step],
    task: Task,
    split: Split,
    workshop: Workshop,
    priced: Callable[[Estimate], Estimate],
) -> Estimate:
    """Every candidate on all of dev, and the dearest on test once; None where one is unknown.

    `priced` adds the dollars of machine time. What is known of an unknown sum is in the note.
    """
    asked, silent = _asked(steps, task, split)

    def each(sizes: int) -> list[Estimate]:
        return [
            Estimate(None, None, sizes)
            if solver is None
            else priced(estimate_calls(task, solver, split.train, sizes, workshop))
            for solver in asked
        ]

    found, opening = each(len(split.dev)), each(len(split.test))
    calls = sum(one.calls for one in found) + max((one.calls for one in opening), default=0)
    seconds, _ = _sum([one.seconds for one in found], [one.seconds for one in opening])
    dollars, known = _sum([one.dollars for one in found], [one.dollars for one in opening])
    note = (
        f"{len(asked)} candidates that ask a model x {len(split.dev):,} dev examples, "
        f"and {len(split.test):,} test examples once"
    )
    if not asked and not silent:
        note = "no candidate asks a model"
    if dollars is None and known:
        note += f"; ${known:.3g} of it is known"
    if silent:
        note += f"; without {', '.join(silent)}, which does not say how many candidates it has"
        seconds = dollars = None
    return Estimate(seconds, dollars, calls, note)


def _asked(
    steps: Sequence[Step], task: Task, split: Split
) -> tuple[list[PromptSolver | None], list[str]]:
    """The prompts to be measured, None for an unknown one; and the steps that do not say."""
    asked: list[PromptSolver | None] = []
    silent = []
    for step in steps:
        says = getattr(step, "measured", None)
        if says is None:
            silent.append(step.name)
        else:
            asked += says(task, split.train)
    return asked, list(dict.fromkeys(silent))


def _sum(
    found: Sequence[float | None], opening: Sequence[float | None]
) -> tuple[float | None, float]:
    """All of `found` and the most of `opening`: None if one is unknown; and what is known."""
    known = sum(one or 0.0 for one in found) + max((one or 0.0 for one in opening), default=0.0)
    return (None if None in (*found, *opening) else known), known
