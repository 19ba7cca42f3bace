"""Learning curves that services report, cut to what is worth keeping."""

from __future__ import annotations

from collections.abc import Sequence

from ..core import LearningPoint

__all__ = ["MOST_POINTS", "thinned"]

MOST_POINTS = 60  # of a curve that is kept


def thinned(curve: Sequence[LearningPoint]) -> tuple[LearningPoint, ...]:
    """The points with a held-out loss, the first and the last, and every so many of the rest."""
    every = -(-len(curve) // MOST_POINTS) or 1
    return tuple(
        point
        for place, point in enumerate(curve)
        if place % every == 0 or place == len(curve) - 1 or point.held_out_loss is not None
    )
