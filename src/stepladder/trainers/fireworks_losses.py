"""The losses of a tuning job of Fireworks, from the file of metrics that the service keeps of it.

The SDK tells the file's address, which is signed: it lets in whoever has it, so no key is sent and
the address is shown to nobody. The file is JSON lines, a step each. No document says what is in
them: the names are those that other people's programs read. Never run against Fireworks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from ..core import LearningPoint
from ..models.openai.endpoints import is_loopback

__all__ = ["FireworksLosses", "LossesUnread", "curve_of"]

MOST_BYTES = 16 * 1024 * 1024
_READ_SECONDS = 30.0
_NAMES = {"train/loss": "train", "eval/loss": "held_out", "train/epoch": "epoch"}


class LossesUnread(Exception):
    """Why there are no losses, in words without the address."""


class FireworksLosses:
    """Reads such files through an HTTP client of the SDK's kind; `local`: from this machine."""

    def __init__(self, sdk: Any, *, local: bool) -> None:
        self._local = local
        self._http = sdk.DefaultHttpxClient(
            follow_redirects=False, timeout=_READ_SECONDS, trust_env=not local
        )

    def curve(self, address: str) -> list[LearningPoint]:
        """The points told so far; raises LossesUnread."""
        parts = urlsplit(address)
        here = self._local and is_loopback(parts.hostname or "")
        if parts.scheme != "https" and not here:
            raise LossesUnread("the service names a place that is not https")
        try:
            text = self._read(address)
        except LossesUnread:
            raise
        except Exception as error:  # the HTTP package's, whose words may hold the address
            raise LossesUnread(type(error).__name__) from None
        return curve_of(text)

    def _read(self, address: str) -> str:
        with self._http.stream("GET", address) as response:
            if response.status_code != 200:
                raise LossesUnread(f"{response.status_code}")
            content = bytearray()
            for piece in response.iter_bytes():
                content += piece
                if len(content) > MOST_BYTES:
                    raise LossesUnread(f"the file is longer than {MOST_BYTES // 2**20} MiB")
        return content.decode(errors="replace")

    def close(self) -> None:
        self._http.close()


def curve_of(text: str) -> list[LearningPoint]:
    """The steps with a training loss, in order; raises LossesUnread when no line has one."""
    steps: dict[int, dict[str, float]] = {}
    for row in _rows(text):
        step = row.get("step")
        if isinstance(step, int):
            steps.setdefault(step, {}).update(_told(row))
    curve = [
        LearningPoint(step, told.get("epoch", 0.0), told["train"], told.get("held_out"))
        for step, told in sorted(steps.items())
        if "train" in told
    ]
    if not curve and text.strip():
        raise LossesUnread("they are in no form that is known here")
    return curve


def _rows(text: str) -> Iterator[Mapping[str, Any]]:
    """The lines that are whole; the last may be under way. Some have their values in `data`."""
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            inner = row.get("data")
            yield {**inner, "step": row.get("step")} if isinstance(inner, dict) else row


def _told(row: Mapping[str, Any]) -> dict[str, float]:
    found = {short: row.get(name) for name, short in _NAMES.items()}
    return {
        short: float(value)
        for short, value in found.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
