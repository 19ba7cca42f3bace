"""A split as the checks see it: every example with its set and its words, worked out once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ..core import Example, Message, Split, Task
from .near import near_pairs
from .split import SETS, input_text, normal

__all__ = ["CountTokens", "Judged", "place"]

CountTokens = Callable[[Sequence[Message]], int]


@dataclass
class Judged:
    """The examples of all sets in one list, with what several checks need of them."""

    task: Task
    split: Split
    count_tokens: CountTokens | None = None
    context_limit: int | None = None
    examples: list[Example] = field(init=False)
    sets: list[str] = field(init=False)  # of each example

    def __post_init__(self) -> None:
        self.examples = [e for name in SETS for e in getattr(self.split, name)]
        self.sets = [name for name in SETS for _ in getattr(self.split, name)]

    @cached_property
    def same(self) -> dict[str, list[int]]:
        """Indices of the examples by their input, case and spacing put aside."""
        found: dict[str, list[int]] = defaultdict(list)
        for index, example in enumerate(self.examples):
            found[normal(input_text(example.input))].append(index)
        return dict(found)

    @cached_property
    def near(self) -> list[tuple[int, int, float]]:
        """Pairs of examples whose inputs are nearly, and not wholly, the same."""
        texts = list(self.same)
        firsts = [indices[0] for indices in self.same.values()]
        return [(firsts[i], firsts[j], s) for i, j, s in near_pairs(texts)]

    def numbered(self) -> Iterator[tuple[Example, str]]:
        """Each example with the name of its set."""
        return zip(self.examples, self.sets, strict=True)


def place(example: Example) -> str:
    """Where an example came from, for people."""
    return example.source or example.id
