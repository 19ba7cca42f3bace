"""Tiny random models in a cache folder of the test session; nothing here needs a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_families import make_family

from stepladder.models.local import LocalModel, LocalProvider


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("model-cache")


@pytest.fixture(autouse=True)
def _cache(model_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPLADDER_CACHE", str(model_cache))


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer Llama with grouped queries and tied embeddings; tests do not write into it."""
    return make_family(tmp_path_factory.mktemp("llama") / "model")


@pytest.fixture(scope="module")
def provider(
    tmp_path_factory: pytest.TempPathFactory, model_cache: Path
) -> Iterator[LocalProvider]:
    """Float32 throughout, so that answers can be compared token by token."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEPLADDER_CACHE", str(model_cache))
        provider = LocalProvider(tmp_path_factory.mktemp("artifacts"), exact=True)
        yield provider
        provider.close()


@pytest.fixture
def model(provider: LocalProvider, llama: Path) -> LocalModel:
    return provider.model(f"local:{llama}")
