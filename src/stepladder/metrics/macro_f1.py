"""F1 per label, then the plain mean over labels: rare labels weigh as much as common ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..core import Counts, Example, Output
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
        expected = label_of(example.expected)
        if failed(output):
            return ((expected, 0.0, 1.0),)
        answered = label_of(output.value)
        if answered == expected:
            return ((expected, 2.0, 2.0),)
        if answered not in known_labels(self.labels):
            return ((expected, 0.0, 1.0),)
        return ((expected, 0.0, 1.0), (answered, 0.0, 1.0))
