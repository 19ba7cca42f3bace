"""How many demonstrations pay for their tokens. Pure: given measurements, it picks one.

With a price and a value of a success, a larger k must earn more than it costs: its paired gain over
the k kept so far, less one standard error, times the value, against the extra dollars per request.
Without either, the one-standard-error rule (Breiman et al., 1984): the smallest k whose score is
within one standard error of the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core import Counts
from ..stats import aggregate
from .measure import paired_gain

__all__ = ["Measured", "choose_k"]


@dataclass(frozen=True)
class Measured:
    """One k on the held-out slice; dollars are per request, None when unknown."""

    k: int
    counts: tuple[Counts, ...]
    tokens_per_request: float
    dollars_per_request: float | None = None


def choose_k(
    measured: Sequence[Measured], dollars_per_success: float | None
) -> tuple[Measured, str]:
    """The k that is worth its tokens, and why in words."""
    ladder = sorted(measured, key=lambda one: one.k)
    if dollars_per_success is not None and all(
        one.dollars_per_request is not None for one in ladder
    ):
        return _by_value(ladder, dollars_per_success)
    return _by_one_standard_error(ladder)


def _by_value(ladder: Sequence[Measured], value: float) -> tuple[Measured, str]:
    kept = ladder[0]
    why = f"a larger k did not earn its tokens at ${value:g} a success"
    for larger in ladder[1:]:
        gain, error = paired_gain(larger.counts, kept.counts)
        extra = (larger.dollars_per_request or 0.0) - (kept.dollars_per_request or 0.0)
        if (gain - error) * value > extra:
            why = (
                f"k={larger.k} gains {gain:+.1%} (standard error {error:.1%}) over k={kept.k} "
                f"for ${extra * 1000:.4f} more per 1,000 requests, at ${value:g} a success"
            )
            kept = larger
    return kept, why


def _by_one_standard_error(ladder: Sequence[Measured]) -> tuple[Measured, str]:
    best = max(ladder, key=lambda one: (aggregate(one.counts), -one.k))
    for one in ladder:
        gain, error = paired_gain(best.counts, one.counts)
        if one is best or gain <= error + 1e-9:  # a single pair that differs gains its error
            break
    if one is ladder[0] and one is best:
        return best, "no larger k scored higher"
    if one is best:
        return best, "no smaller k is within one standard error of it"
    saved = best.tokens_per_request - one.tokens_per_request
    return one, (
        f"the smallest k within one standard error ({error:.1%}) of the best, k={best.k}, "
        f"which gains {gain:+.1%} for {saved:.0f} more tokens per request"
    )
