"""How large a model from scratch is and how it trains, from how much text there is to learn from.

All of it is rules of thumb, told in the report; what was measured is in the log. A model that is to
be useful everywhere wants some twenty tokens for each of its weights (Hoffmann and others, 2022);
text that is read again is worth nearly as much as new text for about four passes, and hardly
anything after sixteen (Muennighoff and others, 2023). One task's examples are thousands of times
too few for either, so size follows the text and training stops when held-out answers get no better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..trainers import TrainingOptions
from ..trainers.scratch import BYTES, SPECIAL, Blueprint, parameters_of

if TYPE_CHECKING:
    from .scratch import Scratch

__all__ = ["Text", "choose_blueprint", "choose_training", "text_of", "told"]

# layers, hidden state, heads: the largest that the text pays for is taken
SIZES = ((2, 64, 2), (2, 128, 4), (4, 128, 4), (4, 192, 6), (4, 256, 8), (6, 384, 12), (8, 512, 16))
PER_TOKEN = 10.0  # weights for each token of the text, at most
SEEN = 40  # times that an entry of the vocabulary stands in the text, on average
CHARACTERS_PER_TOKEN = 4.0  # before there is a tokenizer to count with
MOST_WORDS = 8192
EXAMPLES_SEEN = 40_000  # at most, over all epochs; early stopping mostly ends it sooner
FEWEST_EPOCHS, MOST_EPOCHS = 4, 40
DOMAIN_EPOCHS = 4.0


@dataclass(frozen=True)
class Text:
    """What there is to learn from: train examples, all characters, and the longest example."""

    examples: int
    characters: int
    longest: int  # characters

    @property
    def tokens(self) -> float:
        """About how many tokens a tokenizer of its own will make of it."""
        return self.characters / CHARACTERS_PER_TOKEN


def choose_blueprint(step: Scratch, text: Text, answer_tokens: int, seed: int) -> Blueprint:
    """The largest size that the text pays for; what the user gave stays."""
    words = step.vocabulary or _vocabulary(text)
    most = text.longest + answer_tokens  # a token is at least one character of ASCII
    context = 1 << max(9, math.ceil(math.log2(2 * most)))
    found = [Blueprint(*size, words, min(context, 8192), seed) for size in SIZES]
    fitting = [one for one in found if parameters_of(one) <= PER_TOKEN * text.tokens]
    best = fitting[-1] if fitting else found[0]
    if step.layers is None and step.hidden is None:
        return best
    hidden = step.hidden or best.hidden
    heads = max(1, hidden // 32)
    return Blueprint(step.layers or best.layers, hidden, heads, words, best.context, seed)


def choose_training(step: Scratch, text: Text, size: Blueprint, mean: float) -> TrainingOptions:
    """How its answers are learned; `mean` is the tokens of an example."""
    usual = min(MOST_EPOCHS, max(FEWEST_EPOCHS, math.ceil(EXAMPLES_SEEN / text.examples)))
    rows = 16 if text.examples < 2000 else 32
    return TrainingOptions(
        method="full",
        learning_rate=step.learning_rate or 3e-3 * math.sqrt(64 / size.hidden),
        epochs=step.epochs or usual,
        tokens_per_batch=int(min(8192, max(512, 64 * math.ceil(rows * mean / 64)))),
        weight_decay=0.1,
        patience=4,
        judged_by="accuracy",
        evaluations_per_epoch=1,
        max_seconds=None if step.minutes is None else 60 * step.minutes,
        max_length=size.context,
        seed=size.seed,
    )


def told(size: Blueprint, words: int, text: Text) -> str:
    """The model in words, with how thin the text is for it."""
    weights = parameters_of(size)
    return (
        f"a decoder of {_short(weights)} weights ({size.layers} layers of {size.hidden}, its own "
        f"vocabulary of {words:,}), random at first: {weights / text.tokens:.1f} weights for each "
        f"of about {_short(text.tokens)} tokens there are to learn from"
    )


def _vocabulary(text: Text) -> int:
    least = BYTES + len(SPECIAL)
    wanted = text.tokens / SEEN
    return min(MOST_WORDS, max(least + 64, 1 << round(math.log2(max(wanted, 1)))))


def _short(count: float) -> str:
    return f"{count / 1e6:.1f} million" if count >= 1e6 else f"{count / 1e3:,.0f} thousand"


def text_of(examples: Sequence[str], more: Sequence[str] = ()) -> Text:
    """The measure of examples, each with its answer, and of further text."""
    sizes = [len(one) for one in examples]
    return Text(len(sizes), sum(sizes) + sum(map(len, more)), max(sizes))
