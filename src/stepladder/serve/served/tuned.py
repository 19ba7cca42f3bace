"""Tuned models out of the database: an adapter each, on the engine of their base.

The adapter's files are fetched when a model is first asked, into a folder that servers of one
machine share; their bytes are checked there. Nothing here trains.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from filelock import FileLock

from ...core import Message
from ...database.records import StoredFile, TunedModel
from ...errors import StoreError
from .. import Ask, Event, ModelCard, Refusal, ServedModel
from .local import LocalServed

__all__ = ["Shelf", "TunedModels", "TunedServed", "fetch_adapter"]

FILES = frozenset({"adapter_config.json", "adapter_model.safetensors"})
FRESH_SECONDS = 2.0  # so long what the database said of a model holds
MOST_KNOWN = 4096  # tuned models that are remembered between calls


class Shelf(Protocol):
    """Where tuned models and their files are; the database is one."""

    def tuned(self, id: str) -> TunedModel | None: ...

    def tuned_models(
        self, *, owner: str | None = None, after: str | None = None, limit: int = 100
    ) -> list[TunedModel]: ...

    def file(self, id: str) -> StoredFile | None: ...

    def read_file(self, id: str) -> Iterator[bytes]: ...


class TunedServed:
    """A tuned model; `fetch()` gives the folder of its adapter."""

    def __init__(self, card: ModelCard, base: LocalServed, fetch: Callable[[], Path]) -> None:
        self.card = card
        self._base = base
        self._fetch = fetch
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
        if self._fetching is None or (self._fetching.done() and self._fetching.exception()):
            self._fetching = asyncio.ensure_future(self._load())
        return await asyncio.shield(self._fetching)

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
    here. `folder` keeps the adapters. A change in the database is seen within `FRESH_SECONDS`.
    """

    def __init__(
        self,
        shelf: Shelf,
        base: Callable[[str], LocalServed | None],
        folder: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shelf = shelf
        self._base = base
        self._folder = folder
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
        return TunedServed(
            _card(record, base), base, lambda: fetch_adapter(self._shelf, record, self._folder)
        )


def fetch_adapter(shelf: Shelf, record: TunedModel, folder: Path) -> Path:
    """The folder of a tuned model's adapter below `folder`, fetched if it is not there yet.

    Raises StoreError when files are missing, damaged or not those of an adapter.
    """
    if set(record.files) != FILES:
        raise StoreError(
            f"the tuned model {record.id!r} has the files {sorted(record.files)}, not those of an "
            "adapter",
            hint=f"an adapter is {' and '.join(sorted(FILES))}",
        )
    stored = {name: _stored(shelf, record, id) for name, id in sorted(record.files.items())}
    hashes = " ".join(file.sha256 for file in stored.values())
    target = folder / hashlib.sha256(hashes.encode()).hexdigest()[:32]
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not target.is_dir():
            scratch = Path(tempfile.mkdtemp(dir=folder, prefix="fetching-"))
            try:
                for name, file in stored.items():
                    _fetch(shelf, file, scratch / name)
                os.replace(scratch, target)
            except BaseException:
                shutil.rmtree(scratch, ignore_errors=True)
                raise
    return target


def _stored(shelf: Shelf, record: TunedModel, id: str) -> StoredFile:
    file = shelf.file(id)
    if file is None:
        raise StoreError(f"a file of the tuned model {record.id!r} is gone", hint="tune it anew")
    return file


def _fetch(shelf: Shelf, file: StoredFile, target: Path) -> None:
    digest = hashlib.sha256()
    with target.open("wb") as sink:
        for piece in shelf.read_file(file.id):
            digest.update(piece)
            sink.write(piece)
    if digest.hexdigest() != file.sha256:
        raise StoreError(
            f"the file {file.name!r} in the database is not as it was stored",
            hint="restore the database, or tune the model anew",
        )


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
