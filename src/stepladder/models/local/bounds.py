"""Bounds of whole numbers, as the engine's grammar gets them right.

The engine writes a range as a regular expression, and many of them wrong: 2000 to 2030 lets 2038
through, 34 to 71638 any number of digits. Which are right was found by drawing answers at random
(see docs/log.md). Any other range is cut into such ones; as alternatives beside each other they are
made one again, and wrong, so each has to be a definition that is referred to. Schemas are walked
through in `schemas.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor

from ...messages import Json

__all__ = ["BOUNDS", "whole_ranges"]

Range = tuple[int | None, int | None]  # both ends belong to it; None: there is none

BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_MOST = 10**18 - 1  # beyond, the engine's own numbers end
_FEW = 9  # numbers of one digit
_MOST_RANGES = 128  # what they compile to takes about a second


def whole_ranges(schema: Mapping[str, Json]) -> list[Range]:
    """What the bounds of a whole number allow, as ranges that the engine keeps to, in order.

    They are the whole and nothing else, but for two cases: of numbers of more than 18 digits there
    are none, and a range of more than about 12,000 numbers that begin with the same digit is
    widened to all of that length which begin with it.

    Raises ValueError that says so where no number is within the bounds.
    """
    low, high = _within(schema)
    if low is not None and high is not None and low > high:
        raise ValueError("no number is within its bounds")
    if low is None or high is None:
        return [(low, high)]
    below = _right(max(1, -high), -low) if low < 0 else []
    above = _right(max(0, low), high) if high >= 0 else []
    if len(below) == len(above) == 1:
        return [(low, high)]  # the engine looks at both sides of zero by themselves
    return [*((-b, -a) for a, b in reversed(below)), *above]


def _within(schema: Mapping[str, Json]) -> Range:
    """The ends of the range; None where there is none and none is needed."""
    lows = [ceil(schema["minimum"])] if "minimum" in schema else []
    lows += [floor(schema["exclusiveMinimum"]) + 1] if "exclusiveMinimum" in schema else []
    highs = [floor(schema["maximum"])] if "maximum" in schema else []
    highs += [ceil(schema["exclusiveMaximum"]) - 1] if "exclusiveMaximum" in schema else []
    low = max(*lows, -_MOST) if lows else None
    high = min(*highs, _MOST) if highs else None
    if high is None and low is not None and low <= _FEW:
        high = _MOST
    if low is None and high is not None:
        low = -_MOST
    return low, high


def _right(low: int, high: int) -> list[tuple[int, int]]:
    """Ranges from zero on that are right and are `low` to `high` together."""
    first, last = len(str(low)), len(str(high))
    if first == last:
        return _of_one_length(low, high)
    longest = 10 ** (last - 1)
    is_whole = low <= _FEW or low == 10 ** (first - 1)
    head = [] if is_whole else _of_one_length(low, 10**first - 1)
    begin = low if is_whole else 10**first
    tail = _of_one_length(longest, high)
    if len(tail) == 1:
        return [*head, (begin, tail[0][1])]
    middle = [(begin, longest - 1)] if begin < longest else []
    return [*head, *middle, *tail]


def _of_one_length(low: int, high: int) -> list[tuple[int, int]]:
    """As `_right`, of numbers with as many digits.

    The engine is right where the first digits differ. With the same one it is where only the last
    digit differs, or the last two and these are whole tens; and, where more than two differ, from
    100...0 on, up to 999...9, and of all that begin with that digit.
    """
    unit = 10 ** (len(str(low)) - 1)
    same = low // unit * unit, low // unit * unit + unit - 1  # all with that first digit
    hundreds = range(low // 100, high // 100 + 1)
    if low // unit != high // unit or (low, high) == same:
        return [(low, high)]
    if len(hundreds) > 1 and (low == unit or high == 10 * unit - 1):
        return [(low, high)]
    if len(hundreds) + 4 > _MOST_RANGES:
        return [same]
    cut = [(max(low, one * 100), min(high, one * 100 + 99)) for one in hundreds]
    return [piece for a, b in cut for piece in _of_one_hundred(a, b)]


def _of_one_hundred(low: int, high: int) -> list[tuple[int, int]]:
    """As `_right`, of numbers that differ in their last two digits: what is no whole ten apart."""
    if low // 10 == high // 10:
        return [(low, high)]
    first, last = -(-low // 10) * 10, (high + 1) // 10 * 10 - 1  # of the whole tens
    pieces = [(low, first - 1), (first, last), (last + 1, high)]
    return [(a, b) for a, b in pieces if a <= b]
