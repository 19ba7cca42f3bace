"""What one model is to learn in the fine-tune step, whichever way it is trained.

A tuned model needs no demonstrations, labels or schema in its prompt: it has seen the answers. So
the solver is the plain prompt cut to a few words, and what is saved on tokens is saved on every
request. How training is done is for `fine_tune_local.py` and `fine_tune_managed.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

from ..core import Example, Task, Workshop
from ..errors import NotApplicable
from ..functions.catalogue import load_catalogue
from ..solvers.calling import CallingSolver, training_pair
from ..solvers.prompt import PromptSolver, render, render_target
from ..trainers import Conversation
from .prompt_variants import plain_prompt
from .sampling import hold_out, spread_over_labels

__all__ = [
    "Bounds", "Lesson", "check_enough", "conversation", "conversations", "held_out_size",
    "make_lesson", "need_packages", "short_prompt", "telling",
]  # fmt: skip

_SHORT_WORDS = 12


@dataclass(frozen=True)
class Lesson:
    """A base model, the examples it learns from, and the short prompt it will be asked with.

    `solver` asks the base; the tuned model takes its place. `held_out` is a slice of train.
    """

    base: str
    solver: PromptSolver | CallingSolver
    train: tuple[Example, ...]
    held_out: tuple[Example, ...]


@dataclass(frozen=True)
class Bounds:
    """How much of train is used: a share held out, at least `least`, trained on at most `most`."""

    held_out: float
    least: int
    most: int | None


def check_enough(train: Sequence[Example], bounds: Bounds) -> None:
    """Raise NotApplicable where there is too little to learn from."""
    if len(train) < bounds.least:
        raise NotApplicable(
            f"{len(train)} train examples are too few to tune a model",
            hint=f"label at least {bounds.least}, better some hundreds",
        )


def make_lesson(
    base: str,
    solver: PromptSolver | CallingSolver,
    train: Sequence[Example],
    task: Task,
    bounds: Bounds,
) -> Lesson:
    """The lesson from train alone: what is held out of it, and what is trained on."""
    rest, held = hold_out(train, held_out_size(len(train), bounds.held_out), task.seed)
    if bounds.most is not None:
        rest = tuple(spread_over_labels(rest, task.seed)[: bounds.most])
    return Lesson(base, solver, rest, held)


def held_out_size(n: int, share: float) -> int:
    """Enough to see over-fitting, not so many that looking takes longer than training."""
    return min(128, max(8, round(share * n))) if share else 0


def short_prompt(task: Task, model: str, instructions: str | None) -> PromptSolver:
    """The plain prompt with nothing shown but a few words of instruction."""
    return replace(
        plain_prompt(task, model),
        instructions=_first_sentence(task.instructions) if instructions is None else instructions,
        show_labels=False,
        show_schema=False,
    )


def conversation(
    solver: PromptSolver | CallingSolver, example: Example, workshop: Workshop | None = None
) -> Conversation:
    """What the model will be given for this example, and what it should say.

    For a solver that calls functions their descriptions are read from the workshop.
    """
    if isinstance(solver, CallingSolver):
        assert workshop is not None
        catalogue = load_catalogue(workshop.artifacts, solver.artifact)
        return training_pair(solver, example.input, example.expected, catalogue)
    return render(solver, example.input), render_target(solver, example.expected)


def conversations(
    lesson: Lesson, workshop: Workshop | None = None
) -> tuple[tuple[Conversation, ...], tuple[Conversation, ...]]:
    """What is trained on and what is held out, as `conversation` gives them."""
    learned, held = (
        tuple(conversation(lesson.solver, example, workshop) for example in side)
        for side in (lesson.train, lesson.held_out)
    )
    return learned, held


def need_packages(what: str, *packages: str) -> None:
    """Raise NotApplicable where one of the packages that a local training needs is missing."""
    for package in packages:
        if find_spec(package) is None:
            raise NotApplicable(
                f"{what} needs the package {package!r}, which is not installed",
                hint="pip install 'stepladder[train]'",
            )


def telling(workshop: Workshop, stage: str) -> Workshop:
    """The workshop that tells of a training by its stage."""
    tell = workshop.tell
    return replace(workshop, tell=lambda event, told: tell(event, {**told, "stage": stage}))


def _first_sentence(text: str) -> str:
    """The first sentence of the instructions, at most a dozen words of it."""
    first = re.split(r"(?<=[.!?:])\s|\n", text.strip(), maxsplit=1)[0]
    words = first.split()
    return first if len(words) <= _SHORT_WORDS else " ".join(words[:_SHORT_WORDS])
