"""What a tuning file is made of, in tokens: what is told of it, and which rows are too long.

A row is OpenAI's or Vertex's to deal with where it does not fit: OpenAI cuts it at the end, Vertex
leaves it out. Both are counted. Nothing here reads a file or trains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ...core import Json, Message
from ...trainers import Conversation, Pair
from .rows import Row

__all__ = ["Counted", "count_rows", "distribution"]

BUCKETS = 10
MOST_NAMED = 50  # rows that are named; all are counted

Size = tuple[int, Sequence[int]]  # tokens of a prompt, and of each answer to it


class Tokenizer(Protocol):
    """The part of a local model's tokenizer that counting needs."""

    def batch_chat_ids(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]: ...

    def encode(self, text: str) -> list[int]: ...


@dataclass(frozen=True)
class Counted:
    """What is trained on, and what is told of the whole file in neutral words.

    Rows are numbered from 1, as the services do. `tokens` are those of one epoch.
    """

    conversations: tuple[Conversation | Pair, ...]
    statistics: Mapping[str, Json]
    tokens: int


@dataclass
class _Tally:
    kept: list[Conversation | Pair] = field(default_factory=list)
    examples: int = 0
    tokens: int = 0
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    cut: list[int] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def count_rows(
    rows: Sequence[Row], tokenizer: Tokenizer, max_length: int, *, cut_long: bool
) -> Counted:
    """The conversations that fit into `max_length` tokens, and the statistics of all rows.

    With `cut_long` the end of what is too long is not learned; else its row is left out. A row
    whose prompt leaves no room for an answer is left out either way.
    """
    tally = _Tally()
    for number, row in enumerate(rows, 1):
        _add(tally, number, row, _sizes(row, tokenizer), (max_length, cut_long))
    return Counted(tuple(tally.kept), _told(tally, len(rows)), tally.tokens)


def _sizes(row: Row, tokenizer: Tokenizer) -> list[Size]:
    """Tokens of the prompt and of each answer, with its end token, of all that is learned."""
    prompts = tokenizer.batch_chat_ids([_split(one)[0] for one in row.learned])
    answers = [[len(tokenizer.encode(said)) + 1 for said in _split(one)[1]] for one in row.learned]
    return [(len(prompt), said) for prompt, said in zip(prompts, answers, strict=True)]


def _split(one: Conversation | Pair) -> tuple[Sequence[Message], Sequence[str]]:
    if isinstance(one, Pair):
        return one.messages, (one.chosen, one.rejected)
    return one[0], (one[1],)


def _add(
    tally: _Tally, number: int, row: Row, sizes: Sequence[Size], bounds: tuple[int, bool]
) -> None:
    max_length, cut_long = bounds
    fits = [place for place, (prompt, _) in enumerate(sizes) if prompt < max_length]
    longest = max(prompt + max(answers) for prompt, answers in sizes)
    if not fits or (longest > max_length and not cut_long):
        tally.dropped.append(number)
        tally.reasons.append(
            f"row {number} (line {row.line}) has {longest:,} tokens; at most {max_length:,} are "
            "learned"
        )
        return
    if longest > max_length:
        tally.cut.append(number)
    said = sum(
        min(answer, max_length - sizes[place][0]) for place in fits for answer in sizes[place][1]
    )
    whole = _whole(sizes, max_length)
    tally.kept += [row.learned[place] for place in fits]
    tally.examples += 1
    tally.tokens += whole
    tally.outputs.append(said)
    tally.inputs.append(max(0, whole - said))
    tally.turns.append(row.turns)


def _whole(sizes: Sequence[Size], max_length: int) -> int:
    """What is read in an epoch: a conversation once, a pair of answers each with its prompt."""
    return max(
        sum(min(prompt + answer, max_length) for answer in answers) for prompt, answers in sizes
    )


def _told(tally: _Tally, examples: int) -> dict[str, Json]:
    return {
        "examples": examples,
        "truncated": len(tally.cut),
        "truncated_rows": tally.cut[:MOST_NAMED],
        "dropped": len(tally.dropped),
        "dropped_rows": tally.dropped[:MOST_NAMED],
        "dropped_reasons": tally.reasons[:MOST_NAMED],
        "billable_tokens": tally.tokens,
        "input_tokens": distribution(tally.inputs),
        "output_tokens": distribution(tally.outputs),
        "messages_per_example": distribution(tally.turns),
    }


def distribution(values: Sequence[int]) -> dict[str, Json]:
    """Sum, extremes, mean, quantiles and a histogram of equally wide buckets; of nothing, {}."""
    if not values:
        return {}
    numbers = np.asarray(values)
    low, high = int(numbers.min()), int(numbers.max())
    counts, edges = np.histogram(numbers, bins=min(BUCKETS, high - low + 1), range=(low, high + 1))
    p5, median, p95 = (float(one) for one in np.percentile(numbers, (5, 50, 95)))
    return {
        "sum": int(numbers.sum()),
        "min": low,
        "max": high,
        "mean": float(numbers.mean()),
        "median": median,
        "p5": p5,
        "p95": p95,
        "buckets": [
            {"left": float(left), "right": float(right), "count": int(count)}
            for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True)
        ],
    }
