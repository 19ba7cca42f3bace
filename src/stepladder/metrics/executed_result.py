"""Share of answers whose calls, once run, gave the expected results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from ..core import Counts, Example, Json, Output
from ..errors import StepladderError, TaskError
from ..functions.calls import calls_in
from .call_values import Strings, equal_values, pair
from .text import check_choice, failed, whole

__all__ = ["ExecutedResult"]


@dataclass(frozen=True)
class ExecutedResult:
    """Right when the calls that were run gave the expected results: how they were made is free.

    The results are in the metadata field `results`, a list, and are looked for among the results
    of all calls that worked; with `only`, there may be no others. Numbers may differ by
    `tolerance`, a share of the larger. A failed answer is wrong, and so are calls that were only
    predicted: that nothing was done is no merit of theirs.
    """

    results: str = "results"
    only: bool = False
    tolerance: float = 1e-6
    strings: Strings = "exact"
    name = "executed_result"
    scale: ClassVar[Literal["binary"]] = "binary"

    def __post_init__(self) -> None:
        check_choice("strings", self.strings, ("exact", "case", "loose"))
        if not 0 <= self.tolerance < 1:
            raise StepladderError(
                f"metric option tolerance = {self.tolerance!r} is no share",
                hint="give a number from 0 to below 1",
            )

    def score(self, example: Example, output: Output) -> Counts:
        wanted = example.metadata.get(self.results)
        if not isinstance(wanted, list | tuple):
            raise TaskError(
                f"{example.source or example.id}: no list of expected results in {self.results!r}",
                hint="give the results of the right calls, or another name with 'results'",
            )
        if failed(output) or _only_predicted(output.value):
            return whole(0.0)
        had = _results(output.value)
        pairs = pair(
            wanted, had, lambda a, b: equal_values(a, b, self.strings, tolerance=self.tolerance)
        )
        return whole(len(pairs) == len(wanted) and (not self.only or len(had) == len(wanted)))


def _only_predicted(value: Json) -> bool:
    """Whether it lists calls of which nothing says what became of them."""
    record = isinstance(value, Mapping) and "calls" in value
    return not record and bool(calls_in(value))


def _results(value: Json) -> list[Json]:
    calls = value.get("calls") if isinstance(value, Mapping) else None
    return [
        call["result"]
        for call in calls or ()
        if isinstance(call, Mapping) and call.get("state") == "done"
    ]
