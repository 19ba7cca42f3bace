"""Subsets of train that lie in each other, so that a learning curve moves by data alone. Pure."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from ..core import Example
from ..errors import NotApplicable
from ..steps.sampling import spread_over_labels

__all__ = ["LEAST", "nested_subsets", "sizes_up_to"]

LEAST = 16  # examples; below, what is learned is mostly chance


def sizes_up_to(n: int, count: int, *, least: int = LEAST) -> list[int]:
    """About `count` sizes, each the same factor larger than the one before, the last one `n`.

    Raises:
        NotApplicable: there are not four different sizes between `least` and `n`.
    """
    least = min(n, least, max(LEAST, n // 8))  # a curve over less than three doublings says little
    steps = max(count - 1, 1)
    found = sorted({round(least * (n / least) ** (k / steps)) for k in range(count)} | {n})
    if len(found) < 4:
        raise NotApplicable(
            f"{n} train examples are too few for a learning curve",
            hint=f"label more: {LEAST * 8} make a beginning",
        )
    return found


def nested_subsets(
    train: Sequence[Example], sizes: Sequence[int], seed: int, *, by_label: bool
) -> list[tuple[Example, ...]]:
    """A subset of about each size, every one inside the next; no group is torn apart.

    `by_label` keeps the labels as even as they can be. The largest size takes all of train where it
    is that many.
    """
    ordered = _in_groups(train, seed, by_label=by_label)
    found = []
    for size in sizes:
        whole: list[Example] = []
        for group in ordered:
            if len(whole) >= size:
                break
            whole += group
        found.append(tuple(whole))
    return found


def _in_groups(train: Sequence[Example], seed: int, *, by_label: bool) -> list[list[Example]]:
    """Train in a seeded order, the members of a group together."""
    if by_label:
        order = spread_over_labels(train, seed)
    else:
        order = list(train)
        random.Random(seed).shuffle(order)
    groups: dict[str, list[Example]] = defaultdict(list)
    for place, example in enumerate(order):
        groups[f"row {place}" if example.group is None else f"group {example.group}"].append(
            example
        )
    return list(groups.values())
