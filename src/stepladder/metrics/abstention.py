"""How well a solver knows what its documents do not say: F1 of saying so, or its two sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..core import Counts, Example, Json, Output, Task
from ..solvers.citing import ABSENT
from .text import check_choice, failed, words

__all__ = ["Abstention", "absent_of", "is_absent"]

Side = Literal["f1", "precision", "recall"]


@dataclass(frozen=True)
class Abstention:
    """F1 of the answer `absent`, over the set: "not in the documents" where that is expected.

    `of` "precision" is the share of these answers that are right, so that one less is refused
    though the documents say it; "recall" is the share that is made of those that should be, so that
    one less is answered though they do not. Case and punctuation do not count. Any other answer to
    any other question has no weight; a failed one counts as wrong.
    """

    of: Side = "f1"
    absent: str = ABSENT
    scale: ClassVar[Literal["ratio"]] = "ratio"

    def __post_init__(self) -> None:
        check_choice("of", self.of, ("f1", "precision", "recall"))

    @property
    def name(self) -> str:
        return "abstention" if self.of == "f1" else f"abstention_{self.of}"

    def score(self, example: Example, output: Output) -> Counts:
        if failed(output):
            return (("all", 0.0, 1.0),)
        wanted = is_absent(example.expected, self.absent)
        said = is_absent(output.value, self.absent)
        right = float(wanted and said)
        if self.of == "precision":
            return (("all", right, float(said)),)
        if self.of == "recall":
            return (("all", right, float(wanted)),)
        return (("all", 2 * right, float(wanted) + float(said)),)


def is_absent(value: Json, absent: str = ABSENT) -> bool:
    """Whether a value is the text that says that the documents do not answer, or accepts it."""
    if isinstance(value, list | tuple):
        return any(is_absent(each, absent) for each in value)
    return isinstance(value, str) and words(value) == words(absent)


def absent_of(task: Task) -> str:
    """The text by which solvers of this task say that the documents do not answer."""
    said = task.steps.get("retrieval", {}).get("absent", ABSENT)
    return said if isinstance(said, str) else ABSENT
