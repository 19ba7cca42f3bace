"""A live engine and a tokenizer for tests, which need no model: see `testing.py`.

Ids are bytes, so that every text comes back as it was and a character may take several tokens, as
in real models. Nothing here is used outside tests.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .core import Json, Message
from .models.live import Load, Made, Prompt, Sink, Ticket, Token

__all__ = ["FakeEngine", "FakeTokenizer", "smallest"]

_BLOCK = 16  # tokens; of the prompts seen before, whole blocks are told as cached
_BLOCKS_KEPT = 4096


@dataclass(frozen=True)
class FakeTokenizer:
    """What `LocalTokenizer` offers, over bytes: ids 0 to 255 are bytes, those above are special.

    A conversation is `<role>text<end>` for each turn, and `<assistant>` to be gone on with.
    """

    context_tokens: int = 8192
    eos_id: int = 256
    pad_id: int = 256
    special_tokens: tuple[str, ...] = ("<end>", "<system>", "<user>", "<assistant>", "<function>")

    def chat_ids(
        self, messages: Sequence[Message], *, add_generation_prompt: bool = True
    ) -> list[int]:
        """The ids of a conversation; a special token's name in a text stays plain text."""
        ids: list[int] = []
        for message in messages:
            ids += [self._special(message.role), *_text(message).encode(), self.eos_id]
        return [*ids, self._special("assistant")] if add_generation_prompt else ids

    def batch_chat_ids(
        self, conversations: Sequence[Sequence[Message]], *, add_generation_prompt: bool = True
    ) -> list[list[int]]:
        """The ids of each conversation."""
        made = add_generation_prompt
        return [self.chat_ids(each, add_generation_prompt=made) for each in conversations]

    def encode(self, text: str) -> list[int]:
        """The bytes of text."""
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, without special tokens."""
        return bytes(id for id in ids if id < 256).decode(errors="replace")

    def completion_ids(self, text: str) -> list[int]:
        """The ids to go on from where there is no conversation."""
        return self.encode(text) or [self.eos_id]

    @property
    def is_byte_level(self) -> bool:
        """That it is."""
        return True

    def is_byte_token(self, id: int) -> bool:
        """Every one that is not special."""
        return id < 256

    def token_bytes(self, id: int) -> bytes:
        """The bytes of one token; none of a special one."""
        return bytes([id]) if id < 256 else b""

    def last_text(self, ids: Sequence[int]) -> str:
        """What the last user's turn among the ids says; without one, all of it."""
        turns = [place for place, id in enumerate(ids) if id == self._special("user")]
        if not turns:
            return self.decode(ids)
        rest = list(ids[turns[-1] :])
        return self.decode(rest[: rest.index(self.eos_id)] if self.eos_id in rest else rest)

    def _special(self, name: str) -> int:
        return 256 + self.special_tokens.index(f"<{name}>")


def _echo(prompt: Prompt) -> Sequence[int]:
    return FakeTokenizer().last_text(prompt.ids).encode()


@dataclass
class _Sequence:
    prompt: Prompt
    sink: Sink
    started: float
    tokens: deque[Token] = field(default_factory=deque)
    waited: float = 0.0
    cached: int = 0
    made: int = 0
    next_at: float = 0.0
    cancelled: bool = False
    error: str | None = None


