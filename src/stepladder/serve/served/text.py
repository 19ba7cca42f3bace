"""Tokens to text as it becomes certain: whole characters, and nothing that a stop string may take.

Between an engine's tokens and the events of an answer. Knows no model, template or protocol.
"""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...core import Message
from ...models.live import Token
from .. import Spoken

__all__ = ["Said", "Speech", "TextTokenizer", "spoken"]


class TextTokenizer(Protocol):
    """What the text layer asks of a tokenizer; `LocalTokenizer` is one."""

    @property
    def eos_id(self) -> int: ...

    @property
    def context_tokens(self) -> int:
        """The most that prompt and answer may have together."""
        ...

    @property
    def is_byte_level(self) -> bool:
        """Whether the text of ids is that of their bytes, one after the other."""
        ...

    def chat_ids(
        self, messages: Sequence[Message], *, add_generation_prompt: bool = True
    ) -> list[int]: ...

    def completion_ids(self, text: str) -> list[int]:
        """The ids to go on from where there is no conversation; never none."""
        ...

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def is_byte_token(self, id: int) -> bool:
        """Whether the token is one byte of a character that has no token of its own."""
        ...

    def token_bytes(self, id: int) -> bytes:
        """The bytes that a token stands for; none of one that is not part of the text."""
        ...


@dataclass(frozen=True, slots=True)
class Said:
    """Text that is certain now, and the tokens that it ends, where they are wanted."""

    text: str = ""
    tokens: tuple[Spoken, ...] = ()


class Speech:
    """What one sequence says, piece by piece, up to the first of the `stops`.

    The pieces together are the decoding of all tokens, cut before the stop string that is complete
    first. With `tokens` each piece brings the tokens that begin in it.
    """

    def __init__(
        self, tokenizer: TextTokenizer, stops: Sequence[str] = (), *, tokens: bool = False
    ) -> None:
        self.stopped: str | None = None  # the stop string that ended it
        self.text = ""  # all that was certain so far
        self._tokenizer = tokenizer
        self._decoder = _ByBytes(tokenizer) if tokenizer.is_byte_level else _ByWindow(tokenizer)
        self._stops = _Stops(stops)
        self._wanted = tokens
        self._decoded = 0  # characters, of which the last may be held back
        self._unsettled: list[Spoken] = []  # tokens in the middle of a character
        self._settled: deque[tuple[int, Spoken]] = deque()  # with where they begin

    def push(self, tokens: Iterable[Token]) -> Said:
        """What more tokens make certain; nothing after a stop."""
        shown = ""
        for token in tokens:
            if self.stopped is None:
                shown += self._take(self._decoder.push(token.id), token)
        return self._said(shown)

    def close(self) -> Said:
        """What was held back, now that no more comes."""
        if self.stopped is not None:
            return Said()
        shown = self._take(self._decoder.close(), None)
        if self.stopped is None:
            shown += self._stops.close()
        self._settle()
        return self._said(shown)

    def _take(self, text: str, token: Token | None) -> str:
        if token is not None and self._wanted:
            self._unsettled.append(spoken(self._tokenizer, token))
        begin = self._decoded
        self._decoded += len(text)
        if text or not self._decoder.pending:
            self._settle(begin)
        shown = self._stops.push(text)
        self.stopped = self._stops.found
        return shown

    def _settle(self, begin: int | None = None) -> None:
        place = self._decoded if begin is None else begin
        self._settled.extend((place, token) for token in self._unsettled)
        self._unsettled.clear()

    def _said(self, shown: str) -> Said:
        self.text += shown
        ready: list[Spoken] = []
        # a token that begins where the text ends says nothing yet, or what is cut off
        over = self.stopped is None and len(self.text) == self._decoded
        while self._settled and (over or self._settled[0][0] < len(self.text)):
            ready.append(self._settled.popleft()[1])
        return Said(shown, tuple(ready))


def spoken(tokenizer: TextTokenizer, token: Token) -> Spoken:
    """A token as the caller sees it; its log-probability has to be known."""
    top = tuple(_one(tokenizer, id, logprob) for id, logprob in token.top)
    return _one(tokenizer, token.id, token.logprob or 0.0, top)


def _one(tokenizer: TextTokenizer, id: int, logprob: float, top: tuple[Spoken, ...] = ()) -> Spoken:
    data = tokenizer.token_bytes(id)
    return Spoken(id, data.decode(errors="replace"), data, logprob, top)


# --- tokens to characters -----------------------------------------------------------------------


class _ByBytes:
    """Of a byte-level vocabulary: the bytes decide, and only an open character is held back."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._bytes = tokenizer.token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def pending(self) -> bool:
        return bool(self._decoder.getstate()[0])

    def push(self, id: int) -> str:
        return self._decoder.decode(self._bytes(id))

    def close(self) -> str:
        return self._decoder.decode(b"", final=True)


_WINDOW = 32  # tokens


class _ByWindow:
    """Of any other: what decoding adds when a token is added, in a window of the last tokens.

    A byte token's character is open until another kind of token comes: one wrong byte makes
    replacement characters of a whole run of byte tokens.
    """

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []  # from the window's start
        self._told = 0  # of these ids
        self._text = ""  # of the told ones, decoded from the window's start
        self.pending = False

    def push(self, id: int) -> str:
        if not self._tokenizer.token_bytes(
            id
        ):  # a special token: at a window's start it would hide a leading space
            return ""
        self._ids.append(id)
        self.pending = self._tokenizer.is_byte_token(id)
        return "" if self.pending else self._tell()

    def close(self) -> str:
        self.pending = False
        return self._tell()

    def _tell(self) -> str:
        text = self._tokenizer.decode(self._ids)
        fresh = text[len(self._text) :]
        if len(self._ids) > _WINDOW:
            self._ids = self._ids[self._told :]
            text = self._tokenizer.decode(self._ids)
        self._told, self._text = len(self._ids), text
        return fresh


# --- stop strings -------------------------------------------------------------------------------


class _Stops:
    """Holds back what may become a stop string, and cuts at the one that is complete first."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.found: str | None = None
        self._stops = tuple(stop for stop in stops if stop)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""

    def push(self, text: str) -> str:
        if not self._stops or not text:
            return text
        text = self._held + text
        ends = [(text.find(stop) + len(stop), len(stop), stop) for stop in self._stops]
        complete = [(end, -size, stop) for end, size, stop in ends if stop in text]
        if complete:
            end, negative, self.found = min(complete)
            self._held = ""
            return text[: end + negative]
        keep = self._kept(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def close(self) -> str:
        held, self._held = self._held, ""
        return held

    def _kept(self, text: str) -> int:
        """How many characters at the end may be the beginning of a stop string."""
        for size in range(min(self._longest - 1, len(text)), 0, -1):
            if any(stop.startswith(text[-size:]) for stop in self._stops):
                return size
        return 0
