"""A base or tuned model as many callers see it: text over a live engine of token ids.

Renders with the same tokenizer and template as measuring does. Which models there are, and when
they are loaded, is for `directory.py`; what one candidate says for `candidate.py`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from ...core import Function, Json, Message, Usage
from ...errors import ModelError
from ...models.live import LiveEngine, Made, Prompt, Sink, Ticket
from ...models.local.functions import calls_schema, plain_messages
from .. import Ask, Event, ModelCard, Refusal, Totals
from . import PromptTooLong
from .candidate import Candidate, Plan, total
from .text import TextTokenizer

__all__ = ["OUTPUT_TOKENS", "LocalServed", "follow"]

OUTPUT_TOKENS = 2048  # at most, where the caller does not say
_LONG = 50_000  # characters; more are made into tokens beside the loop, which others wait for

# what a caller may set that a model without thinking has no use for, as the protocols spell it
_THINKING = frozenset(
    {"reasoning_effort", "reasoningEffort", "thinkingConfig", "thinking_config", "thinkingBudget"}
)
_ANY_JSON: Mapping[str, Json] = {"type": "object"}


class LocalServed:
    """A model on a live engine, or with `adapter` (a folder) one that was tuned from it."""

    def __init__(
        self,
        card: ModelCard,
        engine: LiveEngine,
        tokenizer: TextTokenizer,
        *,
        adapter: Path | None = None,
    ) -> None:
        self.card = card
        self.engine = engine
        self.tokenizer = tokenizer
        self.adapter = adapter

    async def generate(self, ask: Ask) -> AsyncIterator[Event]:
        """The answer's events; closing the iterator frees its places in the engine.

        Raises PromptTooLong and other Refusals before the first event, and during it where the
        engine fails.
        """
        plan = self._plan(ask, await self._ids(ask))
        candidates = [Candidate(plan, index) for index in range(ask.n)]
        answering = follow(self.engine, candidates)
        try:
            async for event in answering:
                yield event
        finally:
            await answering.aclose()
        usage = self._usage(plan, candidates)
        ignored = tuple(sorted(ask.given & _THINKING))
        yield Totals(usage, (usage,), ignored=ignored)

    async def count_tokens(self, ask: Ask) -> int:
        """How many input tokens this is, with template and function declarations."""
        return len(await self._ids(ask))

    async def tokens(self, ask: Ask) -> list[tuple[int, bytes]]:
        """The tokens of the texts themselves, without the template, as (id, bytes)."""
        texts = [ask.prompt] if ask.prompt is not None else [_text(one) for one in ask.messages]
        ids = [id for text in texts for id in self.tokenizer.encode(text)]
        return [(id, self.tokenizer.token_bytes(id)) for id in ids]

    async def keep(self, messages: Sequence[Message]) -> None:
        """Compute a conversation's beginning, so that answers to what follows it find it there."""
        ids = self.tokenizer.chat_ids(plain_messages(messages), add_generation_prompt=False)
        self._room(len(ids), None, "messages")
        prompt = Prompt(tuple(ids), 1, adapter=self.adapter)
        plan = Plan(self.card.name, prompt, self.tokenizer)
        async for _ in follow(self.engine, [Candidate(plan, 0)]):
            pass

    async def _ids(self, ask: Ask) -> Sequence[int]:
        make = _rendering(self.tokenizer, ask)
        size = len(ask.prompt or "") + sum(len(_text(message)) for message in ask.messages)
        try:
            return await asyncio.to_thread(make) if size > _LONG else make()
        except ModelError as error:
            raise Refusal("invalid", error.message, hint=error.hint, param=_where(ask)) from error

    def _plan(self, ask: Ask, ids: Sequence[int]) -> Plan:
        functions, calls = _callable(ask)
        schema = _ANY_JSON if ask.any_json else ask.schema
        if calls == "always":
            schema = calls_schema(functions, parallel=ask.parallel_calls)
        prompt = Prompt(
            tuple(ids),
            self._room(len(ids), ask.max_output_tokens, _where(ask)),
            ask.sampling,
            schema,
            () if calls == "always" else ask.choices,
            top_logprobs=ask.top_logprobs,
            adapter=self.adapter,
        )
        return Plan(
            self.card.name, prompt, self.tokenizer, ask.stop, functions, calls, ask.parallel_calls
        )

    def _room(self, tokens: int, wanted: int | None, where: str) -> int:
        """The most tokens to make: what is left of the context is all that there can be."""
        left = self.tokenizer.context_tokens - tokens
        if left < 1:
            raise PromptTooLong(self.card.name, tokens, self.tokenizer.context_tokens, param=where)
        return min(left, OUTPUT_TOKENS if wanted is None else wanted)

    def _usage(self, plan: Plan, candidates: Sequence[Candidate]) -> Usage:
        cached = [one.cached_tokens for one in candidates if one.cached_tokens is not None]
        return Usage(
            self.card.name,
            input_tokens=len(plan.prompt.ids),
            output_tokens=sum(one.output_tokens for one in candidates),
            cached_tokens=min(cached) if cached else None,
            seconds=max(one.seconds for one in candidates),
            compute_seconds=total([one.compute_seconds for one in candidates]),
        )


