"""F1 per label, then the plain mean over labels: rare labels weigh as much as common ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from ..core import Counts, Example, Json, Output
from ..errors import StepladderError
from .accuracy import known_labels, label_of
from .text import failed

__all__ = ["MacroF1"]


@dataclass(frozen=True)
class MacroF1:
    """A stratum per label with 2·tp over 2·tp + fp + fn.

    Labels are compared as `Accuracy` compares them. An answer outside `labels` (by default the
    task's), or no answer, is a miss for the expected label and a false alarm for none, so it cannot
    add a label to the mean. A label that a set neither expects nor answers is not averaged.

    Where a list of labels is expected, each label of it counts by itself, and an answer that is one
    label is a list of one. No answer where none is expected is a false alarm shared by all labels,
    so that not answering is never free.
    """

    labels: tuple[str, ...] = ()
    name = "macro_f1"
    scale: ClassVar[Literal["ratio"]] = "ratio"

    def __post_init__(self) -> None:
        if not self.labels:
            raise StepladderError(
                "metric 'macro_f1' needs the set of labels",
                hint="list them under `labels` in task.toml",
            )

    def score(self, example: Example, output: Output) -> Counts:
        if isinstance(example.expected, list | tuple):
            return self._several(example.expected, output)
        expected = label_of(example.expected)
        if failed(output):
            return ((expected, 0.0, 1.0),)
        answered = label_of(output.value)
        if answered == expected:
            return ((expected, 2.0, 2.0),)
        if answered not in known_labels(self.labels):
            return ((expected, 0.0, 1.0),)
        return ((expected, 0.0, 1.0), (answered, 0.0, 1.0))

    def _several(self, labels: Sequence[Json], output: Output) -> Counts:
        known = known_labels(self.labels)
        expected = {label_of(one) for one in labels}
        if failed(output):
            missed = expected or known
            return tuple((one, 0.0, 1.0 if expected else 1 / len(known)) for one in sorted(missed))
        given = output.value if isinstance(output.value, list | tuple) else [output.value]
        answered = {label_of(one) for one in given} & (known | expected)
        if not expected | answered:
            return ((min(known), 0.0, 0.0),)  # rightly nothing: no evidence on any label
        return tuple(
            (one, 2.0, 2.0) if one in expected and one in answered else (one, 0.0, 1.0)
            for one in sorted(expected | answered)
        )
