"""What the server's database costs beside the plain driver, on SQLite and PostgreSQL, in one run.

    record   calls per second until they are on the disk, and microseconds that the caller waits;
             plain: `sqlite3.executemany` in groups of 256, psycopg's COPY, both of finished rows
    claim    milliseconds to claim a tuning job and to end it, durably;
             plain: the same two statements written by hand
    files    MB/s in and out, in pieces of 1 MiB, with their SHA-256;
             plain: one transaction of the driver, without a hash

The PostgreSQL is one of the benchmark's own on the same disk, with fsync on.
"""

from __future__ import annotations

import hashlib
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from environment import finish, parser, where

from stepladder.database import new_id, open_database
from stepladder.database.database import Database
from stepladder.database.records import Served, TuningJob
from stepladder.database.tables import traffic
from stepladder.database.values import encode, values_of

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from postgres_server import PostgresServer  # the tests' own

GROUP = 256
PIECE = 1 << 20
WORDS = ("what", "was", "my", "refund", "and", "when", "did", "it", "reach", "the", "account")
COLUMNS = [column.name for column in traffic.c]


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--rows", type=int, default=20_000)
    options.add_argument("--jobs", type=int, default=300)
    options.add_argument("--megabytes", type=int, default=256)
    chosen = options.parse_args()
    place = where()
    server = PostgresServer(fsync=True)
    server.start()
    found = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            found["sqlite"] = measure(
                f"sqlite:///{folder}/ours.sqlite", Sqlite(f"{folder}/plain.sqlite"), chosen
            )
        found["postgresql"] = measure(server.make("ours"), Postgres(server.make("plain")), chosen)
    finally:
        server.remove()
    sizes = {"rows": chosen.rows, "jobs": chosen.jobs, "megabytes": chosen.megabytes}
    finish("database", {**place, **sizes, **found}, write=chosen.write)


