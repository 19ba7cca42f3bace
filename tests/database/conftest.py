"""The database, in each of its two kinds, with a clock that stands until it is moved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from making import Clock
from postgres_server import PostgresServer, running_postgres

from stepladder.database.database import Database, open_database
from stepladder.database.tables import metadata

Opened = Callable[..., Database]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL, one for all tests."""
    with running_postgres() as server:
        server.make("stepladder")
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """A database that holds nothing, but whose tables may be there."""
    url = postgres.url("stepladder")
    with psycopg.connect(url) as connection:
        names = ", ".join(table.name for table in metadata.sorted_tables)
        there = connection.execute("SELECT to_regclass('traffic') IS NOT NULL").fetchone()
        if there == (True,):
            connection.execute(f"TRUNCATE {names} CASCADE")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'kept.sqlite'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def opened(clock: Clock) -> Iterator[Opened]:
    """`open_database` with the test's clock; what it opens is closed after the test."""
    open_ones: list[Database] = []

    def open_one(url: str, *, keep_content: bool = True) -> Database:
        open_ones.append(open_database(url, keep_content=keep_content, clock=clock))
        return open_ones[-1]

    yield open_one
    for database in open_ones:
        database.close()


@pytest.fixture
def database(url: str, opened: Opened) -> Database:
    return opened(url)
