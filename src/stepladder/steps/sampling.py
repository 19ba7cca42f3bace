"""Seeded draws from train. Dev and test are none of its business; `data/` splits those."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Sequence

from ..core import Example

__all__ = ["hold_out", "label_of", "spread_over_labels"]


def label_of(example: Example) -> str:
    """The expected answer as a key to balance by: a label itself, anything else as JSON."""
    if isinstance(example.expected, str):
        return example.expected
    return json.dumps(example.expected, ensure_ascii=False, sort_keys=True)


def spread_over_labels(examples: Sequence[Example], seed: int) -> list[Example]:
    """All examples in a seeded order whose every beginning holds the labels as evenly as it can."""
    shuffled = list(examples)
    random.Random(seed).shuffle(shuffled)
    turn: dict[str, int] = defaultdict(int)
    keyed = []
    for at, example in enumerate(shuffled):
        label = label_of(example)
        keyed.append((turn[label], at, example))
        turn[label] += 1
    return [example for _, _, example in sorted(keyed, key=lambda item: item[:2])]


def hold_out(
    train: Sequence[Example], n: int, seed: int
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """(the rest, about `n` examples held out): seeded, and no group on both sides.

    At most half of train is held out.
    """
    members: dict[str, list[Example]] = defaultdict(list)
    for at, example in enumerate(train):
        members[f"group {example.group}" if example.group else f"row {at}"].append(example)
    groups = sorted(members)
    random.Random(seed).shuffle(groups)
    wanted = min(n, len(train) // 2)
    held: list[Example] = []
    rest: list[Example] = []
    for group in groups:
        fits = len(held) + len(members[group]) <= wanted
        (held if fits else rest).extend(members[group])
    return tuple(rest), tuple(held)
