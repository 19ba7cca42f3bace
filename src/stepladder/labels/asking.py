"""`stepladder labels`, put together: the curve of a step, what more labels bring, which to ask for.

Nothing here is printed; `report/labels.py` says it in words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..climb import Climb
from ..core import Example, Solver, Step
from ..data.pool import open_pool
from ..data.split import input_text
from ..errors import NotApplicable
from ..steps.sampling import label_of
from .active import Known, Way, choose
from .curve import Curve, Guess, backtest, fit_curve
from .measure import Point, measure_curve
from .nested import LEAST, sizes_up_to
from .payback import Payback, labels_for, payback

__all__ = ["Labels", "how_much_data", "label_next"]

PER_LABEL = 2  # examples; with fewer, what moves the curve is which labels are known at all


@dataclass(frozen=True)
class Labels:
    """What is known of more labels for one step's best solver.

    `tested` is what the curve said of all of train from the smaller subsets alone, and what was
    measured there. `to_target` is how many more labels its middle and its low end need.
    """

    step: str
    name: str
    points: tuple[Point, ...]
    now: int
    curve: Curve
    tested: tuple[Guess, float] | None
    more: tuple[Payback, ...]
    to_target: tuple[int | None, int | None]
    others: tuple[tuple[str, float], ...] = ()  # the step's other solvers, with all of train


def how_much_data(
    step: Step, on: Climb, *, sizes: int = 6, repeats: int = 3, more: Sequence[int] = ()
) -> Labels:
    """The learning curve of the step's best solver, and what it says of `more` labels.

    Without `more` it is asked for a half more than there are, as many again, and three times as
    many.

    Raises:
        NotApplicable: too few examples for a curve, or a step that proposes nothing.
    """
    task, dev = on.bench.task, on.split.dev
    now = len(on.split.train)
    least = max(LEAST, PER_LABEL * _kinds(on))
    found = measure_curve(step, sizes_up_to(now, sizes, least=least), repeats, on)
    whole = {name: points[-1].score for name, points in found.items() if _size(points[-1]) == now}
    if not whole:
        raise NotApplicable(
            f"no solver of step {step.name!r} could be built on all of train",
            hint="see what was left out and why, above",
        )
    name = max(whole, key=lambda one: whole[one])
    scale, groups = on.bench.metric.scale, [example.group for example in dev]
    measured = [point.measured for point in found[name]]
    curve = fit_curve(measured, scale, groups=groups, seed=task.seed)
    asked = list(more) or [math.ceil(now / 2), now, 3 * now]
    return Labels(
        step.name,
        name,
        tuple(found[name]),
        now,
        curve,
        backtest(measured, scale, groups=groups, seed=task.seed),
        tuple(payback(curve, now, labels, task.economics) for labels in asked),
        labels_for(curve, now, task.target.score),
        tuple((other, score) for other, score in whole.items() if other != name),
    )


def label_next(
    solver: Solver, pool: Sequence[Example], n: int, way: Way, on: Climb
) -> list[tuple[Example, float | None]]:
    """The `n` inputs of the pool to label next, the most wanted first, with the confidence in each.

    Left out, and told, is what train has already, in other case or spacing too, and what dev or
    test has, nearly too: its label is there, and in train it would flatter every score.

    Raises:
        NotApplicable: nothing is left of the pool.
        StepladderError: the way needs confidences and the solver has none.
    """
    opened = open_pool(pool, on.split)
    left, why = opened.inputs, ", ".join(f"{n:,} {why}" for why, n in opened.left_out.items())
    if not left:
        raise NotApplicable(
            f"no unlabelled input is left to ask for: {why}", hint="collect inputs that are new"
        )
    if why:
        on.bench.workshop.tell("note", {"text": f"not asked for: {why}"})
    answers = dict(solver.answer([one.input for one in left], on.bench.workshop))
    confidence = [answers[at].confidence if at in answers else None for at in range(len(left))]
    vectors = labelled = None
    if way in ("spread", "both"):
        vectors, labelled = _vectors(left, on), _vectors(on.split.train, on)
    told = None if all(one is None for one in confidence) else confidence
    known = Known(len(left), told, vectors, labelled)
    places = choose(way, n, known, seed=on.bench.task.seed)
    return [(left[at], confidence[at]) for at in places]


def _kinds(on: Climb) -> int:
    """How many labels train has; 0 where answers are no labels."""
    if on.bench.task.kind != "classification":
        return 0
    return len({label_of(example) for example in on.split.train})


def _vectors(examples: Sequence[Example], on: Climb) -> np.ndarray:
    from ..embeddings import embed_kept

    texts = [input_text(example.input) for example in examples]
    return np.asarray(embed_kept(texts, on.bench.workshop.artifacts))


def _size(point: Point) -> int:
    return point.measured.examples
