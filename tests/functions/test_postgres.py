"""Functions over a real PostgreSQL: many at once, errors told, nothing beyond what is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_server import Missing, PostgresServer
from ride_functions import call

from stepladder.functions.python_file import open_python
from stepladder.functions.running import Asked, Running, run_calls

FUNCTIONS = '''
import psycopg

READ_ONLY = {"seats"}
URL = "%s"


def seats(ride: int) -> int:
    """Free seats of a ride."""
    with psycopg.connect(URL) as connection:
        return connection.execute("SELECT seats FROM rides WHERE id = %%s", [ride]).fetchone()[0]


def book(ride: int) -> str:
    """Book a seat."""
    with psycopg.connect(URL) as connection:
        connection.execute("UPDATE rides SET seats = seats - 1 WHERE id = %%s", [ride])
    return "booked"
'''


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    try:
        one = PostgresServer()
    except Missing as reason:
        pytest.skip(str(reason))
    one.start()
    yield one
    one.remove()


@pytest.mark.slow
def test_calls_side_by_side_on_a_database(server: PostgresServer, tmp_path: Path) -> None:
    import psycopg

    url = server.make("rides")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE rides (id INT PRIMARY KEY, seats INT CHECK (seats >= 0))")
        connection.execute("INSERT INTO rides VALUES (1, 5)")
    path = tmp_path / "functions.py"
    path.write_text(FUNCTIONS % url)
    running = Running((open_python(path),), frozenset({"book"}))
    names = {one.name for one in running.described}
    ran = run_calls([Asked(call("book", ride=1), names, 60)] * 7, running)
    assert sorted(one.state for one in ran) == ["done"] * 5 + ["failed"] * 2
    assert all("CheckViolation" in one.error for one in ran if one.error)
    (left,) = run_calls([Asked(call("seats", ride=1), names, 60)], running)
    assert left.result == 0
    (none,) = run_calls([Asked(call("seats", ride="1; DROP TABLE rides"), names, 60)], running)
    assert none.state == "refused"