class FakeEngine:
    """A `LiveEngine` that answers by function, at a pace.

    `reply(prompt)` gives the ids to make, or raises to make the sequence fail; without one the last
    user's turn is said back. An answer outside of the prompt's schema or choices is replaced by the
    smallest one inside; a grammar is not looked at. `tokens_per_second` is the pace of each
    sequence, 0 as fast as it can. Log-probabilities are made up, but consistent. What shares its
    beginning with earlier prompts is told as cached. `seen` keeps the last prompts.
    """

    def __init__(
        self,
        reply: Callable[[Prompt], Sequence[int]] = _echo,
        *,
        tokens_per_second: float = 0.0,
        most_running: int = 32,
        keep_seen: int = 1000,
        enforces: bool = True,
    ) -> None:
        self.reply = reply
        self.enforces = enforces
        self.tokens_per_second = tokens_per_second
        self.seen: deque[Prompt] = deque(maxlen=keep_seen)
        self._most_running = most_running
        self._changed = threading.Condition()
        self._waiting: OrderedDict[Ticket, _Sequence] = OrderedDict()
        self._running: dict[Ticket, _Sequence] = {}
        self._blocks: OrderedDict[int, None] = OrderedDict()
        self._last = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="fake-engine", daemon=True)
        self._thread.start()

    @classmethod
    def saying(cls, text: str | Callable[[str], str], **options: Any) -> FakeEngine:
        """One that says `text`, or what `text` makes of the last user's turn; a `FakeTokenizer`
        turns it into ids.
        """  # noqa: D205
        tokenizer = FakeTokenizer()

        def reply(prompt: Prompt) -> Sequence[int]:
            said = text if isinstance(text, str) else text(tokenizer.last_text(prompt.ids))
            return tokenizer.encode(said)

        return cls(reply, **options)

    def start(self, prompt: Prompt, sink: Sink) -> Ticket:
        with self._changed:
            if self._closed:
                raise RuntimeError("the engine is closed")
            self._last += 1
            self._waiting[self._last] = _Sequence(prompt, sink, time.monotonic())
            self._changed.notify()
            return self._last

    def cancel(self, ticket: Ticket) -> None:
        with self._changed:
            sequence = self._waiting.get(ticket) or self._running.get(ticket)
            if sequence is not None:
                sequence.cancelled = True
                self._changed.notify()

    def load(self) -> Load:
        with self._changed:
            return Load(len(self._running), len(self._waiting), self._most_running)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    # --- on the engine's own thread ---------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._has_work, timeout=self._until_next())
                closed = self._closed
                for sequence in [*self._waiting.values(), *self._running.values()]:
                    sequence.cancelled = sequence.cancelled or closed
                dropped = [key for key, each in self._waiting.items() if each.cancelled]
                due = [(key, self._waiting.pop(key)) for key in dropped]
                while self._waiting and len(self._running) < self._most_running:
                    ticket, sequence = self._waiting.popitem(last=False)
                    self._running[ticket] = sequence
                due += self._running.items()
            for ticket, sequence in due:
                if self._advance(sequence):
                    with self._changed:
                        self._running.pop(ticket, None)
            if closed:
                return

    def _has_work(self) -> bool:
        room = bool(self._waiting) and len(self._running) < self._most_running
        at_once = self._running and not self.tokens_per_second
        gone = any(each.cancelled for each in (*self._waiting.values(), *self._running.values()))
        return bool(room or at_once or gone or self._closed or self._until_next() == 0.0)

    def _until_next(self) -> float | None:
        """Seconds until a sequence is due; None when none runs."""
        due = [sequence.next_at for sequence in self._running.values()]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _advance(self, sequence: _Sequence) -> bool:
        """Make the next token if it is due; whether the sequence is over."""
        now = time.monotonic()
        if sequence.cancelled:
            sequence.sink(self._made(sequence, (), "cancelled"))
            return True
        if not sequence.next_at:
            self._begin(sequence, now)
        if now < sequence.next_at:
            return False
        if sequence.error is not None:
            sequence.sink(self._made(sequence, (), "error"))
            return True
        tokens = (sequence.tokens.popleft(),) if sequence.tokens else ()
        sequence.made += len(tokens)
        if self.tokens_per_second:
            sequence.next_at += 1 / self.tokens_per_second
        full = sequence.made >= sequence.prompt.max_output_tokens
        finish = (
            ("length" if sequence.tokens and full else "stop") if self._over(sequence) else None
        )
        sequence.sink(self._made(sequence, tokens, finish))
        return finish is not None

    def _over(self, sequence: _Sequence) -> bool:
        return not sequence.tokens or sequence.made >= sequence.prompt.max_output_tokens

    def _begin(self, sequence: _Sequence, now: float) -> None:
        prompt = sequence.prompt
        self.seen.append(prompt)
        sequence.waited = now - sequence.started
        sequence.cached = self._cached(prompt.ids)
        pause = 1 / self.tokens_per_second if self.tokens_per_second else 0.0
        sequence.next_at = now + pause
        try:
            if not prompt.ids:
                raise ValueError("the prompt has no tokens")
            said = self.reply(prompt)
            ids = _within(prompt, said) if self.enforces else said
        except Exception as error:  # a fake of a failing engine: whatever it raises is its failure
            sequence.error = repr(error)
        else:
            sequence.tokens.extend(_tokens(ids, prompt.top_logprobs))

    def _cached(self, ids: Sequence[int]) -> int:
        """How many tokens at the beginning are whole blocks of earlier prompts; keeps these."""
        found, key, still = 0, 0, True
        for end in range(_BLOCK, len(ids), _BLOCK):
            key = hash((key, tuple(ids[end - _BLOCK : end])))
            still = still and key in self._blocks
            found = end if still else found
            self._blocks[key] = None
            self._blocks.move_to_end(key)
        while len(self._blocks) > _BLOCKS_KEPT:
            self._blocks.popitem(last=False)
        return found

    def _made(self, sequence: _Sequence, tokens: tuple[Token, ...], finish: Any) -> Made:
        with_logprobs = sequence.prompt.top_logprobs is not None
        return Made(
            tokens,
            finish,
            error=sequence.error if finish == "error" else None,
            seconds=time.monotonic() - sequence.started,
            waited_seconds=sequence.waited,
            compute_seconds=0.0,
            cached_tokens=sequence.cached,
            end_logprob=_CHOSEN if finish == "stop" and with_logprobs else None,
        )


