"""Share of answers whose calls are the expected ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..core import Counts, Example, Output
from ..functions.calls import calls_in
from .call_values import Strings, pair, wanted_calls
from .text import check_choice, failed, whole

__all__ = ["CallMatch"]


@dataclass(frozen=True)
class CallMatch:
    """Right when each expected call is made once, and no other; the order does not count.

    A call fits when its function is the expected one, every argument has an accepted value, none
    is missing and none is made up. Accepted values are in the metadata field `acceptable`, with ""
    for what may be left out; without it the expected call is the only right one. `strings` "loose"
    compares without case and `,./-_*^` and spaces, "case" without case, "exact" as written.
    `compare` "name" looks at functions only, "decision" only at whether there is a call at all.

    Where no call is expected, making none is right. A failed answer is wrong.
    """

    compare: Literal["call", "name", "decision"] = "call"
    strings: Strings = "loose"
    acceptable: str = "acceptable"
    name = "call_match"
    scale: ClassVar[Literal["binary"]] = "binary"

    def __post_init__(self) -> None:
        check_choice("compare", self.compare, ("call", "name", "decision"))
        check_choice("strings", self.strings, ("exact", "case", "loose"))

    def score(self, example: Example, output: Output) -> Counts:
        if failed(output):
            return whole(0.0)
        wanted, said = wanted_calls(example, self.acceptable), calls_in(output.value)
        if self.compare == "decision":
            return whole(bool(wanted) == bool(said))
        if self.compare == "name":
            return whole(sorted(w.name for w in wanted) == sorted(call["name"] for call in said))
        if len(wanted) != len(said):
            return whole(0.0)
        pairs = pair(
            wanted,
            said,
            lambda want, call: (
                want.name == call["name"] and want.fits(call["arguments"], self.strings)
            ),
        )
        return whole(len(pairs) == len(wanted))
