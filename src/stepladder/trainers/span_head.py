"""What a tagger learns on the encoder, in torch: the formulas of `solvers/span_scores.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..solvers.answer_shape import Shape
from ..solvers.span_scores import rotation, spans_possible
from .encoder_model import hidden, padded
from .learner import Learner

__all__ = ["SpanRow", "make_span_head", "span_row_scores"]

POINTER = 64  # size of the vectors whose product says where a span begins and ends
MIDDLE = 128  # of what looks at two spans


@dataclass(frozen=True)
class SpanRow:
    """A window in tokens with its gold: (tag, first, last) of spans, links and frames among them.

    `links` are (span, span, link), `pairs` all (span, span) that are looked at, `frames` are
    (spans, (class, value) of each).
    """

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int, int], ...]
    links: tuple[tuple[int, int, int], ...]
    pairs: tuple[tuple[int, int], ...]
    frames: tuple[tuple[tuple[int, ...], tuple[tuple[int, int], ...]], ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def weight(self) -> int:
        """What the mean loss is taken over."""
        return 1


def make_span_head(shape: Shape, size: int) -> Any:
    """The module whose weights `solvers/span_scores.py` reads by these names."""
    import torch

    tags, links = len(shape.tags), len(shape.links)
    values = sum(len(one.values) for _, one in shape.choices)
    made = {
        "query": torch.nn.Linear(size, POINTER),
        "key": torch.nn.Linear(size, POINTER),
        "first": torch.nn.Linear(size, tags),
        "last": torch.nn.Linear(size, tags, bias=False),
        "head": torch.nn.Linear(2 * size, MIDDLE),
        "tail": torch.nn.Linear(2 * size, MIDDLE, bias=False),
        "head_tag": torch.nn.Embedding(tags, MIDDLE),
        "tail_tag": torch.nn.Embedding(tags, MIDDLE),
        "link": torch.nn.Linear(MIDDLE, max(1, links)),
        "choice": torch.nn.Linear(2 * size, max(1, values)),
    }
    return torch.nn.ModuleDict(made)


def span_row_scores(
    shape: Shape, learner: Learner, rows: Sequence[SpanRow]
) -> tuple[Any, int, int]:
    """The loss of spans, links and classes, summed over rows; right is a row with all its spans."""
    import torch

    ids, mask = padded([row.ids for row in rows])
    with learner.autocast():
        states = hidden(learner.model, ids, mask)
    states = torch.nn.functional.dropout(states.float(), 0.1, learner.model.training)
    head = learner.model["head"]
    scores = _span_scores(head, states)
    total, right = states.new_zeros(()), 0
    for at, row in enumerate(rows):
        n = len(row.ids)
        possible = torch.from_numpy(spans_possible(n, shape.widest))
        found = scores[at, :n, :n][possible]
        gold = torch.zeros((n, n, len(shape.tags)), dtype=torch.bool)
        for tag, first, last in row.spans:
            gold[first, last, tag] = True
        wanted = gold[possible]
        total = total + _ranked(found, wanted)
        right += int(((found > 0) == wanted).all())
        if row.pairs:
            total = total + _link_loss(head, states[at], row)
        if row.frames:
            total = total + _choice_loss(head, shape, states[at, :n], row)
    return total, len(rows), right


def _span_scores(head: Any, states: Any) -> Any:
    """(texts, first, last, tag), of which those that are no span mean nothing."""
    import torch

    cosines, sines = map(torch.from_numpy, rotation(states.shape[1], POINTER))

    def turn(vectors: Any) -> Any:
        crossed = torch.stack([-vectors[..., 1::2], vectors[..., ::2]], dim=-1)
        return vectors * cosines + crossed.reshape(vectors.shape) * sines

    query, key = turn(head["query"](states)), turn(head["key"](states))
    alike = query @ key.transpose(1, 2) / math.sqrt(POINTER)
    first, last = head["first"](states), head["last"](states)
    return alike.unsqueeze(-1) + first.unsqueeze(2) + last.unsqueeze(1)


def _ranked(scores: Any, gold: Any) -> Any:
    """Wants what is right above 0 and the rest below it, however few are right: (items, kinds)."""
    import torch

    zero = scores.new_zeros((1, scores.shape[1]))
    wrong = torch.cat([scores.masked_fill(gold, float("-inf")), zero]).logsumexp(0)
    right = torch.cat([(-scores).masked_fill(~gold, float("-inf")), zero]).logsumexp(0)
    return (wrong + right).sum()


def _link_loss(head: Any, states: Any, row: SpanRow) -> Any:
    import torch

    tags = torch.tensor([tag for tag, _, _ in row.spans])
    firsts = torch.tensor([first for _, first, _ in row.spans])
    lasts = torch.tensor([last for _, _, last in row.spans])
    ends = torch.cat([states[firsts], states[lasts]], dim=1)
    scores = _link_values(head, ends, tags, row.pairs)
    place = {pair: n for n, pair in enumerate(row.pairs)}
    gold = torch.zeros(scores.shape, dtype=torch.bool)
    for a, b, link in row.links:
        if (a, b) in place:
            gold[place[a, b], link] = True
    return _ranked(scores, gold)


def _link_values(head: Any, ends: Any, tags: Any, pairs: Sequence[tuple[int, int]]) -> Any:
    """Of each pair of spans the logit of each link: (pairs, links)."""
    import torch

    one = head["head"](ends) + head["head_tag"](tags)
    other = head["tail"](ends) + head["tail_tag"](tags)
    left, right = (torch.tensor(side) for side in zip(*pairs, strict=True))
    return head["link"](torch.tanh(one[left] + other[right]))


def _choice_loss(head: Any, shape: Shape, states: Any, row: SpanRow) -> Any:
    import torch

    sizes = [len(one.values) for _, one in shape.choices]
    total = states.new_zeros(())
    for members, chosen in row.frames:
        means = [states[row.spans[n][1] : row.spans[n][2] + 1].mean(0) for n in members]
        mean = torch.stack(means).mean(0) if means else torch.zeros_like(states[0])
        scores = head["choice"](torch.cat([states.mean(0), mean])).split(sizes)
        for of, value in chosen:
            target = torch.tensor([value])
            total = total + torch.nn.functional.cross_entropy(scores[of].unsqueeze(0), target)
    return total
