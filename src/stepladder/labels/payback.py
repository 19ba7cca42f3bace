"""What N more labels bring, cost and pay back. Pure; what is not known stays unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core import Economics
from .curve import Curve, Guess

__all__ = ["Payback", "labels_for", "payback"]

MOST_LABELS = 1_000_000


@dataclass(frozen=True)
class Payback:
    """N more labels: the score then (low, high at `alpha`), the gain, dollars and months.

    `months` is (least, middle, most): infinite where the gain may be nothing. None is unknown.
    """

    labels: int
    then: Guess
    gain: tuple[float, float, float]
    dollars: float | None
    dollars_per_month: tuple[float, float, float] | None
    months: tuple[float, float, float] | None


def payback(
    curve: Curve, now: int, labels: int, economics: Economics, *, alpha: float = 0.1
) -> Payback:
    """What `labels` more than `now` would bring, at the task's own prices.

    A gain of one point turns so many of a month's requests from wrong into right: each is worth
    `dollars_per_success`, and saves `dollars_per_error` where that is given. Whoever gives neither
    learns the gain and the price, and no months.
    """
    gain = curve.gain(now, now + labels)
    ends = [alpha / 2, 0.5, 1 - alpha / 2]
    worth = _worth(economics)
    price = economics.dollars_per_label
    dollars = None if price is None else labels * price
    per_month = None if worth is None else _three(gain * worth, ends)
    months = None
    if per_month is not None and dollars is not None:
        months = tuple(dollars / one if one > 0 else float("inf") for one in reversed(per_month))
    return Payback(
        labels,
        curve.at(now + labels, alpha),
        _three(gain, ends),
        dollars,
        per_month,
        months,  # type: ignore[arg-type]
    )


def labels_for(curve: Curve, now: int, target: float) -> tuple[int | None, int | None]:
    """(likely enough, safely enough) more labels for the middle and the low end to reach `target`.

    None where a million would not do. The second is at a tenth of both ends together.
    """
    found: list[int | None] = []
    for end in ("score", "low"):
        reach = next(
            (more for more in _steps() if getattr(curve.at(now + more), end) >= target), None
        )
        found.append(reach)
    return found[0], found[1]


def _worth(economics: Economics) -> float | None:
    """Dollars a month that a score of 1 is worth over one of 0; None where that has no price."""
    prices = [economics.dollars_per_success, economics.dollars_per_error]
    if economics.requests_per_month is None or prices == [None, None]:
        return None
    return economics.requests_per_month * sum(one for one in prices if one is not None)


def _three(
    values: Sequence[float] | np.ndarray, ends: Sequence[float]
) -> tuple[float, float, float]:
    low, middle, high = np.quantile(np.asarray(values), ends)
    return float(low), float(middle), float(high)


def _steps() -> list[int]:
    """Counts of labels to look at: 0, then about a tenth more each time."""
    return [0, *sorted({round(10 * 1.1**k) for k in range(122)} - {0})]
