"""A step built on growing subsets of train, every solver scored on all of dev.

The same bench, run folder, answer cache and budget as a climb's. The sealed test is not touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..core import Candidate, Counts, Example, Step, Trial
from ..errors import MissingExtra, NotApplicable
from ..units import counts_of
from .curve import Measured
from .nested import nested_subsets

if TYPE_CHECKING:
    from ..climb import Climb

__all__ = ["Point", "measure_curve"]


@dataclass(frozen=True)
class Point:
    """One solver of a step, built on `examples` of train: the solver and how dev scored it."""

    candidate: Candidate
    measured: Measured
    score: float


def measure_curve(
    step: Step, sizes: Sequence[int], repeats: int, on: Climb, base: Trial | None = None
) -> dict[str, list[Point]]:
    """Points by candidate name, for every size of train and so many different subsets of it.

    All of train is one subset, so it is measured once. A step that has nothing to offer for a
    subset, say since a label is missing, has no point there; that is told.

    Raises:
        NotApplicable: the step has nothing to offer for any subset.
    """
    found: dict[str, list[Point]] = {}
    why: list[NotApplicable | MissingExtra] = []
    for size, repeat, subset in _subsets(sizes, repeats, on):
        on.tell("subset", examples=size, repeat=repeat, step=step.name)
        try:
            candidates = _proposed(step, subset, base, on)
        except (NotApplicable, MissingExtra) as reason:
            why.append(reason)
            on.tell("left out", step=step.name, name=f"{size} examples", why=reason.message)
            continue
        for candidate in candidates:
            point = _point(candidate, size, repeat, on)
            found.setdefault(candidate.name, []).append(point)
            on.tell("tried", step=step.name, score=point.score, n=len(on.split.dev))
    if not found:
        raise NotApplicable(
            f"step {step.name!r} proposes nothing: {why[-1].message if why else 'no subset'}",
            hint=why[-1].hint if why else "",
        )
    return found


def _proposed(
    step: Step, subset: Sequence[Example], base: Trial | None, on: Climb
) -> list[Candidate]:
    task, workshop = on.bench.task, on.bench.workshop
    on.budget.afford(step.name, step.estimate(task, subset, workshop))
    with on.budget.building():
        return list(step.propose(task, subset, base, workshop))


def _subsets(
    sizes: Sequence[int], repeats: int, on: Climb
) -> Iterator[tuple[int, int, tuple[Example, ...]]]:
    """(size, repeat, examples), the smallest first, so that a curve is seen early."""
    by_label = on.bench.task.kind == "classification"
    seed = on.bench.task.seed
    orders = [
        nested_subsets(on.split.train, sizes, seed + repeat, by_label=by_label)
        for repeat in range(repeats)
    ]
    for place, size in enumerate(sizes):
        for repeat, subsets in enumerate(orders):
            if repeat == 0 or len(subsets[place]) < len(on.split.train):
                yield size, repeat, subsets[place]


def _point(candidate: Candidate, size: int, repeat: int, on: Climb) -> Point:
    named = replace(candidate, name=f"{candidate.name}@{size}.{repeat}")
    with on.runner(named, "dev", on.split.dev) as runner:
        runner.answer(on.split.dev)
    evaluation = runner.evaluation()
    counts = _in_order_of(on.split.dev, {row.id: counts_of(row) for row in evaluation.rows})
    return Point(
        candidate,
        Measured(size, repeat, counts),
        evaluation.score,
    )


def _in_order_of(dev: Sequence[Example], counts: Mapping[str, Counts]) -> list[Counts]:
    return [counts[example.id] for example in dev]
