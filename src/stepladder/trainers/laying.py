"""Rows as a model reads them: beside each other with padding, or packed one behind the other.

Padding is on the right, where a causal model never looks from a token, so it needs no mask. In a
packed sequence positions begin anew with every row; that no row sees another is for the attention
(`row_attention.py`). Which of the two is used is chosen in `packing.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from .batches import Encoded

__all__ = ["Borders", "Laid", "behind", "beside", "borders_of"]


@dataclass(frozen=True)
class Borders:
    """Where rows of a packed sequence lie: the tokens of each, and where each begins and ends.

    `places` (rows + 1) are 32-bit integers on the device, of which the first is 0.
    """

    lengths: tuple[int, ...]
    places: Any

    def longer(self, by: int) -> Borders:
        """The borders when so many tokens stand before each row."""
        return borders_of([length + by for length in self.lengths], self.places.device)


@dataclass(frozen=True)
class Laid:
    """Token ids as (rows, width), padded, or as (1, tokens) with the `borders` of packed rows.

    `asking` are the places in them, counted flat, that predict an answer token, and `answers` those
    tokens, row after row.
    """

    ids: Any
    asking: Any
    answers: Any
    borders: Borders | None = None


def beside(rows: Sequence[Encoded], pad_id: int, device: Any) -> Laid:
    """The rows beside each other, all as wide as the longest."""
    import torch

    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row.prompt + row.answer)
    return _laid(rows, ids, [width * number for number in range(len(rows))], device)


def behind(rows: Sequence[Encoded], device: Any) -> Laid:
    """The rows one behind the other, in a batch of one sequence."""
    import torch

    lengths = [len(row) for row in rows]
    ids = torch.tensor([[token for row in rows for token in row.prompt + row.answer]])
    starts = [0, *accumulate(lengths)][:-1]
    return _laid(rows, ids, starts, device, borders_of(lengths, device))


def borders_of(lengths: Sequence[int], device: Any) -> Borders:
    """The borders of rows of these lengths."""
    import torch

    places = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
    return Borders(tuple(lengths), places.to(device))


def _laid(
    rows: Sequence[Encoded],
    ids: Any,
    starts: Sequence[int],
    device: Any,
    borders: Borders | None = None,
) -> Laid:
    import torch

    asking: list[int] = []
    answers: list[int] = []
    for start, row in zip(starts, rows, strict=True):
        first = start + len(row.prompt) - 1
        asking += range(first, first + len(row.answer))
        answers += row.answer
    return Laid(
        ids.to(device), torch.tensor(asking).to(device), torch.tensor(answers).to(device), borders
    )