def smallest(schema: Mapping[str, Json], root: Mapping[str, Json] | None = None) -> Json:
    """A small value that a plain JSON schema accepts; patterns are not looked at."""
    root = schema if root is None else root
    if "$ref" in schema:
        found: Json = root
        for name in str(schema["$ref"]).removeprefix("#/").split("/"):
            found = found[name]
        return smallest(found, root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return smallest(schema[key][0], root)
    kind = schema.get("type", "object" if "properties" in schema else "null")
    return _smallest_of(kind[0] if isinstance(kind, list) else kind, schema, root)


def _smallest_of(kind: str, schema: Mapping[str, Json], root: Mapping[str, Json]) -> Json:
    if kind == "object":
        properties = schema.get("properties", {})
        required = schema.get("required", ())
        return {name: smallest(properties.get(name, {}), root) for name in required}
    if kind == "array":
        return [smallest(schema.get("items", {}), root)] * int(schema.get("minItems", 0))
    if kind == "string":
        return "a" * int(schema.get("minLength", 0))
    if kind in ("integer", "number"):
        low = schema.get("minimum", 0)
        return max(math.ceil(low), 0) if kind == "integer" else max(low, 0)
    return {"boolean": False, "null": None}[kind]


def _within(prompt: Prompt, ids: Sequence[int]) -> Sequence[int]:
    tokenizer = FakeTokenizer()
    if prompt.choices:
        said = tokenizer.decode(ids)
        return ids if said in prompt.choices else tokenizer.encode(prompt.choices[0])
    if prompt.schema is None:
        return ids
    import jsonschema

    try:
        jsonschema.validate(json.loads(tokenizer.decode(ids)), prompt.schema)
    except (ValueError, jsonschema.ValidationError):
        return tokenizer.encode(json.dumps(smallest(prompt.schema)))
    return ids


def _tokens(ids: Sequence[int], top: int | None) -> list[Token]:
    if top is None:
        return [Token(id) for id in ids]
    return [Token(id, _CHOSEN, _top(id, top)) for id in ids]


_CHOSEN = math.log(0.9)


def _top(id: int, count: int) -> tuple[tuple[int, float], ...]:
    """The chosen one with probability 0.9, then bytes near it with half of what is left each."""
    others = [((id + place) % 256, math.log(0.1 / 2**place)) for place in range(1, count)]
    return ((id, _CHOSEN), *others)[:count]


def _text(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    return "".join(part.text for part in message.content)
