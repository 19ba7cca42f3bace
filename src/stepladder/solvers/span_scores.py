"""The numbers behind a tagger: how well spans fit tags, links and classes, in NumPy.

Every pair of a first and a last token is scored for every tag (after Su et al., 2022), so that
spans may overlap, lie in each other and have several tags, which one tag per token cannot say. The
training side of the same formulas is in `trainers/span_head.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["choice_scores", "link_scores", "rotation", "span_scores"]

Weights = Mapping[str, Any]


def span_scores(weights: Weights, hidden: Any, widest: int) -> Any:
    """Of each (first token, last token, tag) the logit, -inf where it is no span.

    `hidden` is (tokens, size) with the two marks, which are in no span.
    """
    cosines, sines = rotation(len(hidden), len(weights["query.weight"]))
    query = _turn(hidden @ weights["query.weight"].T + weights["query.bias"], cosines, sines)
    key = _turn(hidden @ weights["key.weight"].T + weights["key.bias"], cosines, sines)
    alike = query @ key.T / np.sqrt(query.shape[1])
    first = hidden @ weights["first.weight"].T + weights["first.bias"]
    last = hidden @ weights["last.weight"].T
    scores = alike[:, :, None] + first[:, None, :] + last[None, :, :]
    scores[~spans_possible(len(hidden), widest)] = -np.inf
    return scores


def spans_possible(tokens: int, widest: int) -> Any:
    """Which (first, last) may be a span of at most `widest` tokens, without the two marks."""
    place = np.arange(tokens)
    wide = place[None, :] - place[:, None]
    inner = (place > 0) & (place < tokens - 1)
    return (wide >= 0) & (wide < widest) & inner[:, None] & inner[None, :]


def link_scores(weights: Weights, vectors: Any, tags: Any) -> Any:
    """Of each (span, span, link) the logit.

    `vectors` are the hidden states of first and last token side by side, (spans, 2 size); `tags`
    the places of their tags.
    """
    one = (
        vectors @ weights["head.weight"].T + weights["head.bias"] + weights["head_tag.weight"][tags]
    )
    other = vectors @ weights["tail.weight"].T + weights["tail_tag.weight"][tags]
    both = np.tanh(one[:, None, :] + other[None, :, :])
    return both @ weights["link.weight"].T + weights["link.bias"]


def choice_scores(weights: Weights, whole: Any, spans: Any) -> Any:
    """Of each value of each class of a frame the logit, all classes in one row.

    `whole` is the mean of the text's tokens, `spans` that of the frame's, or zeros for none.
    """
    seen = np.concatenate([whole, spans])
    return seen @ weights["choice.weight"].T + weights["choice.bias"]


def rotation(tokens: int, size: int) -> tuple[Any, Any]:
    """(cosines, sines) that turn a vector by its place (Su et al., 2021), each (tokens, size)."""
    rates = 10000.0 ** (-np.arange(0, size, 2) / size)
    angles = np.repeat(np.arange(tokens)[:, None] * rates[None, :], 2, axis=1)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def _turn(vectors: Any, cosines: Any, sines: Any) -> Any:
    crossed = np.stack([-vectors[:, 1::2], vectors[:, ::2]], axis=-1).reshape(vectors.shape)
    return vectors * cosines + crossed * sines
