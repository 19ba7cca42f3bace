"""Says the same to everyone: the answer seen most often in train. The floor below all floors."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..core import Example, Input, Json, Output, Workshop
from .timed import timed

__all__ = ["MajoritySolver", "fit_majority"]


@dataclass(frozen=True)
class MajoritySolver:
    """Answers `value`, which `share` of the train examples expect."""

    value: Json
    share: float
    kind: str = field(default="majority", init=False)

    def answer(self, inputs: Sequence[Input], workshop: Workshop) -> Iterator[tuple[int, Output]]:
        """The one value for each input."""
        text = self.value if isinstance(self.value, str) else json.dumps(self.value)
        output = Output(self.value, text, confidence=self.share)
        yield from timed(self.kind, inputs, lambda batch: [output] * len(batch))


def fit_majority(train: Sequence[Example]) -> MajoritySolver:
    """The most frequent expected answer; of equals the one that comes first in train."""
    keys = [json.dumps(example.expected, sort_keys=True) for example in train]
    most, times = Counter(keys).most_common(1)[0]
    return MajoritySolver(train[keys.index(most)].expected, times / len(train))
