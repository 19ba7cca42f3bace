"""Share of answers that name the expected label."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

from ..core import Counts, Example, Json, Output
from .text import as_text, failed, fold, whole

__all__ = ["Accuracy", "known_labels", "label_of"]

WRAPPING = "\"'`*\u201c\u201d\u2018\u2019"


@dataclass(frozen=True)
class Accuracy:
    """Right or wrong by label.

    With `normalise`, labels are compared without case, surrounding white space, surrounding quotes
    (also typographic ones, backticks and asterisks) and a full stop at the end. Spaces, hyphens and
    underscores inside a label stay different. A failed answer is wrong.
    """

    normalise: bool = True
    name = "accuracy"
    scale: ClassVar[Literal["binary"]] = "binary"

    def score(self, example: Example, output: Output) -> Counts:
        if failed(output):
            return whole(0.0)
        if not self.normalise:
            return whole(as_text(output.value) == as_text(example.expected))
        return whole(label_of(output.value) == label_of(example.expected))


def label_of(value: Json) -> str:
    """The label that an answer names, in the form in which labels are compared."""
    text = fold(as_text(value))
    bare = text.strip(WRAPPING + " ").removesuffix(".").strip(WRAPPING + " ")
    return bare or text


@lru_cache(maxsize=8)
def known_labels(labels: tuple[str, ...]) -> frozenset[str]:
    """A set of labels in the form in which labels are compared."""
    return frozenset(map(label_of, labels))
