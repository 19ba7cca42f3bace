"""Tuned models out of the database: fetched once, checked, and gone when they are deleted."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from served_models import ask, events_of, served, text_of

from stepladder.database import open_database
from stepladder.database.records import StoredFile, TunedModel
from stepladder.errors import StoreError
from stepladder.fake_live import FakeEngine
from stepladder.serve import Caller, Refusal
from stepladder.serve.served.adapters import AdapterCache
from stepladder.serve.served.directory import ServedModels
from stepladder.serve.served.tuned import TunedModels
from stepladder.testing import check_served_model

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FILES = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"\x00" * 3_000_000}


@dataclass
class Shelf:
    """A database in memory that counts how often it is asked."""

    records: dict[str, TunedModel] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    asked: int = 0
    read: int = 0
    damaged: bool = False

    def tuned(self, id: str) -> TunedModel | None:
        self.asked += 1
        return self.records.get(id)

    def tuned_models(
        self, *, owner: str | None = None, after: str | None = None, limit: int = 100
    ) -> list[TunedModel]:
        found = [one for one in self.records.values() if owner in (None, one.owner)]
        ids = [one.id for one in found]
        start = ids.index(after) + 1 if after else 0
        return found[start : start + 1]

    def file(self, id: str) -> StoredFile | None:
        if id not in self.contents:
            return None
        data = self.contents[id]
        sha256 = hashlib.sha256(data).hexdigest()
        return StoredFile(id, "o", id, "adapter", "x/y", len(data), sha256, NOW)

    def read_file(self, id: str) -> Iterator[bytes]:
        self.read += 1
        data = self.contents[id]
        yield data[:1000]
        yield data[1000:] + (b"!" if self.damaged else b"")


def tuned(id: str = "123", owner: str = "me", **changes: Any) -> TunedModel:
    files = {name: f"{id}-{name}" for name in FILES}
    return TunedModel(id, owner, "9", "gpt", "local:fake", NOW, NOW, files, **changes)


def shelf(*models: TunedModel) -> Shelf:
    contents = {id: FILES[name] for one in models for name, id in one.files.items()}
    return Shelf({one.id: one for one in models}, contents)


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    engine = FakeEngine()
    yield engine
    engine.close()


def opened(shelf: Any, engine: FakeEngine, folder: Path, clock: Any = lambda: 0.0) -> TunedModels:
    base = served(engine)
    cache = AdapterCache(folder / "adapters", 2**30)
    return TunedModels(shelf, {"local:fake": base}.get, cache, clock)


def test_a_tuned_model_answers_with_its_adapter(engine: FakeEngine, tmp_path: Path) -> None:
    models = opened(shelf(tuned(name="mine")), engine, tmp_path)
    model = models.get("123")
    assert model is not None
    assert text_of(events_of(model, ask("hi"))) == "hi"
    adapter = engine.seen[-1].adapter
    assert adapter is not None
    assert {path.name: path.read_bytes() for path in adapter.iterdir()} == FILES
    assert (model.card.kind, model.card.title, model.card.owner) == ("tuned", "mine", "me")


def test_the_files_are_fetched_once_for_all_who_wait(engine: FakeEngine, tmp_path: Path) -> None:
    kept = shelf(tuned())
    models = opened(kept, engine, tmp_path)

    async def ask_three() -> None:
        async def one() -> None:
            model = models.get("123")
            assert model is not None
            async for _ in model.generate(ask()):
                pass

        await asyncio.gather(one(), one(), one())

    asyncio.run(ask_three())
    assert kept.read == 2
    assert kept.asked == 1, "what the database said holds for a moment"
    again = opened(kept, engine, tmp_path).get("123")
    assert again is not None
    events_of(again, ask())
    assert kept.read == 2, "another server of this machine finds them"


def test_what_is_deleted_is_gone_and_what_changed_is_seen(
    engine: FakeEngine, tmp_path: Path
) -> None:
    now = 0.0
    kept = shelf(tuned())
    models = opened(kept, engine, tmp_path, lambda: now)
    first = models.get("123")
    kept.records["123"] = replace(kept.records["123"], name="renamed")
    assert models.get("123") is first
    now = 10.0
    renamed = models.get("123")
    assert renamed is not None
    assert renamed.card.title == "renamed"
    del kept.records["123"]
    now = 20.0
    assert models.get("123") is None
    assert models.get("999") is None
    asked = kept.asked
    assert models.get("smollm2-135m-instruct") is None
    assert kept.asked == asked, "only ids are looked for"


def test_damaged_or_missing_files_are_refused_and_leave_nothing(
    engine: FakeEngine, tmp_path: Path
) -> None:
    kept = shelf(tuned())
    kept.damaged = True
    models = opened(kept, engine, tmp_path)
    model = models.get("123")
    assert model is not None
    with pytest.raises(Refusal, match="not as it was stored") as caught:
        events_of(model, ask())
    assert caught.value.status == 503
    assert [path for path in (tmp_path / "adapters").iterdir() if path.is_dir()] == []
    kept.damaged = False
    assert text_of(events_of(model, ask("hi"))) == "hi", "the next one tries again"
    pickled = tuned(id="5")
    pickled = replace(pickled, files={**pickled.files, "evil.bin": "x"})
    with pytest.raises(StoreError, match=r"evil\.bin"):
        AdapterCache(tmp_path, 2**30).fetch(shelf(tuned(id="5")), pickled)
    with pytest.raises(StoreError, match="is gone"):
        AdapterCache(tmp_path / "other", 2**30).fetch(Shelf(), tuned())


def test_a_model_whose_base_is_not_served_is_refused(engine: FakeEngine, tmp_path: Path) -> None:
    kept = shelf(replace(tuned(), model="local:other"))
    with pytest.raises(Refusal, match=r"'local:other'.*not served here") as caught:
        opened(kept, engine, tmp_path).get("123")
    assert caught.value.status == 503


def test_it_is_a_served_model(engine: FakeEngine, tmp_path: Path) -> None:
    model = opened(shelf(tuned()), engine, tmp_path).get("123")
    assert model is not None
    check_served_model(model, ask("a few words"))


def test_each_sees_its_own(engine: FakeEngine, tmp_path: Path) -> None:
    source = opened(shelf(tuned("1", "me"), tuned("2", "you")), engine, tmp_path)
    models = ServedModels([served(engine)], sources=[source])
    assert [one.name for one in models.list(Caller("me", "tune"))] == ["1", "fake"]
    assert [one.name for one in models.list(Caller("root", "admin"))] == ["1", "2", "fake"]


def test_the_database_is_a_shelf(engine: FakeEngine, tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'kept.db'}")
    files = {
        name: database.add_file(
            owner="me", name=name, purpose="adapter", media_type="x/y", chunks=[data]
        ).id
        for name, data in FILES.items()
    }
    database.add_tuned(replace(tuned(), files=files))
    model = opened(database, engine, tmp_path).get("123")
    assert model is not None
    assert text_of(events_of(model, ask("hi"))) == "hi"
    database.close()
