"""A PostgreSQL of its own for the tests of whole servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from postgres_server import Missing, PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL, one for all tests."""
    try:
        server = PostgresServer()
    except Missing as missing:
        pytest.skip(str(missing))
    try:
        server.start()
        yield server
    finally:
        server.remove()
