"""Attention of packed rows, each by itself: what transformers calls in the place of its own.

No mask over the whole sequence is made: it would cost the square of all rows' tokens, where the
rows cost the sum of their squares. Keys that stand before every row (prefix tuning) are seen by all
of them, and windows of attention are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import torch
from torch.nn import functional

from .laying import Borders
from .opening import SHORT

__all__ = ["NAME", "UnknownAttention", "attend", "attend_by_rows"]

NAME = "stepladder_rows"  # among the ways of attention that transformers can be told to use
HARMLESS = ("position_ids", "use_cache", "output_attentions")  # are told, and change nothing here
HALVES = (torch.bfloat16, torch.float16)


class UnknownAttention(Exception):
    """A model asks of its attention what is not done here; the names of it."""


def attend_by_rows(causal: Any) -> None:
    """Have a causal model of transformers attend by `attend`, which needs no mask from it."""
    import transformers

    transformers.AttentionInterface.register(NAME, attend)
    causal.set_attn_implementation(NAME)


def attend(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **asked: Any
) -> tuple[Any, None]:
    """What every token of a row sees of the tokens up to itself, as (batch, tokens, heads, width).

    `query`, `key` and `value` are (batch, heads, tokens, width). Of what is `asked` besides,
    `borders` say where rows lie; without them all tokens of a sequence are one row. Raises
    UnknownAttention for what is not known here.
    """
    ask = _Asked(**{name: asked.pop(name) for name in ASKED if name in asked})
    unknown = sorted(n for n, given in asked.items() if given is not None and n not in HARMLESS)
    if unknown or attention_mask is not None:
        raise UnknownAttention(", ".join(unknown) or "a mask of its own")
    before = key.shape[2] - query.shape[2]
    if ask.borders is not None and not before and _has_kernel(query, ask):
        return _by_kernel((query, key, value), ask, ask.borders), None
    lengths = (query.shape[2],) if ask.borders is None else ask.borders.lengths
    each = query.shape[1] // key.shape[1]
    rows = zip(
        query.split(lengths, dim=2),
        _seen(_each(key, each), before, lengths),
        _seen(_each(value, each), before, lengths),
        strict=True,
    )
    read = [_plain(*row, ask) if _is_short(row[0]) else _fused(*row, ask) for row in rows]
    return torch.cat(read, dim=2).transpose(1, 2), None


@dataclass(frozen=True)
class _Asked:
    """What a model asks of its attention."""

    scaling: float | None = None
    dropout: float = 0.0
    sliding_window: int | None = None
    borders: Borders | None = None


ASKED = tuple(one.name for one in fields(_Asked))


def _each(states: Any, times: int) -> Any:
    """Keys or values once for each head of the queries; a copy, far cheaper than torch's repeat."""
    batch, heads, tokens, width = states.shape
    wide = states[:, :, None].expand(batch, heads, times, tokens, width)
    return wide.reshape(batch, heads * times, tokens, width)


def _seen(states: Any, before: int, lengths: Sequence[int]) -> Sequence[Any]:
    """Of each row its keys or values, behind those that stand before every row."""
    rows = states[:, :, before:].split(lengths, dim=2)
    if not before:
        return rows  # type: ignore[no-any-return]
    return [torch.cat([states[:, :, :before], row], dim=2) for row in rows]


def _is_short(query: Any) -> bool:
    """Whether plain products are faster than torch's fused ones: 2.87 s against 3.38 on a CPU."""
    return bool(query.device.type == "cpu" and query.shape[2] <= SHORT)


def _plain(query: Any, key: Any, value: Any, ask: _Asked) -> Any:
    """One row's attention as two products with a softmax in float32 between them."""
    scale = query.shape[-1] ** -0.5 if ask.scaling is None else ask.scaling
    sizes = query.shape[2], key.shape[2]
    weight = query @ key.transpose(2, 3) * scale
    weight = weight + _unseen(*sizes, ask.sliding_window, weight.dtype)
    weight = torch.softmax(weight, dim=-1, dtype=torch.float32).to(query.dtype)
    return functional.dropout(weight, ask.dropout) @ value


def _fused(query: Any, key: Any, value: Any, ask: _Asked) -> Any:
    """One row's attention by torch, which needs no mask where a row sees all before itself."""
    sizes = query.shape[2], key.shape[2]
    usual = sizes[0] == sizes[1] and (ask.sliding_window is None or sizes[0] <= ask.sliding_window)
    mask = None if usual else _seen_at(*sizes, ask.sliding_window).to(query.device)
    return functional.scaled_dot_product_attention(
        query, key, value, mask, dropout_p=ask.dropout, is_causal=usual, scale=ask.scaling
    )


def _seen_at(length: int, keys: int, window: int | None) -> Any:
    """Which of `keys` each of the last `length` places sees: those up to itself, in the window."""
    seen = torch.ones(length, keys, dtype=torch.bool).tril(keys - length)
    return seen if window is None else seen.triu(keys - length - window + 1)


@lru_cache(maxsize=32)  # all layers ask for those of a batch, which are of at most SHORT tokens
def _unseen(length: int, keys: int, window: int | None, kind: Any) -> Any:
    """What is added to the weights of keys so that unseen ones count for nothing."""
    none = torch.zeros(length, keys, dtype=kind)
    return none.masked_fill(~_seen_at(length, keys, window), torch.finfo(kind).min)


def _has_kernel(query: Any, ask: _Asked) -> bool:
    return bool(query.is_cuda and query.dtype in HALVES and not ask.dropout)


def _by_kernel(states: tuple[Any, Any, Any], ask: _Asked, borders: Borders) -> Any:
    """All rows in one call, by torch's attention over rows of several lengths (CUDA)."""
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = (one[0].transpose(0, 1).contiguous() for one in states)
    longest = max(borders.lengths)
    read: Any = varlen_attn(
        query,
        key,
        value,
        borders.places,
        borders.places,
        longest,
        longest,
        scale=ask.scaling,
        window_size=(-1 if ask.sliding_window is None else ask.sliding_window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return read.unsqueeze(0)
