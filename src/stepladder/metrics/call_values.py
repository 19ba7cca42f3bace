"""How the call metrics compare: one call's arguments with the values that are accepted for them.

Acceptable values are a list per argument; "" in the list says that the argument may be left out.
Decides nothing about scores.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..core import Example, Json
from ..errors import TaskError
from ..functions.calls import calls_in

__all__ = ["Strings", "Wanted", "equal_values", "pair", "wanted_calls"]

Strings = Literal["exact", "case", "loose"]
LEFT_OUT = ""
_LOOSE = re.compile(r"[ ,./\-_*^]")


@dataclass(frozen=True)
class Wanted:
    """A call that is expected: per argument the values that are accepted."""

    name: str
    arguments: Mapping[str, Sequence[Json]]

    def fits(self, arguments: Mapping[str, Json], strings: Strings) -> bool:
        """Whether these arguments are all accepted and none is missing or one too many."""
        return all(self.argument_fits(name, arguments, strings) for name in arguments) and all(
            name in arguments or LEFT_OUT in values for name, values in self.arguments.items()
        )

    def argument_fits(self, name: str, arguments: Mapping[str, Json], strings: Strings) -> bool:
        """Whether the value that is given for an argument is accepted."""
        given = arguments[name]
        accepted = self.arguments.get(name, ())
        return any(_accepted(one, given, strings) for one in accepted)


def wanted_calls(example: Example, acceptable: str) -> list[Wanted]:
    """The calls that an example expects: of its metadata field `acceptable`, else as it says them.

    The field is a list of objects, each with a function's name and its arguments' accepted values.

    Raises:
        TaskError: the field has another form.
    """
    told = example.metadata.get(acceptable)
    if told is None:
        return [
            Wanted(call["name"], {name: (value,) for name, value in call["arguments"].items()})
            for call in calls_in(example.expected)
        ]
    try:
        return [Wanted(*one) for one in (_only(each) for each in told)]
    except (TypeError, ValueError, AttributeError) as error:
        raise TaskError(
            f"{example.source or example.id}: {acceptable!r} does not list acceptable calls",
            hint='write [{"function": {"argument": [value, other value, ""]}}]',
        ) from error


def pair(
    ones: Sequence[Any], others: Sequence[Any], fits: Callable[[Any, Any], bool]
) -> dict[int, int]:
    """As many pairs that fit as there can be, by position: each belongs to one pair at most."""
    taken: dict[int, int] = {}  # of the others: who has it

    def find(one: int, seen: set[int]) -> bool:
        for other in range(len(others)):
            if other not in seen and fits(ones[one], others[other]):
                seen.add(other)
                if other not in taken or find(taken[other], seen):
                    taken[other] = one
                    return True
        return False

    for one in range(len(ones)):
        find(one, set())
    return {one: other for other, one in taken.items()}


def equal_values(one: Json, other: Json, strings: Strings, *, tolerance: float = 0.0) -> bool:
    """Whether two JSON values say the same: 1 is 1.0 and not true, keys have no order."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other or abs(one - other) <= tolerance * max(abs(one), abs(other))
    if isinstance(one, str) and isinstance(other, str):
        return _plain(one, strings) == _plain(other, strings)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(
            equal_values(one[key], other[key], strings, tolerance=tolerance) for key in one
        )
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(
            equal_values(a, b, strings, tolerance=tolerance)
            for a, b in zip(one, other, strict=True)
        )
    return one is None and other is None


def _accepted(accepted: Json, given: Json, strings: Strings) -> bool:
    """An object's own fields may list their accepted values in turn, as the leaderboard does."""
    if equal_values(accepted, given, strings):
        return True
    if isinstance(accepted, Mapping) and isinstance(given, Mapping):
        lists = accepted.values()
        if all(isinstance(values, list | tuple) for values in lists):
            return Wanted("", accepted).fits(given, strings)
    if isinstance(accepted, list | tuple) and isinstance(given, list | tuple):
        same = len(accepted) == len(given) and any(isinstance(one, Mapping) for one in accepted)
        return same and all(_accepted(a, b, strings) for a, b in zip(accepted, given, strict=True))
    return False


def _plain(text: str, strings: Strings) -> str:
    if strings == "exact":
        return text
    if strings == "case":
        return " ".join(text.casefold().split())
    return _LOOSE.sub("", text).lower().replace("'", '"')


def _only(each: Mapping[str, Mapping[str, Sequence[Json]]]) -> tuple[str, dict[str, Json]]:
    """The one function of an entry, with its lists of values checked."""
    ((name, arguments),) = each.items()
    if not all(isinstance(values, list | tuple) for values in arguments.values()):
        raise ValueError(name)
    return name, dict(arguments)
