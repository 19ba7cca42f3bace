"""A PostgreSQL of its own for the tests of whole servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from postgres_server import PostgresServer, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL, one for all tests."""
    with running_postgres() as server:
        yield server
