"""Conversations to token rows, and token rows to batches. Pure; no torch.

A batch is bounded by its size in tokens *with padding*, because that is what it costs; rows of
similar length share one so that little of it is padding. How much is told by `padding_share`, for
`packing.py` to judge.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ..core import Message
from ..errors import ModelError
from . import Conversation

__all__ = [
    "Encoded", "Learnable", "Packable", "Tokenizer", "cut", "encode", "epoch_batches", "fitting",
    "padding_share", "training_plan", "within",
]  # fmt: skip

Kind = TypeVar("Kind")

NEIGHBOURHOOD = 16  # batches that are shuffled together before they are sorted by length


class Tokenizer(Protocol):
    """The part of a local model's tokenizer that training needs."""

    @property
    def eos_id(self) -> int: ...

    def chat_ids(
        self, messages: Sequence[Message], *, add_generation_prompt: bool = True
    ) -> list[int]: ...

    def encode(self, text: str) -> list[int]: ...


class Learnable(Protocol):
    """A row in tokens: its length is what it costs, its weight what the mean loss is taken over."""

    @property
    def weight(self) -> int: ...

    def __len__(self) -> int: ...


class Packable(Protocol):
    """A row that is computed as one sequence or several, of these `lengths`."""

    @property
    def lengths(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Encoded:
    """One conversation in tokens. Only `answer`, which closes with the end token, is learned."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)

    @property
    def weight(self) -> int:
        return len(self.answer)

    @property
    def lengths(self) -> tuple[int, ...]:
        return (len(self),)


def encode(
    conversations: Sequence[Conversation],
    tokenizer: Tokenizer,
    max_length: int,
    *,
    cut_long: bool = False,
) -> tuple[list[Encoded], int]:
    """The conversations in tokens, and how many were left out for being over `max_length`.

    A prompt is tokenised exactly as the engine will see it, and the answer apart from it, since an
    engine continues the prompt's tokens and never merges across the border. With `cut_long`, of an
    answer that is too long the beginning is learned, and no end token after it, which would teach
    the model to stop early; only a prompt that leaves no room at all is left out.
    """
    rows = []
    for messages, completion in conversations:
        prompt = tuple(tokenizer.chat_ids(messages, add_generation_prompt=True))
        rows.append(Encoded(prompt, (*tokenizer.encode(completion), tokenizer.eos_id)))
    if cut_long:
        rows = [cut(row, max_length) for row in rows]
    return within(rows, [len(row) if row.answer else max_length + 1 for row in rows], max_length)


def within(rows: Sequence[Kind], lengths: Sequence[int], max_length: int) -> tuple[list[Kind], int]:
    """The rows that fit, and how many do not; raises ModelError where none does."""
    kept = [row for row, length in zip(rows, lengths, strict=True) if length <= max_length]
    if rows and not kept:
        raise ModelError(
            f"none of the {len(rows)} training examples fits into {max_length} tokens",
            hint=f"raise max_length (the shortest example takes {min(lengths)} tokens)",
        )
    return kept, len(rows) - len(kept)


def cut(row: Encoded, max_length: int) -> Encoded:
    """The row without what is over `max_length` tokens of the answer's end."""
    over = max(0, len(row) - max_length)
    return Encoded(row.prompt, row.answer[: max(0, len(row.answer) - over)]) if over else row


def epoch_batches(
    lengths: Sequence[int],
    tokens_per_batch: int,
    seed: int,
    epoch: int,
    rows_per_batch: int | None = None,
) -> list[list[int]]:
    """Indices of the rows of each batch, in order: every row once, shuffled anew per epoch.

    A batch holds rows of similar length. With `rows_per_batch` it has so many of them, the last
    one fewer; else its row count times its longest row is at most `tokens_per_batch` (a longer row
    is a batch of its own).
    """
    chance = random.Random(f"{seed}/{epoch}")
    order = list(range(len(lengths)))
    chance.shuffle(order)
    batches: list[list[int]] = []
    if rows_per_batch is not None:
        for neighbours in _slices(order, NEIGHBOURHOOD * rows_per_batch):
            neighbours.sort(key=lambda index: lengths[index])
            batches += _slices(neighbours, rows_per_batch)
        chance.shuffle(batches)
        return batches
    for neighbours in _stretches(order, lengths, NEIGHBOURHOOD * tokens_per_batch):
        neighbours.sort(key=lambda index: lengths[index])
        batches += _cut(neighbours, lengths, tokens_per_batch)
    chance.shuffle(batches)
    return batches


def fitting(batch: Sequence[int], lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """A batch in parts that are in memory one after the other, each within `tokens`, padded."""
    return _cut(sorted(batch, key=lambda index: lengths[index]), lengths, tokens)


def training_plan(
    lengths: Sequence[int],
    tokens_per_batch: int,
    seed: int,
    epochs: float,
    rows_per_batch: int | None = None,
) -> list[tuple[float, list[int]]]:
    """Every step of a training: how many epochs are done after it, and the rows it uses."""
    plan: list[tuple[float, list[int]]] = []
    epoch = 0
    while epoch < epochs:
        batches = epoch_batches(lengths, tokens_per_batch, seed, epoch, rows_per_batch)
        used = max(1, round(len(batches) * min(1.0, epochs - epoch)))
        plan += [(epoch + (n + 1) / len(batches), batch) for n, batch in enumerate(batches[:used])]
        epoch += 1
    return plan


def padding_share(parts: Iterable[Sequence[Packable]]) -> float:
    """The share of what is in memory that is padding, where each part is as wide as its longest."""
    filled, padded = 0, 0
    for rows in parts:
        lengths = [length for row in rows for length in row.lengths]
        filled += sum(lengths)
        padded += len(lengths) * max(lengths)
    return 1.0 - filled / padded if padded else 0.0


def _slices(order: Sequence[int], size: int) -> list[list[int]]:
    return [list(order[start : start + size]) for start in range(0, len(order), size)]


def _stretches(order: Sequence[int], lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """The order cut into runs of about `tokens` tokens."""
    runs: list[list[int]] = [[]]
    filled = 0
    for index in order:
        if filled >= tokens:
            runs.append([])
            filled = 0
        runs[-1].append(index)
        filled += lengths[index]
    return [run for run in runs if run]


def _cut(
    ascending: Sequence[int], lengths: Sequence[int], tokens_per_batch: int
) -> list[list[int]]:
    """Rows in ascending length, cut into batches that fit."""
    batches: list[list[int]] = []
    for index in reversed(ascending):  # so that the odd remainder is a batch of short rows
        last = batches[-1] if batches else None
        if last and (len(last) + 1) * lengths[last[0]] <= tokens_per_batch:
            last.append(index)
        else:
            batches.append([index])
    return batches
