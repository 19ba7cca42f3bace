"""Tuned models out of the database: an adapter each, on the engine of their base.

The adapter's files are fetched when a model is first asked (`adapters.py`). Nothing here trains.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from ...core import Message
from ...database.records import TunedModel
from ...errors import StoreError
from .. import Ask, Event, ModelCard, Refusal, ServedModel
from .adapters import AdapterCache, Files
from .local import LocalServed

__all__ = ["Shelf", "TunedModels", "TunedServed"]

FRESH_SECONDS = 2.0  # so long what the database said of a model holds
MARK_SECONDS = 60.0  # an adapter that is asked all the time is noted so often
MOST_KNOWN = 4096  # tuned models that are remembered between calls


class Shelf(Files, Protocol):
    """Where tuned models and their files are; the database is one."""

    def tuned(self, id: str) -> TunedModel | None: ...

    def tuned_models(
        self, *, owner: str | None = None, after: str | None = None, limit: int = 100
    ) -> list[TunedModel]: ...


class TunedServed:
    """A tuned model; `fetch()` gives the folder of its adapter.

    `mark(folder)` notes that it is asked, and says whether it is still there.
    """

    def __init__(
        self,
        card: ModelCard,
        base: LocalServed,
        fetch: Callable[[], Path],
        mark: Callable[[Path], bool],
    ) -> None:
        self.card = card
        self._base = base
        self._fetch = fetch
        self._mark = mark
        self._marked = -math.inf
        self._fetching: asyncio.Task[LocalServed] | None = None

    async def generate(self, ask: Ask) -> AsyncIterator[Event]:
        """As `LocalServed`; raises Refusal (unavailable) when its adapter cannot be had."""
        served = await self._ready()
        async with aclosing(served.generate(ask)) as events:  # type: ignore[type-var]
            async for event in events:
                yield event

    async def count_tokens(self, ask: Ask) -> int:
        """How many input tokens this is: as for its base."""
        return await self._base.count_tokens(ask)

    async def tokens(self, ask: Ask) -> list[tuple[int, bytes]]:
        """The tokens of the texts themselves: as for its base."""
        return await self._base.tokens(ask)

    def text_of(self, ids: Sequence[int]) -> str:
        """The text of token ids: as for its base."""
        return self._base.text_of(ids)

    async def keep(self, messages: Sequence[Message]) -> None:
        """Compute a conversation's beginning ahead of its use."""
        await (await self._ready()).keep(messages)

    async def _ready(self) -> LocalServed:
        """The model with its adapter, fetched once for all who wait for it."""
        if self._fetching is None or (self._fetching.done() and self._is_gone(self._fetching)):
            self._fetching = asyncio.ensure_future(self._load())
        return await asyncio.shield(self._fetching)

    def _is_gone(self, fetched: asyncio.Task[LocalServed]) -> bool:
        """Whether it could not be fetched, or made room for others since."""
        if fetched.exception() is not None:
            return True
        if time.monotonic() < self._marked + MARK_SECONDS:
            return False
        self._marked = time.monotonic()
        adapter = fetched.result().adapter
        return adapter is None or not self._mark(adapter)

    async def _load(self) -> LocalServed:
        try:
            adapter = await asyncio.to_thread(self._fetch)
        except (StoreError, OSError) as error:
            raise Refusal(
                "unavailable",
                f"the adapter of {self.card.name!r} cannot be had: {error}",
                hint="ask again; if it stays so, tune the model anew",
            ) from error
        base = self._base
        return LocalServed(self.card, base.engine, base.tokenizer, adapter=adapter)


@dataclass(frozen=True)
class _Known:
    record: TunedModel
    model: TunedServed
    until: float


class TunedModels:
    """The tuned models of a database by their ids; a `Source` of served models.

    `base(name)` is the served model of an open one, `local:...`, or None where it is not served
    here. `cache` keeps the adapters. A change in the database is seen within `FRESH_SECONDS`.
    """

    def __init__(
        self,
        shelf: Shelf,
        base: Callable[[str], LocalServed | None],
        cache: AdapterCache,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shelf = shelf
        self._base = base
        self._cache = cache
        self._clock = clock
        self._known: dict[str, _Known] = {}

    def get(self, name: str) -> ServedModel | None:
        """The tuned model with this id.

        Raises Refusal (unavailable) when its base model is not served here.
        """
        if not (name.isascii() and name.isdigit()):
            return None
        known = self._known.get(name)
        if known is not None and self._clock() < known.until:
            return known.model
        record = self._shelf.tuned(name)
        if record is None:
            self._known.pop(name, None)
            return None
        model = known.model if known is not None and _same(known.record, record) else None
        if model is None:
            model = self._open(record)
        model.card = _card(record, self._base(record.model))
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[name] = _Known(record, model, self._clock() + FRESH_SECONDS)
        return model

    def cards(self, owner: str | None) -> Sequence[ModelCard]:
        """Of the owner's, the newest first; None is everybody's. Reads the database."""
        found: list[ModelCard] = []
        after: str | None = None
        while page := self._shelf.tuned_models(owner=owner, after=after):
            found += [_card(record, self._base(record.model)) for record in page]
            after = page[-1].id
        return found

    def _open(self, record: TunedModel) -> TunedServed:
        base = self._base(record.model)
        if base is None:
            raise Refusal(
                "unavailable",
                f"the base model {record.model!r} of {record.id!r} is not served here",
                hint="add it to the server's base_models",
            )
        cache = self._cache
        fetch = partial(cache.fetch, self._shelf, record)
        return TunedServed(_card(record, base), base, fetch, cache.mark)


def _same(one: TunedModel, other: TunedModel) -> bool:
    return replace(one, updated_at=other.updated_at) == other


def _card(record: TunedModel, base: LocalServed | None) -> ModelCard:
    files = " ".join(record.files[name] for name in sorted(record.files))
    return ModelCard(
        record.id,
        "tuned",
        record.created_at,
        version=hashlib.sha256(files.encode()).hexdigest()[:16],
        title=record.name,
        description=record.description,
        base=record.base,
        context_tokens=base.card.context_tokens if base else None,
        most_output_tokens=base.card.most_output_tokens if base else None,
        owner=record.owner,
        facts={"job": record.job, "labels": dict(record.labels)},
    )
