"""What a model is asked and what it says, in no protocol's words."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

__all__ = ["Asked", "Called", "Declared", "Refused", "Said", "Token", "count", "cut", "token_id"]

# A token is up to five letters or digits, or one other character, with the white space before it.
_TOKEN = re.compile(r"\s*(?:\w{1,5}|[^\w\s])|\s+")


@lru_cache(maxsize=10_000)
def cut(text: str) -> tuple[str, ...]:
    """The text as tokens; joined they are the text again."""
    return tuple(_TOKEN.findall(text))


@lru_cache(maxsize=1_000)
def count(text: str) -> int:
    """How many tokens a text is."""
    return sum(1 for _ in _TOKEN.finditer(text))


def token_id(token: str) -> int:
    return zlib.crc32(token.encode()) & 0x3FFFF


class Refused(Exception):
    """The service does not do this: told to the caller as an error of its protocol."""

    def __init__(self, status: int, message: str, reason: str = "", *, param: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.reason = reason
        self.param = param


@dataclass(frozen=True)
class Declared:
    """A function that may be called."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Called:
    """A function that the model asks for."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """One request. Turns are (role, text), the role one of "user", "assistant" and "function".

    `thinking` is a bound in tokens; 0 is none.
    """

    model: str
    system: str
    turns: tuple[tuple[str, str], ...]
    choices: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    json: bool = False
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    seed: int | None = None
    functions: tuple[Declared, ...] = ()
    calling: Literal["auto", "any", "none"] = "auto"
    thinking: int = 0
    top_logprobs: int = 0
    media: Mapping[str, int] = field(default_factory=dict)  # tokens by modality, without text
    overhead: int = 0  # tokens of what is neither turn nor system: declarations, schema


@dataclass(frozen=True)
class Token:
    """A token said, with the most probable ones in its place."""

    text: str
    logprob: float
    top: Sequence[tuple[str, float]] = ()


@dataclass(frozen=True)
class Said:
    """An answer. Its `tokens` joined are its text."""

    tokens: tuple[Token, ...]
    finish: Literal["stop", "length", "call"]
    prompt_tokens: int
    thought_tokens: int = 0
    calls: tuple[Called, ...] = ()

    @property
    def text(self) -> str:
        return "".join(token.text for token in self.tokens)

    @property
    def said_tokens(self) -> int:
        called = sum(count(f"{call.name}{call.arguments}") for call in self.calls)
        return len(self.tokens) + called
