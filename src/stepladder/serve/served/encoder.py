"""The small text encoder as a served model: it embeds, and answers nothing.

Callers at the same time are embedded in one batch, and whoever has many texts takes turns with the
others. The vectors are those that a climb uses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ...embeddings import DIMENSIONS, ENCODER, MAX_TOKENS
from ...errors import StepladderError
from .. import Ask, EmbedAsk, Embedded, Event, ModelCard, Refusal

__all__ = ["ENCODER_NEEDS", "NAME", "EncoderServed"]

NAME = "all-minilm-l6-v2"
ENCODER_NEEDS = ("torch", "transformers", "tokenizers", "safetensors")
MOST_AT_ONCE = 64  # texts of one batch: a few seconds, if they are long

Lengths = Sequence[tuple[int, bool]]  # of each text: the tokens that are read, and if it has more


@dataclass(frozen=True)
class _Waiting:
    """Somebody's texts, and what is known of them so far."""

    ask: EmbedAsk
    done: asyncio.Future[Embedded]
    vectors: list[list[float]] = field(default_factory=list)
    lengths: list[tuple[int, bool]] = field(default_factory=list)

    def next_texts(self, most: int) -> Sequence[str]:
        start = len(self.vectors)
        return self.ask.texts[start : start + most]

    def take(self, vectors: Any, lengths: Lengths) -> None:
        """Add what came of the next texts; the last ones end the waiting."""
        cut = next((place for place, (_, more) in enumerate(lengths) if more), None)
        if cut is not None and not self.ask.cut_long:
            self.done.set_exception(_too_long(len(self.vectors) + cut))
            return
        self.vectors.extend(vectors.tolist())
        self.lengths.extend(lengths)
        if len(self.vectors) == len(self.ask.texts):
            tokens, more = [one for one, _ in self.lengths], [one for _, one in self.lengths]
            self.done.set_result(Embedded(self.vectors, tokens, more))


def _embed(texts: Sequence[str]) -> tuple[Any, Lengths]:
    from ...embeddings import embed, lengths

    return embed(texts), lengths(texts)


class EncoderServed:
    """Embeds in `threads`, which should be one: the encoder uses all cores by itself.

    `embed(texts)` gives one vector per text, and for each its tokens and whether it has more.
    """

    def __init__(
        self,
        threads: Executor,
        embed: Callable[[Sequence[str]], tuple[Any, Lengths]] = _embed,
    ) -> None:
        self.card = ModelCard(
            NAME,
            "encoder",
            datetime.now(UTC),
            version=ENCODER.sha256[:16],
            title="MiniLM-L6",
            description=f"embeds texts of up to {MAX_TOKENS} tokens; what goes beyond is not seen",
            context_tokens=MAX_TOKENS,
            dimensions=DIMENSIONS,
        )
        self._threads = threads
        self._embed = embed
        self._waiting: list[_Waiting] = []
        self._working: asyncio.Task[None] | None = None

    def generate(self, ask: Ask) -> AsyncIterator[Event]:
        """Raises Refusal (unsupported): an encoder says nothing."""
        raise Refusal(
            "unsupported",
            f"the model {NAME!r} embeds texts and generates none",
            hint="ask it for embeddings, or another model for text",
            param="model",
        )

    async def count_tokens(self, ask: Ask) -> int:
        """The tokens of all texts together, as `embed` counts them."""
        said = [message.content for message in ask.messages] or [ask.prompt or ""]
        texts = [one if isinstance(one, str) else "".join(p.text for p in one) for one in said]
        return sum((await self.embed(EmbedAsk(NAME, texts))).tokens)

    async def embed(self, ask: EmbedAsk) -> Embedded:
        """One unit vector per text.

        Raises Refusal for other dimensions than its own, since its vectors mean nothing when cut,
        and for texts that are longer than it reads where they are not to be cut.
        """
        if ask.dimensions not in (None, DIMENSIONS):
            raise Refusal(
                "invalid",
                f"the vectors of {NAME!r} have {DIMENSIONS} dimensions and cannot be cut to "
                f"{ask.dimensions}",
                hint=f"leave it out, or say {DIMENSIONS}",
                param="dimensions",
            )
        if not ask.texts:
            return Embedded([], [], [])
        waiting = _Waiting(ask, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._working is None:
            self._working = asyncio.ensure_future(self._work())
        return await waiting.done

    async def _work(self) -> None:
        """Embed until nobody waits any more."""
        try:
            while batch := self._next_batch():
                await self._run(batch)
        finally:
            self._working = None

    def _next_batch(self) -> list[tuple[_Waiting, Sequence[str]]]:
        """The next texts of those who wait, as many of each; who had a turn goes to the end."""
        self._waiting = [one for one in self._waiting if not one.done.done()]  # some have left
        chosen = self._waiting[:MOST_AT_ONCE]
        self._waiting = self._waiting[MOST_AT_ONCE:] + chosen
        return [(one, one.next_texts(MOST_AT_ONCE // len(chosen))) for one in chosen]

    async def _run(self, batch: Sequence[tuple[_Waiting, Sequence[str]]]) -> None:
        texts = [text for _, some in batch for text in some]
        loop = asyncio.get_running_loop()
        try:
            vectors, lengths = await loop.run_in_executor(self._threads, self._embed, texts)
        except StepladderError as error:
            _refuse(batch, Refusal("unavailable", error.message, hint=error.hint))
            return
        except Exception as error:  # each of those who wait has to hear of it
            _refuse(batch, error)
            return
        start = 0
        for waiting, some in batch:
            end = start + len(some)
            if not waiting.done.done():
                waiting.take(vectors[start:end], lengths[start:end])
            start = end


def _refuse(batch: Sequence[tuple[_Waiting, Sequence[str]]], error: Exception) -> None:
    for waiting, _ in batch:
        if not waiting.done.done():
            waiting.done.set_exception(error)


def _too_long(place: int) -> Refusal:
    return Refusal(
        "invalid",
        f"the text number {place + 1} has more than the {MAX_TOKENS} tokens that {NAME!r} reads",
        hint="embed it in parts",
        param="input",
        detail="context_length",
    )