def measure(url: str, plain: Plain, chosen: Any) -> dict[str, Any]:
    """Ours and plain, of one kind of database."""
    calls = list(made_calls(chosen.rows))
    jobs = [made_job() for _ in range(chosen.jobs)]
    blocks = [random.Random(n).randbytes(PIECE) for n in range(16)] * (chosen.megabytes // 16)
    database = open_database(url)
    plain.prepare()
    try:
        found = {
            "record": {**our_rows(database, calls), **their_rows(plain, calls)},
            "claim": {"ours_ms": our_claims(database, jobs), "plain_ms": plain.claims(jobs)},
            "files": our_files(database, blocks)
            | {
                "plain_in_mb_per_second": speed(blocks, lambda: plain.put(blocks)),
                "plain_out_mb_per_second": speed(blocks, lambda: plain.get(len(blocks))),
            },
        }
    finally:
        database.close()
        plain.close()
    return found


def our_rows(database: Database, calls: list[Served]) -> dict[str, Any]:
    """Everything at once, as no server would: the caller's wait is at its worst."""
    waits = []
    started = time.perf_counter()
    for call in calls:
        before = time.perf_counter()
        database.record(call)
        waits.append(time.perf_counter() - before)
    database._writer.flush(600)
    seconds = time.perf_counter() - started
    return {
        "ours_rows_per_second": len(calls) / seconds,
        "caller_us": spread(waits, 1e6),
        "dropped_rows": database.dropped_rows,
    }


def their_rows(plain: Plain, calls: list[Served]) -> dict[str, float]:
    rows = [encode(traffic, values_of(call)) for call in calls]
    tuples = [tuple(row[name] for name in COLUMNS) for row in rows]
    started = time.perf_counter()
    for start in range(0, len(tuples), GROUP):
        plain.rows(tuples[start : start + GROUP])
    return {"plain_rows_per_second": len(calls) / (time.perf_counter() - started)}


def our_claims(database: Database, jobs: list[TuningJob]) -> dict[str, float]:
    for job in jobs:
        database.add_job(job)
    waits = []
    for _ in jobs:
        before = time.perf_counter()
        claimed = database.claim_job("worker", 60)
        assert claimed is not None
        database.change_job(claimed.id, only_in=("running",), state="succeeded")
        waits.append(time.perf_counter() - before)
    return spread(waits, 1e3)


def our_files(database: Database, blocks: list[bytes]) -> dict[str, float]:
    ids = []

    def put() -> None:
        ids.append(
            database.add_file(
                owner="a", name="n", purpose="p", media_type="m", chunks=iter(blocks)
            ).id
        )

    into = speed(blocks, put)
    out = speed(blocks, lambda: sum(len(piece) for piece in database.read_file(ids[0])))
    whole = hashlib.sha256(b"".join(blocks)).hexdigest()
    stored = database.file(ids[0])
    assert stored is not None
    assert stored.sha256 == whole
    return {"ours_in_mb_per_second": into, "ours_out_mb_per_second": out}


class Sqlite:
    """By hand with sqlite3."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)

    def prepare(self) -> None:
        run = self._connection.execute
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run(f"CREATE TABLE traffic ({', '.join(COLUMNS)}, PRIMARY KEY (id))")
        run("CREATE INDEX traffic_by_time ON traffic (at, id)")
        run("CREATE INDEX traffic_by_key ON traffic (key, at)")
        run("CREATE TABLE jobs (id TEXT PRIMARY KEY, state TEXT, n INTEGER)")
        run("CREATE INDEX jobs_by_state ON jobs (state, n)")
        run("CREATE TABLE pieces (n INTEGER PRIMARY KEY, data BLOB)")

    def rows(self, rows: Any) -> None:
        marks = ", ".join("?" * len(COLUMNS))
        texts = [(row[0], row[1].isoformat(), *row[2:]) for row in rows]
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(f"INSERT INTO traffic VALUES ({marks})", texts)
        self._connection.execute("COMMIT")

    def claims(self, jobs: list[TuningJob]) -> dict[str, float]:
        run = self._connection.execute
        run("PRAGMA synchronous = FULL")
        rows = [(job.id, "queued", n) for n, job in enumerate(jobs)]
        self._connection.executemany("INSERT INTO jobs VALUES (?, ?, ?)", rows)
        waits = []
        for _ in jobs:
            before = time.perf_counter()
            (id,) = run(
                "UPDATE jobs SET state = 'running' WHERE id = (SELECT id FROM jobs WHERE "
                "state = 'queued' ORDER BY n LIMIT 1) RETURNING id"
            ).fetchall()[0]
            run("UPDATE jobs SET state = 'succeeded' WHERE id = ?", (id,))
            waits.append(time.perf_counter() - before)
        run("PRAGMA synchronous = NORMAL")
        return spread(waits, 1e3)

    def put(self, blocks: list[bytes]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT INTO pieces VALUES (?, ?)", enumerate(blocks))
        self._connection.execute("COMMIT")

    def get(self, count: int) -> int:
        return sum(
            len(self._connection.execute("SELECT data FROM pieces WHERE n = ?", (n,)).fetchone()[0])
            for n in range(count)
        )

    def close(self) -> None:
        self._connection.close()


class Postgres:
    """By hand with psycopg."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)

    def prepare(self) -> None:
        kinds = {
            "at": "timestamptz", "status": "bigint", "seconds": "float8", "dollars": "float8",
            "first_seconds": "float8", "input_tokens": "bigint", "output_tokens": "bigint",
            "cached_tokens": "bigint", "request": "json", "answer": "json",
        }  # fmt: skip
        columns = ", ".join(f"{name} {kinds.get(name, 'text')}" for name in COLUMNS)
        for statement in (
            f"CREATE TABLE traffic ({columns}, PRIMARY KEY (id))",
            "CREATE INDEX ON traffic (at, id)",
            "CREATE INDEX ON traffic (key, at)",
            "CREATE TABLE jobs (id TEXT PRIMARY KEY, state TEXT, n INTEGER)",
            "CREATE INDEX ON jobs (state, n)",
            "CREATE TABLE pieces (n INTEGER PRIMARY KEY, data BYTEA)",
        ):
            self._connection.execute(statement)  # type: ignore[call-overload]

    def rows(self, rows: Any) -> None:
        with self._connection.cursor() as cursor, cursor.copy("COPY traffic FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    def claims(self, jobs: list[TuningJob]) -> dict[str, float]:
        run = self._connection.execute
        rows = [(job.id, "queued", n) for n, job in enumerate(jobs)]
        self._connection.cursor().executemany("INSERT INTO jobs VALUES (%s, %s, %s)", rows)
        waits = []
        for _ in jobs:
            before = time.perf_counter()
            (id,) = run(
                "UPDATE jobs SET state = 'running' WHERE id = (SELECT id FROM jobs WHERE "
                "state = 'queued' ORDER BY n LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id"
            ).fetchall()[0]
            run("UPDATE jobs SET state = 'succeeded' WHERE id = %s", (id,))
            waits.append(time.perf_counter() - before)
        return spread(waits, 1e3)

    def put(self, blocks: list[bytes]) -> None:
        with self._connection.transaction():
            for n, block in enumerate(blocks):
                self._connection.execute("INSERT INTO pieces VALUES (%s, %b)", (n, block))

    def get(self, count: int) -> int:
        cursor = self._connection.cursor(binary=True)
        query = "SELECT data FROM pieces WHERE n = %s"
        found = (cursor.execute(query, (n,)).fetchone() for n in range(count))
        return sum(len(row[0]) for row in found if row is not None)

    def close(self) -> None:
        self._connection.close()


Plain = Sqlite | Postgres


def speed(blocks: list[bytes], run: Callable[[], object]) -> float:
    """Megabytes (of 10^6 bytes) per second."""
    started = time.perf_counter()
    run()
    return len(blocks) * PIECE / 1e6 / (time.perf_counter() - started)


def spread(waits: list[float], unit: float) -> dict[str, float]:
    cuts = statistics.quantiles(waits, n=100)
    return {"median": cuts[49] * unit, "p99": cuts[98] * unit}


def made_calls(count: int) -> Iterator[Served]:
    """Chat calls with about 1 KB of content."""
    draw = random.Random(0)
    for _ in range(count):
        asked, said = (" ".join(draw.choices(WORDS, k=k)) for k in (120, 60))
        yield Served(
            id=new_id(), at=datetime.now(UTC), key="k", protocol="openai",
            route="/v1/chat/completions", model="small", version="abc", status=200, seconds=0.2,
            first_seconds=0.1, input_tokens=130, output_tokens=60, dollars=0.0001, finish="stop",
            request={"model": "small", "messages": [{"role": "user", "content": asked}]},
            answer=[{"text": said, "finish": "stop"}],
        )  # fmt: skip


def made_job() -> TuningJob:
    now = datetime.now(UTC)
    return TuningJob(
        id=new_id(), owner="k", protocol="openai", base="b", model="m", method="supervised",
        training_file="1", created_at=now, updated_at=now,
    )  # fmt: skip


if __name__ == "__main__":
    main()
