"""How many tokens a text is for a model whose tokenizer is not here: an estimate, made better.

Bytes over a ratio that starts at what English takes and follows what real answers reported. Money
never comes from here: it is computed from reported usage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...core import Message, Part, Request, Usage

__all__ = ["TokenEstimate"]

BYTES_PER_TOKEN = 4.0  # of English with the vocabularies of today's large models
TURN_TOKENS = 4  # what marks the beginning and the end of a turn
MEDIA_TOKENS = 258  # an image or a page; sound and video take as many for a few seconds
PRIOR_BYTES = 2000.0  # how much text the first ratio is worth


class TokenEstimate:
    """Counts tokens by bytes; `learn` corrects the ratio."""

    def __init__(self) -> None:
        self._bytes = PRIOR_BYTES
        self._counted = PRIOR_BYTES / BYTES_PER_TOKEN

    def count(self, messages: Sequence[Message]) -> int:
        """About how many input tokens these messages are; at least one."""
        text, other = _measure(messages)
        return max(1, math.ceil(text * self._counted / self._bytes + other))

    def learn(self, request: Request, usage: Usage) -> None:
        """Take what a service counted into account, where it counted text alone."""
        if usage.input_tokens is None or request.functions or request.schema or _media(request):
            return
        text, other = _measure(request.messages)
        counted = usage.input_tokens - other
        if text and counted > 0:
            self._bytes += text
            self._counted += counted


def _measure(messages: Sequence[Message]) -> tuple[int, int]:
    """Bytes of text, and the tokens of everything else."""
    text, other = 0, 0
    for message in messages:
        other += TURN_TOKENS
        parts = (
            (Part("text", message.content),)
            if isinstance(message.content, str)
            else (message.content)
        )
        for part in parts:
            if part.kind == "text":
                text += len(part.text.encode())
            else:
                other += MEDIA_TOKENS
        text += sum(len(f"{call.name}{dict(call.arguments)}".encode()) for call in message.calls)
    return text, other


def _media(request: Request) -> bool:
    return any(
        part.kind != "text"
        for message in request.messages
        if not isinstance(message.content, str)
        for part in message.content
    )
