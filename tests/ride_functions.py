"""A small service for the tests: rides in an SQLite database, as a user's `functions.py`."""

from __future__ import annotations

from pathlib import Path

from stepladder.core import Call, Request, Response, Usage

__all__ = ["FUNCTIONS", "Scripted", "call", "write_functions"]

FUNCTIONS = '''
"""Rides."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Literal

READ_ONLY = {"find_rides", "slow", "broken", "strange"}
DATABASE = Path(__file__).parent / "rides.sqlite"


def _ask(sql, *values):
    with closing(sqlite3.connect(DATABASE)) as connection, connection:
        return connection.execute(sql, values).fetchall()


def find_rides(city: str, seats: int = 1) -> list[dict]:
    """Rides that leave from a city.

    Args:
        city: where the ride begins,
            as people say it.
        seats: how many are needed.
    """
    sql = "SELECT id, seats FROM rides WHERE city = ? AND seats >= ? ORDER BY id"
    rows = _ask(sql, city, seats)
    return [{"id": id, "seats": free} for id, free in rows]


def book_ride(ride: int, kind: Literal["shared", "alone"] = "shared") -> str:
    """Book a seat in a ride."""
    sql = "UPDATE rides SET seats = seats - 1 WHERE id = ? AND seats > 0 RETURNING seats"
    left = _ask(sql, ride)
    if not left:
        raise LookupError(f"no seat is free in ride {ride}")
    return f"booked ride {ride}, {left[0][0]} seats are left"


def slow(seconds: float) -> str:
    """Wait."""
    import threading

    threading.Event().wait(seconds)
    return "done"


def broken() -> str:
    """Fail."""
    raise RuntimeError("the database is away")


def strange() -> object:
    """Give what is not JSON."""
    return object()
'''


def write_functions(folder: Path) -> Path:
    """The file, beside a database with three rides."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(folder / "rides.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE rides (id INTEGER PRIMARY KEY, city TEXT, seats INTEGER)")
        rides = [(1, "Fresno", 2), (2, "Fresno", 4), (3, "Oslo", 0)]
        connection.executemany("INSERT INTO rides VALUES (?, ?, ?)", rides)
    path = folder / "functions.py"
    path.write_text(FUNCTIONS, encoding="utf-8")
    return path


def call(name: str, /, **arguments: object) -> Call:
    return Call(name, arguments, f"{name}_id")


class Scripted:
    """A model that answers each conversation by a script: what it says at its first turn, and on.

    The script is found by the text of the last user turn. Batches it was asked in are in `batches`.
    """

    name = "fake:scripted"

    def __init__(self, **scripts: list[str | tuple[Call, ...] | Exception]) -> None:
        self.scripts = scripts
        self.batches: list[list[Request]] = []

    def generate(self, requests):
        self.batches.append(list(requests))
        for index in reversed(range(len(requests))):  # answers come in any order
            yield index, self._answer(requests[index])

    def count_tokens(self, messages) -> int:
        return len(messages)

    def _answer(self, request: Request) -> Response:
        asked = max(i for i, m in enumerate(request.messages) if m.role == "user")
        turn = sum(m.role == "assistant" for m in request.messages[asked:])
        said = self.scripts[str(request.messages[asked].content)][turn]
        usage = Usage(self.name, 10, 5, seconds=0.5)
        if isinstance(said, Exception):
            return Response("", usage, "error", error=str(said))
        if isinstance(said, str):
            return Response(said, usage)
        return Response("", usage, calls=said)


def results(request: Request) -> list[str]:
    """What functions returned, as the model is told."""
    return [str(m.content) for m in request.messages if m.role == "function"]
