"""A tiny model's folder, for its tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer Llama with a chat template; tests do not write into it."""
    pytest.importorskip("torch")
    from models.tiny_families import make_family

    return make_family(tmp_path_factory.mktemp("llama") / "model")
