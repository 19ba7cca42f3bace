"""F1 over the arguments of calls, pooled over all examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from ..core import Counts, Example, Json, Output
from ..functions.calls import calls_in
from .call_values import LEFT_OUT, Strings, Wanted, wanted_calls
from .text import check_choice, failed

__all__ = ["ArgumentF1"]


@dataclass(frozen=True)
class ArgumentF1:
    """2·hits over expected plus given arguments, summed over the set.

    Calls of one function are paired so that the hits are the most. An argument that may be left
    out is not missed, and is a hit where it is given rightly. The options are those of
    `call_match`.

    A failed answer misses every expected argument. A call that is one too many, or missing, counts
    at least as one false or missed argument, so that neither is free where there are no arguments;
    a right "no call" adds 0 over 0, which is no weight.
    """

    strings: Strings = "loose"
    acceptable: str = "acceptable"
    name = "argument_f1"
    scale: ClassVar[Literal["ratio"]] = "ratio"

    def __post_init__(self) -> None:
        check_choice("strings", self.strings, ("exact", "case", "loose"))

    def score(self, example: Example, output: Output) -> Counts:
        wanted = wanted_calls(example, self.acceptable)
        said = [] if failed(output) else calls_in(output.value)
        if failed(output):
            return (("all", 0.0, sum(map(_missed, wanted)) or 1.0),)
        pairs = _paired(wanted, said, self.strings)
        hits, total = 0.0, 0.0
        for want, call in pairs:
            one = self._hits(want, call["arguments"])
            hits += 2 * one
            total += _needed(want, call["arguments"]) + len(call["arguments"])
        paired_wanted = [id(want) for want, _ in pairs]
        paired_said = [id(call) for _, call in pairs]
        total += sum(_missed(want) for want in wanted if id(want) not in paired_wanted)
        total += sum(max(1, len(c["arguments"])) for c in said if id(c) not in paired_said)
        return (("all", hits, total),)

    def _hits(self, want: Wanted, arguments: Mapping[str, Json]) -> int:
        return sum(want.argument_fits(name, arguments, self.strings) for name in arguments)


def _needed(want: Wanted, arguments: Mapping[str, Json]) -> int:
    """How many arguments are expected, with those that could be left out and were not."""
    return sum(
        name in arguments or LEFT_OUT not in values for name, values in want.arguments.items()
    )


def _missed(want: Wanted) -> float:
    return float(max(1, _needed(want, {})))


def _paired(
    wanted: Sequence[Wanted], said: Sequence[dict[str, Json]], strings: Strings
) -> list[tuple[Wanted, dict[str, Json]]]:
    """Calls of the same function, so that the sum of hits is the most."""
    if not wanted or not said:
        return []
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    worth = np.zeros((len(wanted), len(said)))
    for row, want in enumerate(wanted):
        for column, call in enumerate(said):
            if want.name == call["name"]:
                given = call["arguments"]
                hits = sum(want.argument_fits(name, given, strings) for name in given)
                worth[row, column] = 1 + hits
    rows, columns = linear_sum_assignment(worth, maximize=True)
    return [
        (wanted[row], said[column])
        for row, column in zip(rows, columns, strict=True)
        if worth[row, column] > 0
    ]
