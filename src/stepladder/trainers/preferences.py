"""Preference tuning: of two answers to one prompt, the better is made more probable than the worse.

The loss is direct preference optimisation (Rafailov and others, "Direct Preference Optimization:
Your Language Model is Secretly a Reward Model", 2023, equation 7): for a pair with the better
answer w and the worse answer l,

    loss = -log sigmoid(beta * ((log p(w) - log q(w)) - (log p(l) - log q(l))))

where p is the model that learns and q, the reference, is the same model before its first step. An
adapter that has not learned yet changes nothing, so the reference needs no second model: its
log-probabilities are taken once, before the training. The loop around it is the one of any tuning
(`loop.py`); which pairs are learned is for the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import Pair
from .batches import Encoded, Tokenizer, cut, training_plan, within
from .learner import Learner, Scores, answer_logits

__all__ = [
    "EncodedPair", "Margins", "encode_pairs", "margins", "preference_scores", "with_reference",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """Two answers to one prompt in tokens, and what the reference thinks of them.

    `reference` holds the natural log-probabilities of the better and the worse answer.
    """

    chosen: Encoded
    rejected: Encoded
    reference: tuple[float, float] | None = None

    def __len__(self) -> int:
        return len(self.chosen) + len(self.rejected)

    @property
    def answer(self) -> tuple[int, ...]:
        """The tokens of both answers, which is what is learned from."""
        return self.chosen.answer + self.rejected.answer

    @property
    def weight(self) -> int:
        return 1

    @property
    def lengths(self) -> tuple[int, ...]:
        return len(self.chosen), len(self.rejected)


@dataclass(frozen=True)
class Margins:
    """How far a model prefers the better answers: mean reward margin, and the share of pairs.

    The reward of an answer is beta times its log-probability over the reference's.
    """

    margin: float
    right: float


def encode_pairs(
    pairs: Sequence[Pair], tokenizer: Tokenizer, max_length: int, *, cut_long: bool = False
) -> tuple[list[EncodedPair], int]:
    """The pairs in tokens, and how many were left out since an answer is over `max_length`.

    With `cut_long` a long answer is judged by its beginning. Raises ModelError where none fits.
    """
    rows = []
    for pair in pairs:
        prompt = tuple(tokenizer.chat_ids(pair.messages, add_generation_prompt=True))
        both = [
            Encoded(prompt, (*tokenizer.encode(answer), tokenizer.eos_id))
            for answer in (pair.chosen, pair.rejected)
        ]
        if cut_long:
            both = [cut(row, max_length) for row in both]
        rows.append(EncodedPair(both[0], both[1]))
    return within(rows, [_longest(row, max_length) for row in rows], max_length)


def _longest(pair: EncodedPair, max_length: int) -> int:
    if not (pair.chosen.answer and pair.rejected.answer):
        return max_length + 1
    return max(len(pair.chosen), len(pair.rejected))


def with_reference(
    learner: Learner, pairs: Sequence[EncodedPair], tokens_per_batch: int
) -> list[EncodedPair]:
    """The pairs with the log-probabilities that the model as it is now gives to their answers."""
    import torch

    learner.model.eval()
    found: dict[int, EncodedPair] = {}
    with torch.no_grad():
        for _, batch in training_plan([len(pair) for pair in pairs], tokens_per_batch, 0, 1):
            chosen, rejected = log_probabilities(learner, [pairs[index] for index in batch])
            both = zip(batch, chosen.tolist(), rejected.tolist(), strict=True)
            for index, better, worse in both:
                found[index] = replace(pairs[index], reference=(better, worse))
    return [found[index] for index in range(len(pairs))]


def preference_scores(beta: float) -> Scores:
    """The summed loss of pairs, how many there are, and in how many the better answer gained more.

    Every pair needs its reference.
    """

    def scores(learner: Learner, pairs: Sequence[EncodedPair]) -> tuple[Any, int, int]:
        import torch

        gained = beta * _gains(learner, pairs)
        loss = -torch.nn.functional.logsigmoid(gained).sum()
        return loss, len(pairs), int((gained.detach() > 0).sum())

    return scores


def margins(
    learner: Learner, pairs: Sequence[EncodedPair], beta: float, tokens_per_batch: int
) -> Margins:
    """What the model as it is now makes of pairs that have their reference."""
    import torch

    learner.model.eval()
    total, right = 0.0, 0
    with torch.no_grad():
        for _, batch in training_plan([len(pair) for pair in pairs], tokens_per_batch, 0, 1):
            gained = beta * _gains(learner, [pairs[index] for index in batch])
            total, right = total + float(gained.sum()), right + int((gained > 0).sum())
    return Margins(total / len(pairs), right / len(pairs))


def _gains(learner: Learner, pairs: Sequence[EncodedPair]) -> Any:
    """By how much more the better answer gained on the reference than the worse, in nats."""
    import torch

    chosen, rejected = log_probabilities(learner, pairs)
    kept = [pair.reference for pair in pairs if pair.reference is not None]
    assert len(kept) == len(pairs), "the reference is taken before the first step"
    before = torch.tensor(kept, dtype=torch.float32, device=learner.device)
    return (chosen - before[:, 0]) - (rejected - before[:, 1])


def log_probabilities(learner: Learner, pairs: Sequence[EncodedPair]) -> tuple[Any, Any]:
    """Natural log-probabilities of the better answers and of the worse, a tensor of each."""
    import torch

    rows = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    logits, targets = answer_logits(learner, rows)
    surprise = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
    places = [place for place, row in enumerate(rows) for _ in row.answer]
    owner = torch.tensor(places, device=learner.device)
    sums = torch.zeros(len(rows), device=learner.device).index_add(0, owner, -surprise)
    return sums[: len(pairs)], sums[len(pairs) :]
