from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepladder.database import open_database
from stepladder.database.database import Database
from stepladder.serve.tuning.run_job import Workplace
from stepladder.serve.tuning.worker import Signals


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random model; tests do not write into it."""
    pytest.importorskip("torch")
    pytest.importorskip("peft")
    from trainers.tiny import make_model

    return make_model(tmp_path_factory.mktemp("tiny-base"))


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'kept.sqlite'}"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = open_database(database_url)
    yield database
    database.close()


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """Where the worker of a test works: one thread, a folder for gs:// addresses."""
    return Workplace(tmp_path / "work", tmp_path / "gs", threads=1, device="cpu", most_tokens=256)


@pytest.fixture
def signals() -> Signals:
    return Signals(threading.Event(), threading.Event())
