"""Servers for tests: without a port (`server`, `app_client`) and on one (`running_server`)."""

from __future__ import annotations

import logging
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2 as httpx
import pytest
from serving import RunningServer, fake_models

from stepladder.database import open_database
from stepladder.fake_live import FakeEngine
from stepladder.serve.app import create_app
from stepladder.serve.running import answering
from stepladder.serve.server import Server, assemble, open_server
from stepladder.serve.settings import ServeSettings


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """A server that a test starts sends its log to the streams of that test, which end with it."""
    kept = [
        (logger, [*logger.handlers], logger.level, logger.propagate)
        for logger in map(logging.getLogger, ("stepladder.serve", "uvicorn.error"))
    ]
    yield
    for logger, handlers, level, propagate in kept:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.fixture
def anyio_backend() -> str:
    """Asynchronous tests run on asyncio, as the server does."""
    return "asyncio"


@pytest.fixture
def serve_settings(tmp_path: Path) -> ServeSettings:
    """The settings of `server`; a test module may have its own."""
    return ServeSettings(
        base_models=("local:fake",),
        aliases={"gemini-3.5-flash": "fake", "gpt-5-mini": "fake"},
        port=0,
        database=f"sqlite:///{tmp_path / 'serve.db'}",
        gs_folder=tmp_path / "gs",
        log_format="text",
    )


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    """The engine below the served model "fake", which says the last user's turn back."""
    engine = FakeEngine()
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that has its tables, to be copied: making them takes longer than most tests."""
    path = tmp_path_factory.mktemp("database") / "empty.db"
    open_database(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def server(
    serve_settings: ServeSettings,
    engine: FakeEngine,
    empty_database: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Server]:
    """A server over the fake engine, without keys, without workers."""
    monkeypatch.delenv("STEPLADDER_API_KEY", raising=False)
    url = serve_settings.database or ""
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        shutil.copyfile(empty_database, url.removeprefix("sqlite:///"))
    database = open_database(serve_settings.database, keep_content=serve_settings.keep_content)
    yield assemble(serve_settings, fake_models(engine, serve_settings.aliases), database)
    database.close()


@pytest.fixture
async def app_client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app, without sockets. Tests that take it are `async` and marked `anyio`."""
    transport = httpx.ASGITransport(create_app(server))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture(scope="session")
def local_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over the embedded model, loaded once; for tests marked `slow`."""
    folder = tmp_path_factory.mktemp("local-server")
    settings = ServeSettings(
        base_models=("local:smollm2-135m-instruct",),
        aliases={"gemini-3.5-flash": "smollm2-135m-instruct"},
        database=f"sqlite:///{folder / 'serve.db'}",
        tuning=False,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("STEPLADDER_API_KEY", raising=False)
        with open_server(settings) as server:
            yield server


@pytest.fixture
def running_server(server: Server, engine: FakeEngine) -> Iterator[RunningServer]:
    """The server on a free port, for SDKs. Tests that take it are marked `network`."""
    with answering(create_app(server), server) as url:
        yield RunningServer(url, server, engine)
