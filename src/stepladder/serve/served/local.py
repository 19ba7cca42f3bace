"""A base or tuned model as many callers see it: text over a live engine of token ids.

Renders with the same tokenizer and template as measuring does. Which models there are, and when
they are loaded, is for `directory.py`; what one candidate says for `candidate.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from ...core import Message
from ...errors import ModelError
from ...models.live import LiveEngine, Prompt
from ...models.local.functions import plain_messages
from .. import Ask, Event, ModelCard, Refusal, Totals
from . import PromptTooLong
from .candidate import Candidate, usage_of
from .planning import Plan, plan_for, prompt_ids
from .sampling_fields import LENGTHS, THINKING, unused
from .sequences import follow
from .text import TextTokenizer

__all__ = ["OUTPUT_TOKENS", "LocalServed"]

OUTPUT_TOKENS = 2048  # at most, where the caller does not say
_LONGEST_TOKEN = 128  # characters, of any vocabulary
_LONG = 50_000  # characters; more are made into tokens beside the loop, which others wait for


class LocalServed:
    """A model on a live engine, or with `adapter` (a folder) one that was tuned from it.

    `full_name` is `local:...`, by which it can be tuned.
    """

    def __init__(
        self,
        card: ModelCard,
        engine: LiveEngine,
        tokenizer: TextTokenizer,
        *,
        adapter: Path | None = None,
        full_name: str | None = None,
    ) -> None:
        self.card = card
        self.full_name = full_name or f"local:{card.name}"
        self.engine = engine
        self.tokenizer = tokenizer
        self.adapter = adapter

    async def generate(self, ask: Ask) -> AsyncIterator[Event]:
        """The answer's events; closing the iterator frees its places in the engine.

        Raises PromptTooLong and other Refusals before the first event, and during it where the
        engine fails.
        """
        ids = await self._ids(ask)
        room = self._room(len(ids), ask.max_output_tokens, _where(ask))
        plan = await self._plan(ask, ids, room)
        candidates = [Candidate(plan, index) for index in range(ask.n)]
        answering = follow(self.engine, candidates)
        try:
            async for event in answering:
                yield event
        finally:
            await answering.aclose()
        usage = usage_of(self.card.name, candidates)
        yield Totals(usage, (usage,), ignored=unused(ask.given, LENGTHS | THINKING))

    async def count_tokens(self, ask: Ask) -> int:
        """How many input tokens this is, with template and function declarations."""
        return len(await self._ids(ask))

    async def tokens(self, ask: Ask) -> list[tuple[int, bytes]]:
        """The tokens of the texts themselves, without the template, as (id, bytes)."""
        texts = [ask.prompt] if ask.prompt is not None else [_text(one) for one in ask.messages]
        self._refuse_huge(sum(map(len, texts)), _where(ask))
        ids = [id for text in texts for id in self.tokenizer.encode(text)]
        return [(id, self.tokenizer.token_bytes(id)) for id in ids]

    def text_of(self, ids: Sequence[int]) -> str:
        """The text of token ids, for callers who send them instead of text.

        Raises Refusal for an id that the model does not have.
        """
        try:
            return self.tokenizer.decode(ids)
        except (IndexError, OverflowError, TypeError, ValueError) as error:
            raise Refusal("invalid", f"{self.card.name!r} has no such token ids") from error

    async def keep(self, messages: Sequence[Message]) -> None:
        """Compute a conversation's beginning, so that answers to what follows it find it there."""
        ids = self.tokenizer.chat_ids(plain_messages(messages), add_generation_prompt=False)
        self._room(len(ids), None, "messages")
        plan = Plan(self.card.name, Prompt(tuple(ids), 1, adapter=self.adapter), self.tokenizer)
        async for _ in follow(self.engine, [Candidate(plan, 0)]):
            pass

    async def _ids(self, ask: Ask) -> Sequence[int]:
        size = len(ask.prompt or "") + sum(len(_text(message)) for message in ask.messages)
        self._refuse_huge(size, _where(ask))
        try:
            if size > _LONG or ask.functions:
                return await asyncio.to_thread(prompt_ids, self.tokenizer, ask)
            return prompt_ids(self.tokenizer, ask)
        except ModelError as error:
            raise Refusal("invalid", error.message, hint=error.hint, param=_where(ask)) from error

    async def _plan(self, ask: Ask, ids: Sequence[int], room: int) -> Plan:
        given = (ask, ids, room, self.tokenizer, self.adapter)
        if ask.schema is None and not ask.functions:
            return plan_for(*given)
        return await asyncio.to_thread(plan_for, *given)  # reading a schema may take long

    def _refuse_huge(self, characters: int, where: str) -> None:
        """Raise PromptTooLong for text that cannot fit whatever its tokens are.

        Making tokens of it would hold Python's lock for seconds, and so hold up everybody.
        """
        tokens = characters // _LONGEST_TOKEN
        if tokens > (context := self.tokenizer.context_tokens):
            raise PromptTooLong(self.card.name, tokens, context, param=where, at_least=True)

    def _room(self, tokens: int, wanted: int | None, where: str) -> int:
        """The most tokens to make: what is left of the context is all that there can be."""
        left = self.tokenizer.context_tokens - tokens
        if left < 1:
            raise PromptTooLong(self.card.name, tokens, self.tokenizer.context_tokens, param=where)
        return min(left, OUTPUT_TOKENS if wanted is None else wanted)


def _where(ask: Ask) -> str:
    return "messages" if ask.prompt is None else "prompt"


def _text(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    return "".join(part.text for part in message.content)