def _rendering(tokenizer: TextTokenizer, ask: Ask) -> Callable[[], list[int]]:
    """What makes the ids of an ask, in this thread or another."""
    if ask.prompt is not None:
        text = ask.prompt
        return lambda: tokenizer.completion_ids(text)
    functions, calls = _callable(ask)
    messages = plain_messages(
        ask.messages, functions, required=calls == "always", parallel=ask.parallel_calls
    )
    return lambda: tokenizer.chat_ids(messages)


def _callable(
    ask: Ask,
) -> tuple[tuple[Function, ...], Literal["never", "maybe", "always"]]:
    """The functions that may be called, and whether one has to be."""
    if not ask.functions or ask.function_choice == "none":
        return (), "never"
    if ask.function_choice == "auto":
        return ask.functions, "maybe"
    allowed = ask.allowed_functions
    functions = [one for one in ask.functions if not allowed or one.name in allowed]
    return tuple(functions), "always"


def _where(ask: Ask) -> str:
    return "messages" if ask.prompt is None else "prompt"


def _text(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    return "".join(part.text for part in message.content)


# --- from the engine's thread to the loop -------------------------------------------------------


async def follow(
    engine: LiveEngine, candidates: Sequence[Candidate]
) -> AsyncGenerator[Event, None]:
    """The events of candidates side by side, each with its own sequence in the engine.

    Whatever ends it early, a failure of one or the caller's leaving, ends all the sequences.
    """
    inbox = _Inbox()
    running: dict[Ticket, Candidate] = {}

    def start(candidate: Candidate) -> None:
        box: list[Ticket] = []
        box.append(_start(engine, candidate.prompt, inbox.sink(box)))
        running[box[0]] = candidate

    try:
        for candidate in candidates:
            start(candidate)
        while running:
            for (ticket,), made in await inbox.take():
                if ticket not in running:
                    continue  # ended already: what was on its way is not part of the answer
                candidate = running[ticket]
                for event in candidate.take(made):
                    yield event
                if candidate.over or candidate.again:
                    del running[ticket]
                    engine.cancel(ticket)
                if candidate.again:
                    start(candidate)
    finally:
        for ticket in running:
            engine.cancel(ticket)


def _start(engine: LiveEngine, prompt: Prompt, sink: Sink) -> Ticket:
    try:
        return engine.start(prompt, sink)
    except RuntimeError as error:
        raise Refusal("unavailable", f"the model is not running: {error}") from error


class _Inbox:
    """What an engine's thread makes, handed to the loop that made the inbox."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._made: deque[tuple[list[Ticket], Made]] = deque()
        self._ready = asyncio.Event()
        self._told = False

    def sink(self, box: list[Ticket]) -> Sink:
        """Takes what is made for the ticket that will be in `box`."""

        def put(made: Made) -> None:
            self._made.append((box, made))
            if not self._told:  # one call wakes the loop for all that comes until it looks
                self._told = True
                with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    self._loop.call_soon_threadsafe(self._ready.set)

        return put

    async def take(self) -> list[tuple[list[Ticket], Made]]:
        """All that was made since the last time; waits for something."""
        while not self._made:
            await self._ready.wait()
            self._ready.clear()
            self._told = False
        taken = []
        while self._made:
            taken.append(self._made.popleft())
        return taken
