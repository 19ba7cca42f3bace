"""Train's expected answers as labels: one for each example, or several. Fits nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import Example, Json, Task
from ..errors import NotApplicable
from ..metrics.text import as_text

__all__ = ["Labelled", "of_task", "read_labels"]

MOST_FREE = 500  # different values up to which lists are read as labels where the task names none


@dataclass(frozen=True)
class Labelled:
    """The labels that train shows, in a fixed order, and which of them each example has.

    `truth` is float64, shape (examples, labels). With `several`, an answer is a list of labels.
    """

    labels: tuple[str, ...]
    truth: Any
    several: bool

    @property
    def places(self) -> list[list[int]]:
        """Where in `labels` those of each example stand."""
        return [np.flatnonzero(row).tolist() for row in self.truth]

    def rows(self, places: Sequence[int]) -> Any:
        """The truth of some examples."""
        return self.truth[list(places)]


def of_task(task: Task) -> bool:
    """Whether answers to this task may be labels, as far as the task itself tells."""
    return task.kind == "classification" or (task.kind == "extraction" and bool(task.labels))


def read_labels(task: Task, train: Sequence[Example]) -> Labelled:
    """What train expects, as labels.

    Raises:
        NotApplicable: answers are no labels, or train has fewer than two of them.
    """
    if not of_task(task) or not train:
        raise NotApplicable(f"a task of kind {task.kind!r} has no labels to learn")
    several = all(_is_list_of_labels(example.expected) for example in train)
    if not several and not all(isinstance(e.expected, str | int | float) for e in train):
        raise NotApplicable(
            "some expected answers are neither a label nor a list of labels",
            hint="a classifier learns labels; leave this step out for answers of other forms",
        )
    given = [_labels(example.expected) for example in train]
    labels = tuple(sorted({label for one in given for label in one}))
    if task.kind == "extraction" and not set(labels) <= {*task.labels}:
        raise NotApplicable("expected answers hold more than the task's labels")
    if len(labels) < 2:
        raise NotApplicable("a classifier needs at least two labels in train")
    if len(labels) > MOST_FREE and not task.labels:
        raise NotApplicable(f"{len(labels)} different answers are no labels")
    place = {label: at for at, label in enumerate(labels)}
    truth = np.zeros((len(train), len(labels)))
    for row, one in enumerate(given):
        truth[row, [place[label] for label in one]] = 1
    return Labelled(labels, truth, several)


def _labels(expected: Json) -> list[str]:
    values = expected if isinstance(expected, list | tuple) else [expected]
    return [as_text(value) for value in values]


def _is_list_of_labels(expected: Json) -> bool:
    return isinstance(expected, list | tuple) and all(isinstance(one, str) for one in expected)
