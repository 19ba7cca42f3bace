"""Bounds of whole numbers, as the engine's grammar gets them right.

The engine writes a range as a regular expression, and many of them wrong: 2000 to 2030 lets 2038
through, 34 to 71638 any number of digits. Which are right was found by drawing answers at random
(see docs/log.md): from below ten on, around zero, and between numbers that begin with another digit
and differ by two in length at most. Short ranges are written out, others are not to be used.
Schemas are walked through in `schemas.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor

from ...messages import Json

__all__ = ["BOUNDS", "with_whole_bounds"]

BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_MOST = 10**18 - 1  # beyond, the engine's own numbers end
_WRITTEN_OUT = 1_000
_FEW = 9  # from a number of one digit on, every range is right
_APART = 2  # digits


def with_whole_bounds(schema: Mapping[str, Json]) -> dict[str, Json]:
    """The schema of a whole number with bounds that the engine keeps to; up to 18 digits of it.

    Raises ValueError that says why there are none.
    """
    low, high = _within(schema)
    if low is not None and high is not None and low > high:
        raise ValueError("no number is within its bounds")
    rest = {name: value for name, value in schema.items() if name not in BOUNDS}
    if _is_right(low, high):
        ends = {"minimum": low, "maximum": high}
        return rest | {name: end for name, end in ends.items() if end is not None}
    if low is None or high is None or high - low >= _WRITTEN_OUT:
        raise ValueError(
            f"the range of whole numbers from {low} to {high} is not enforced; one that begins or "
            "ends between -9 and 9 is"
        )
    return _written_out(rest, low, high)


def _within(schema: Mapping[str, Json]) -> tuple[int | None, int | None]:
    """The ends of the range; None where there is none and none is needed."""
    lows = [ceil(schema["minimum"])] if "minimum" in schema else []
    lows += [floor(schema["exclusiveMinimum"]) + 1] if "exclusiveMinimum" in schema else []
    highs = [floor(schema["maximum"])] if "maximum" in schema else []
    highs += [ceil(schema["exclusiveMaximum"]) - 1] if "exclusiveMaximum" in schema else []
    low = max(*lows, -_MOST) if lows else None
    high = min(*highs, _MOST) if highs else None
    if high is None and low is not None and low <= _FEW:
        high = _MOST
    if low is None and high is not None and high >= -_FEW:
        low = -_MOST
    return low, high


def _is_right(low: int | None, high: int | None) -> bool:
    """Whether the engine is known to keep to these ends."""
    if high is None:
        return low is not None
    if low is None:
        return False
    if high < 0:
        low, high = -high, -low
    if low <= _FEW or low == high:
        return True
    first, last = str(low), str(high)
    apart = len(last) - len(first)
    return apart <= _APART and (apart > 0 or first[0] != last[0])


def _written_out(rest: dict[str, Json], low: int, high: int) -> dict[str, Json]:
    named: dict[str, Json] = {"enum": list(range(low, high + 1))}
    if rest.get("type") == "integer":
        return {name: value for name, value in rest.items() if name != "type"} | named
    others = [kind for kind in rest["type"] if kind != "integer"]
    return {"anyOf": [named, {**rest, "type": others}]} if others else named
