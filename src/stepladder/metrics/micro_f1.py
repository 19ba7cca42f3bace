"""F1 over extracted items, pooled over all examples."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from ..core import Counts, Example, Output
from ..errors import StepladderError
from .items import Item, Itemise
from .text import Fold, check_choice, failed, overlap

__all__ = ["MicroF1"]


@dataclass(frozen=True)
class MicroF1:
    """2·tp over expected plus answered items, summed over the set.

    `match` "exact" wants the same text in the same place, repeated items as often as they occur.
    "partial" pairs the items of a place one to one so that the shared words (F1 of words) are the
    most, and each pair counts by that share. The other options say what an item is: see `Itemise`.

    A failed answer misses every expected item. Where nothing is expected it counts as one false
    item, so that not answering is never free; a right "nothing" adds 0 over 0, which is no weight.
    """

    match: Literal["exact", "partial"] = "exact"
    list: str | None = None
    type_key: str | None = None
    ignore: tuple[str, ...] = ()
    unit: Literal["value", "record"] = "value"
    normalise: Fold = "case"
    name = "micro_f1"
    scale: ClassVar[Literal["ratio"]] = "ratio"

    def __post_init__(self) -> None:
        check_choice("match", self.match, ("exact", "partial"))
        check_choice("unit", self.unit, ("value", "record"))
        check_choice("normalise", self.normalise, ("none", "case", "words"))
        if self.match == "partial" and self.unit == "record":
            raise StepladderError(
                "metric 'micro_f1' has no partial match of whole records",
                hint='use unit = "value" with match = "partial", or match = "exact"',
            )

    @property
    def itemise(self) -> Itemise:
        """How this metric reads an answer."""
        return Itemise(self.list, self.type_key, self.ignore, self.unit, self.normalise)

    def score(self, example: Example, output: Output) -> Counts:
        expected = self.itemise.items(example.expected)
        if failed(output):
            return (("all", 0.0, float(len(expected) or 1)),)
        answered = self.itemise.items(output.value)
        matched = shared if self.match == "exact" else shared_in_part
        return (("all", 2 * matched(expected, answered), float(len(expected) + len(answered))),)


def shared(expected: Iterable[Item], answered: Iterable[Item]) -> float:
    """How many items both have, counting repeats."""
    return float(sum((Counter(expected) & Counter(answered)).values()))


def shared_in_part(expected: Iterable[Item], answered: Iterable[Item]) -> float:
    """The most credit that a one-to-one pairing within each place can give."""
    wanted, said = _by_place(expected), _by_place(answered)
    return sum(_best_pairing(wanted[place], said[place]) for place in wanted if place in said)


def _by_place(items: Iterable[Item]) -> Mapping[str, Sequence[str]]:
    places: dict[str, list[str]] = defaultdict(list)
    for place, text in items:
        places[place].append(text)
    return places


def _best_pairing(expected: Sequence[str], answered: Sequence[str]) -> float:
    credit = [[overlap(one, other) for other in answered] for one in expected]
    if len(expected) == 1:
        return max(credit[0])
    if len(answered) == 1:
        return max(row[0] for row in credit)
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    table = np.asarray(credit)
    return float(table[linear_sum_assignment(table, maximize=True)].sum())
