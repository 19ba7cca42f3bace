"""How many tokens a text is for a model whose tokenizer is not here: an estimate without a call.

Bytes over a ratio: at first what English takes, then what the first real answers reported. It is
learnt once and kept beside the jobs, so that a climb that is resumed counts as it did before and
chooses the same. Money never comes from here: it is computed from reported usage.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

from ...core import Message, Part, Request, Usage

__all__ = ["TokenEstimate", "open_estimate"]

BYTES_PER_TOKEN = 4.0  # of English, with the vocabularies of today's large models
TURN_TOKENS = 4  # what marks the beginning and the end of a turn
MEDIA_TOKENS = 258  # an image or a page; sound and video take as many for a few seconds
ENOUGH_ANSWERS = 20
LEAST, MOST = 0.5, 16.0  # bytes per token: no text takes more or less, whatever is reported


def open_estimate(model: str, folder: Path) -> TokenEstimate:
    """The estimate for a model, with the ratio that an earlier run left in `folder`.

    An unset folder (`Path()`) keeps nothing.
    """
    if folder == Path():
        return TokenEstimate()
    return TokenEstimate(folder / f"tokens-{re.sub(r'[^A-Za-z0-9.]+', '-', model)[-80:]}.json")


class TokenEstimate:
    """Counts tokens by bytes; the first answers that are given to `learn` set the ratio."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._seen = self._bytes = self._counted = 0
        found = _read(path)
        self._learning = found is None
        self.bytes_per_token = found or BYTES_PER_TOKEN

    def count(self, messages: Sequence[Message]) -> int:
        """About how many input tokens these messages are; at least one."""
        text, other = _measure(messages)
        return max(1, math.ceil(text / self.bytes_per_token + other))

    def learn(self, request: Request, usage: Usage) -> None:
        """Take what a service counted into account, where it counted nothing but text."""
        if not self._learning or usage.input_tokens is None or _is_more_than_text(request):
            return
        text, other = _measure(request.messages)
        if text == 0 or usage.input_tokens <= other:
            return
        self._seen += 1
        self._bytes += text
        self._counted += usage.input_tokens - other
        if self._seen == ENOUGH_ANSWERS:
            self._learning = False
            self.bytes_per_token = min(MOST, max(LEAST, self._bytes / self._counted))
            _write(self._path, self.bytes_per_token)


def _measure(messages: Sequence[Message]) -> tuple[int, int]:
    """Bytes of text, and the tokens of everything else."""
    text, other = 0, 0
    for message in messages:
        other += TURN_TOKENS
        content = message.content
        for part in (Part("text", content),) if isinstance(content, str) else content:
            if part.kind == "text":
                text += len(part.text.encode())
            else:
                other += MEDIA_TOKENS
        text += sum(len(f"{call.name}{dict(call.arguments)}".encode()) for call in message.calls)
    return text, other


def _is_more_than_text(request: Request) -> bool:
    return bool(request.functions or request.schema) or any(
        part.kind != "text"
        for message in request.messages
        if not isinstance(message.content, str)
        for part in message.content
    )


def _read(path: Path | None) -> float | None:
    """The ratio that was kept; None when there is none that can be used."""
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path else None
    except (OSError, ValueError):
        return None
    known = found.get("bytes_per_token") if isinstance(found, dict) else None
    return float(known) if isinstance(known, int | float) and LEAST <= known <= MOST else None


def _write(path: Path | None, ratio: float) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}-{os.getpid()}")
    scratch.write_text(json.dumps({"bytes_per_token": ratio}) + "\n", encoding="utf-8")
    os.replace(scratch, path)
