"""Raw text as training rows: documents one after another, cut into blocks of equal length.

Every token of a block is learned but the first, which is the last of the block before: so that each
token of the text is predicted once. Where texts come from is for the caller.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ModelError
from .batches import Encoded, Tokenizer

__all__ = ["blocks"]


def blocks(texts: Sequence[str], tokenizer: Tokenizer, length: int) -> list[Encoded]:
    """The texts as rows of `length` tokens, the last one shorter; an end token closes each text.

    Raises ModelError where there is nothing to learn in them.
    """
    tokens = [tokenizer.eos_id]
    for text in texts:
        tokens += [*tokenizer.encode(text), tokenizer.eos_id]
    starts = range(0, len(tokens) - 1, length - 1)
    cut = [tuple(tokens[start : start + length]) for start in starts]
    if all(len(text.strip()) == 0 for text in texts):
        raise ModelError("the texts to learn from are empty", hint="give text, or none at all")
    return [Encoded(block[:1], block[1:]) for block in cut]
