"""Adapters on disk: what was asked least recently makes room, and comes back when it is asked."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from served_models import ask, served
from test_served_tuned import FILES, Shelf, tuned

from stepladder.errors import StoreError
from stepladder.fake_live import FakeEngine
from stepladder.serve.served import tuned as tuned_module
from stepladder.serve.served.adapters import IN_USE_SECONDS, AdapterCache
from stepladder.serve.served.tuned import TunedModels

ONE = sum(map(len, FILES.values()))  # bytes of an adapter


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def shelf_of(*ids: str) -> Shelf:
    """Adapters that differ in their configuration."""
    models = [tuned(id) for id in ids]
    contents = {
        file: FILES[name] if name.endswith("safetensors") else id.encode().center(2)
        for id, model in zip(ids, models, strict=True)
        for name, file in model.files.items()
    }
    return Shelf({one.id: one for one in models}, contents)


def kept_in(cache: AdapterCache) -> int:
    return sum(path.is_dir() for path in cache.folder.iterdir())


def test_what_was_asked_least_recently_makes_room(tmp_path: Path) -> None:
    clock, shelf = Clock(), shelf_of("1", "2", "3")
    cache = AdapterCache(tmp_path / "adapters", 2 * ONE, clock)
    first, second = (cache.fetch(shelf, shelf.records[id]) for id in ("1", "2"))
    clock.now += IN_USE_SECONDS + 1
    assert cache.mark(first)
    third = cache.fetch(shelf, shelf.records["3"])
    assert [path.is_dir() for path in (first, second, third)] == [True, False, True]
    assert not cache.mark(second)
    assert cache.fetch(shelf, shelf.records["2"]) == second
    assert {path.name for path in second.iterdir()} == set(FILES)


def test_what_is_in_use_stays_whatever_the_size(tmp_path: Path) -> None:
    clock, shelf = Clock(), shelf_of("1", "2", "3")
    cache = AdapterCache(tmp_path / "adapters", ONE, clock)
    for id in shelf.records:
        cache.fetch(shelf, shelf.records[id])
        clock.now += IN_USE_SECONDS / 3
    assert kept_in(cache) == 3
    clock.now += IN_USE_SECONDS
    shelf = shelf_of("4")
    cache.fetch(shelf, shelf.records["4"])
    assert kept_in(cache) == 1


def test_what_a_killed_server_left_is_swept(tmp_path: Path) -> None:
    clock, shelf = Clock(), shelf_of("1")
    cache = AdapterCache(tmp_path / "adapters", ONE, clock)
    old, new = cache.folder / "fetching-old", cache.folder / "fetching-new"
    for path, age in ((old, 100_000), (new, 10)):
        path.mkdir(parents=True)
        os.utime(path, (clock.now - age,) * 2)
    cache.fetch(shelf, shelf.records["1"])
    assert (old.exists(), new.exists()) == (False, True)


def test_a_fetch_that_fails_leaves_nothing(tmp_path: Path) -> None:
    shelf = replace(shelf_of("1"), damaged=True)
    cache = AdapterCache(tmp_path / "adapters", ONE)
    with pytest.raises(StoreError):
        cache.fetch(shelf, shelf.records["1"])
    assert kept_in(cache) == 0


def test_a_model_whose_adapter_made_room_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuned_module, "MARK_SECONDS", 0.0)
    clock, shelf, engine = Clock(), shelf_of("1", "2"), FakeEngine()
    cache = AdapterCache(tmp_path / "adapters", ONE, clock)
    models = TunedModels(shelf, {"local:fake": served(engine)}.get, cache)
    model, other = models.get("1"), models.get("2")
    assert model is not None
    assert other is not None

    async def turns() -> None:
        for one in (model, other, model):
            async for _ in one.generate(ask()):
                pass
            clock.now += IN_USE_SECONDS + 1

    asyncio.run(turns())
    assert shelf.read == 3 * len(FILES)
    adapter = engine.seen[-1].adapter
    assert adapter is not None
    assert adapter.is_dir()
    engine.close()
