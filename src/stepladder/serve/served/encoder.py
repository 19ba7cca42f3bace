"""The small text encoder as a served model: it embeds, and answers nothing.

Callers at the same time are embedded in one batch. The vectors are those that a climb uses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ...embeddings import DIMENSIONS, ENCODER
from ...errors import StepladderError
from .. import Ask, Embedded, Event, ModelCard, Refusal

__all__ = ["ENCODER_NEEDS", "NAME", "EncoderServed"]

NAME = "all-minilm-l6-v2"
ENCODER_NEEDS = ("torch", "transformers", "tokenizers", "safetensors")
MOST_AT_ONCE = 256  # texts of one batch; more would keep those who come later waiting


@dataclass(frozen=True)
class _Waiting:
    texts: Sequence[str]
    done: asyncio.Future[tuple[list[list[float]], list[int]]]


def _embed(texts: Sequence[str]) -> tuple[Any, list[int]]:
    from ...embeddings import embed, token_counts

    return embed(texts), token_counts(texts)


class EncoderServed:
    """Embeds in `threads`, which should be one: the encoder uses all cores by itself.

    `embed(texts)` gives one vector and one number of tokens per text.
    """

    def __init__(
        self,
        threads: Executor,
        embed: Callable[[Sequence[str]], tuple[Any, list[int]]] = _embed,
    ) -> None:
        self.card = ModelCard(
            NAME,
            "encoder",
            datetime.now(UTC),
            version=ENCODER.sha256[:16],
            title="MiniLM-L6",
            description="embeds texts of up to 256 tokens; what goes beyond is not seen",
            context_tokens=256,
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
        return sum((await self.embed(texts, None)).tokens)

    async def embed(self, texts: Sequence[str], dimensions: int | None) -> Embedded:
        """One unit vector per text.

        Raises Refusal for other dimensions than its own: its vectors mean nothing when cut.
        """
        if dimensions not in (None, DIMENSIONS):
            raise Refusal(
                "invalid",
                f"the vectors of {NAME!r} have {DIMENSIONS} dimensions and cannot be cut to "
                f"{dimensions}",
                hint=f"leave it out, or say {DIMENSIONS}",
                param="dimensions",
            )
        waiting = _Waiting(texts, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._working is None:
            self._working = asyncio.ensure_future(self._work())
        vectors, tokens = await waiting.done
        return Embedded(vectors, tokens)

    async def _work(self) -> None:
        """Embed until nobody waits any more."""
        try:
            while self._waiting:
                batch = self._next_batch()
                if batch:
                    await self._run(batch)
        finally:
            self._working = None

    def _next_batch(self) -> list[_Waiting]:
        """Those who came first, of whom the first is taken however much it wants."""
        batch: list[_Waiting] = []
        size = 0
        while self._waiting and (not batch or size + len(self._waiting[0].texts) <= MOST_AT_ONCE):
            waiting = self._waiting.pop(0)
            if not waiting.done.done():  # whoever left is not worked for
                batch.append(waiting)
                size += len(waiting.texts)
        return batch

    async def _run(self, batch: Sequence[_Waiting]) -> None:
        texts = [text for waiting in batch for text in waiting.texts]
        loop = asyncio.get_running_loop()
        try:
            vectors, tokens = await loop.run_in_executor(self._threads, self._embed, texts)
        except StepladderError as error:
            self._refuse(batch, Refusal("unavailable", error.message, hint=error.hint))
            return
        except Exception as error:  # each of those who wait has to hear of it
            self._refuse(batch, error)
            return
        start = 0
        for waiting in batch:
            end = start + len(waiting.texts)
            if not waiting.done.done():
                waiting.done.set_result((vectors[start:end].tolist(), tokens[start:end]))
            start = end

    def _refuse(self, batch: Sequence[_Waiting], error: Exception) -> None:
        for waiting in batch:
            if not waiting.done.done():
                waiting.done.set_exception(error)
