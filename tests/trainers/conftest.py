from __future__ import annotations

from pathlib import Path

import pytest

from .tiny import make_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random model; tests do not write into it."""
    return make_model(tmp_path_factory.mktemp("tiny"))
