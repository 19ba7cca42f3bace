"""Numbers in words: how the report writes scores, times and money, the same everywhere.

Used by the terminal, the HTML page and the comparison. It never invents: None is "unknown".
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime

from ..core import Candidate, Gain, Ownership, Trial

__all__ = [
    "about",
    "count",
    "dollars",
    "duration",
    "finite",
    "interval",
    "key_of",
    "latency",
    "listing",
    "moment",
    "name_of",
    "one_line",
    "p_value",
    "percent",
    "points",
    "points_interval",
    "tokens",
    "who_of",
]

UNKNOWN = "unknown"
EN_DASH, MINUS = "\u2013", "\u2212"


def finite(value: float | None) -> float | None:
    """The number, or None where it is missing, NaN or infinite."""
    return None if value is None or not math.isfinite(value) else value


def percent(value: float | None, digits: int = 1) -> str:
    """0.8432 as '84.3%'."""
    number = finite(value)
    return UNKNOWN if number is None else f"{100 * number:.{digits}f}%"


def interval(low: float | None, high: float | None, digits: int = 1) -> str:
    """The bounds 0.81 and 0.869 as '81.0 to 86.9%', with an en dash for the 'to'."""
    least, most = finite(low), finite(high)
    if least is None or most is None:
        return UNKNOWN
    return f"{100 * least:.{digits}f}{EN_DASH}{100 * most:.{digits}f}%"


def points(value: float | None) -> str:
    """A difference of two scores, 0.0321 as '+3.2'; a true minus for what is worse."""
    number = finite(value)
    if number is None:
        return UNKNOWN
    text = f"{100 * number:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", MINUS)


def points_interval(gain: Gain) -> str:
    """The interval of a gain, as '+0.4 to +6.0'."""
    return f"{points(gain.low)} to {points(gain.high)}"


def p_value(value: float | None) -> str:
    """'p = 0.013', 'p < 0.001', or nothing where no test was made."""
    number = finite(value)
    if number is None:
        return ""
    return "p < 0.001" if number < 0.001 else f"p = {number:.3f}"


def duration(seconds: float | None) -> str:
    """A stretch of time in its natural unit: '12 ms', '1.2 s', '3 min 20 s', '2 h 5 min'."""
    value = finite(seconds)
    if value is None:
        return UNKNOWN
    if value <= 0:
        return "0 s"
    if value < 0.0995:
        return f"{1000 * value:.2g} ms"
    if value < 59.95:
        return f"{value:.2g} s" if value < 9.95 else f"{value:.0f} s"
    whole = round(value)
    if whole < 3600:
        return _two(whole, 60, "min", "s")
    if whole < 86_400:
        return _two(round(whole / 60), 60, "h", "min")
    return _two(round(whole / 3600), 24, "d", "h")


def latency(p50: float | None, p95: float | None) -> str:
    """Median and 95th percentile, as '0.41 / 1.2 s' or '400 ms / 1.2 s'."""
    if finite(p50) is None and finite(p95) is None:
        return UNKNOWN
    first, second = duration(p50), duration(p95)
    alike = first.split()[1:] == second.split()[1:]
    if alike and len(first.split()) == 2:  # '0.41 s' beside '1.2 s'
        first = first.split()[0]
    return f"{first} / {second}"


def dollars(value: float | None) -> str:
    """Money with two digits that matter below a dollar: '$0.0042', '$12.30', '$1,234'."""
    number = finite(value)
    if number is None:
        return UNKNOWN
    sign, size = (MINUS if number < 0 else ""), abs(number)
    if size == 0:
        return "$0"
    if size < 1e-6:
        return f"<{sign}$0.000001"
    if size >= 100:
        return f"{sign}${size:,.0f}"
    if size >= 0.095:
        return f"{sign}${size:.2f}"
    decimals = min(12, 1 - math.floor(math.log10(size)))
    return f"{sign}${size:.{decimals}f}"


def count(value: float | None) -> str:
    """A whole number with thousands marked: '12,345'."""
    number = finite(value)
    return UNKNOWN if number is None else f"{number:,.0f}"


def about(value: float | None) -> str:
    """A computed number to the two digits that matter: 858,931 as '860,000'."""
    number = finite(value)
    return UNKNOWN if number is None else count(float(f"{number:.2g}"))


def tokens(value: float | None) -> str:
    """Tokens per request: whole where there are many, one decimal below ten."""
    number = finite(value)
    if number is not None and 0 < number < 10 and number != round(number):
        return f"{number:.1f}"
    return count(number)


def listing(items: Iterable[str], limit: int = 6) -> str:
    """'a, b and 3 more'."""
    every = list(items)
    if len(every) <= limit:
        return ", ".join(every)
    return f"{', '.join(every[:limit])} and {len(every) - limit:,} more"


def moment(value: object) -> str:
    """A time as people write it, '21 November 2026, 09:28 UTC'; other text as it is."""
    when: datetime | None = value if isinstance(value, datetime) else None
    if isinstance(value, int | float):
        when = datetime.fromtimestamp(value, UTC)
    if isinstance(value, str):
        try:
            when = datetime.fromisoformat(value)
        except ValueError:
            return value
    if when is None:
        return ""
    zone = when.tzname() or ""
    return f"{when.day} {when:%B %Y, %H:%M} {zone}".rstrip()


def one_line(text: str, limit: int = 200) -> str:
    """Text as one visible line: control and direction marks escaped, too long cut with '…'."""
    flat = " ".join(text.split())[: limit + 1]
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in flat)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def name_of(candidate: Candidate) -> str:
    """A candidate's full name, 'few_shot / nearest-8'; just the step where they are equal."""
    return who_of(candidate.step, candidate.name)


def who_of(step: str, name: str) -> str:
    """A step and a candidate's name as people read them."""
    return one_line(step if name in ("", step) else f"{step} / {name}", 80)


def key_of(thing: Trial | Ownership) -> tuple[str, str]:
    """What tells a candidate apart from all others of a run."""
    if isinstance(thing, Trial):
        return thing.candidate.step, thing.candidate.name
    return thing.step, thing.name


def _two(value: int, base: int, big: str, small: str) -> str:
    whole, rest = divmod(value, base)
    return f"{whole} {big} {rest} {small}" if rest else f"{whole} {big}"
