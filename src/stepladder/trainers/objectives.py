"""What is learned of a row, by objective: how rows become tokens, and what their loss is.

answers      the answers of conversations; the prompt is only read
preference   of two answers, to find the better one more probable (`preferences.py`)
text         every token of raw text, in blocks of equal length (`texts.py`)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import ModelError
from . import Objective, Pair, Row, TrainingOptions
from .batches import Learnable, Tokenizer, encode
from .learner import Scores, answer_scores
from .preferences import encode_pairs, preference_scores
from .texts import blocks

__all__ = ["answer_tokens", "encode_rows", "scores_of"]

_WHAT: dict[Objective, str] = {
    "answers": "conversations with an answer",
    "preference": "pairs of answers",
    "text": "texts",
}


def encode_rows(
    rows: Sequence[Row], tokenizer: Tokenizer, options: TrainingOptions
) -> tuple[list[Any], int]:
    """The rows in tokens, as `Learnable`s of one kind, and how many were left out as too long.

    Raises ModelError for rows of another objective, and where none fits.
    """
    given: Sequence[Any] = rows
    if any(_objective(row) != options.objective for row in rows):
        raise ModelError(
            f"objective {options.objective!r} learns from {_WHAT[options.objective]}",
            hint="give rows of that kind, or set the objective to what they are",
        )
    length, cut_long = options.max_length, options.cut_long
    if not rows:
        return [], 0
    if options.objective == "text":
        return blocks(given, tokenizer, length), 0
    if options.objective == "preference":
        return encode_pairs(given, tokenizer, length, cut_long=cut_long)
    return encode(given, tokenizer, length, cut_long=cut_long)


def scores_of(options: TrainingOptions) -> Scores:
    """The loss of rows in tokens."""
    return preference_scores(options.beta) if options.objective == "preference" else answer_scores


def answer_tokens(rows: Sequence[Learnable]) -> int:
    """How many tokens of the rows are learned from."""
    return sum(len(getattr(row, "answer", ())) for row in rows)


def _objective(row: Row) -> Objective:
    if isinstance(row, str):
        return "text"
    return "preference" if isinstance(row, Pair) else "answers"
