"""Real trouble: PostgreSQL goes away and comes back, the disk is full, the process is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from making import AT, a_batch, a_call, a_job, a_remark, items_of
from postgres_server import Missing, PostgresServer
from sqlalchemy import event

from stepladder.database.database import Database, open_database
from stepladder.database.records import Served
from stepladder.errors import StoreError

Opened = Callable[..., Database]
BOUND_SECONDS = 60.0
HERE = Path(__file__).parent


def until(true: Callable[[], bool]) -> None:
    """Across processes there is nothing to wait on but the clock."""
    end = time.monotonic() + BOUND_SECONDS
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """One that the test may stop."""
    try:
        server = PostgresServer()
    except Missing as missing:
        pytest.skip(str(missing))
    server.start()
    yield server
    server.remove()


def test_postgresql_goes_away_and_comes_back(own_postgres: PostgresServer, opened: Opened) -> None:
    database = opened(own_postgres.make("kept"))
    before, during = a_call(), [a_call(at=AT + timedelta(seconds=n)) for n in range(600)]
    database.record(before)
    assert database._writer.flush()

    own_postgres.stop()
    for call in during:
        database.record(call)
    assert database.served(during[0].id) == during[0], "what waits is still told"
    assert not database._writer.flush()
    for asked in (database.ping, database.jobs, lambda: database.add_feedback(a_remark(before.id))):
        with pytest.raises(StoreError, match="postgresql://") as told:
            asked()
        assert told.value.hint

    own_postgres.start()
    until(database._writer.flush)
    database.ping()
    assert database.served_between(AT, AT + timedelta(days=1)) == sorted(
        [before, *during], key=lambda call: (call.at, call.id)
    )
    database.add_feedback(a_remark(before.id))
    assert database.dropped_rows == 0


def test_a_restart_of_postgresql_that_nobody_saw_is_not_felt(
    own_postgres: PostgresServer, opened: Opened
) -> None:
    database = opened(own_postgres.make("kept"))
    job = a_job()
    database.add_job(job)
    own_postgres.stop()
    own_postgres.start()
    assert database.job(job.id) == job


def test_closing_without_postgresql_counts_what_is_lost(
    own_postgres: PostgresServer, opened: Opened
) -> None:
    database = opened(own_postgres.make("kept"))
    own_postgres.stop()
    for _ in range(5):
        database.record(a_call())
    database.close()
    assert database.dropped_rows == 5


def fill(database: Database) -> list[Served]:
    """Calls until the database takes no more of them; then some more."""
    calls: list[Served] = []
    while database._writer.flush() and len(calls) < 10_000:
        more = [a_call(request="x" * 10_000) for _ in range(50)]
        calls += more
        for call in more:
            database.record(call)
    assert len(calls) < 10_000, "it is never full"
    return calls


def check_full(database: Database, make_room: Callable[[], None]) -> None:
    """Everything is refused with a cure or waits in memory; with room again all of it is there."""
    job = a_job()
    database.add_job(job)
    calls = fill(database)
    assert database.job(job.id) == job, "reading goes on"
    assert all(database.served(call.id) == call for call in calls[-3:])
    with pytest.raises(StoreError, match="full") as told:
        database.add_file(
            owner="a", name="n", purpose="p", media_type="m", chunks=[b"x" * (1 << 20)] * 4
        )
    assert "space" in told.value.hint
    make_room()
    until(database._writer.flush)
    assert all(database.served(call.id) == call for call in calls)
    assert database.dropped_rows == 0
    database.add_feedback(a_remark(calls[0].id))
    assert database.files() == []


def test_sqlite_with_a_bound_on_its_size(tmp_path: Path, opened: Opened) -> None:
    database = opened(f"sqlite:///{tmp_path / 'kept.sqlite'}")
    connections = database._connections
    pages = 700

    def limit(connection: object, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")  # type: ignore[attr-defined]

    for engine in (connections._quick, connections._durable):
        event.listen(engine, "checkout", limit)

    def make_room() -> None:
        nonlocal pages
        pages = 1_000_000

    check_full(database, make_room)


def test_sqlite_on_a_full_disk(tmp_path: Path, opened: Opened) -> None:
    """A disk of 4 MB, which is made larger."""

    def mounted(*options: str) -> bool:
        mount = ["mount", "-t", "tmpfs", *options, "tmpfs", str(disk)]
        return subprocess.run(mount, capture_output=True, check=False).returncode == 0

    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or not mounted("-o", "size=4m"):
        pytest.skip("only root can make a small disk, and not in every container")
    try:
        database = opened(f"sqlite:///{disk / 'kept.sqlite'}")
        check_full(database, lambda: mounted("-o", "remount,size=100m") or None)
        database.close()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


KILLED = """
import itertools, sys
sys.path.insert(0, {here!r})
from making import a_call, a_job, a_remark, a_batch, items_of
from stepladder.database.database import open_database
database = open_database({url!r})
for n in itertools.count():
    call, job, batch = a_call(), a_job(), a_batch()
    database.record(call)
    remark = a_remark(call.id)
    database.add_feedback(remark)
    print("feedback", call.id, remark.id, flush=True)
    database.add_job(job)
    print("job", job.id, flush=True)
    file = database.add_file(owner="a", name=str(n), purpose="p", media_type="m",
                             chunks=[bytes([n % 256]) * 700_000] * 3)
    print("file", file.id, file.sha256, flush=True)
    database.add_batch(batch, items_of(batch, 20))
    database.finish_item(batch.id, 7, answer=n)
    print("batch", batch.id, n, flush=True)
"""


def told_before_the_kill(url: str, lines: int) -> list[list[str]]:
    """What a process said it had stored, until it was killed in the middle of its work."""
    program = KILLED.format(here=str(HERE), url=url)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = [process.stdout.readline().split() for _ in range(lines)]
    process.send_signal(signal.SIGKILL)
    said += [line.split() for line in process.stdout if line.endswith("\n")]
    process.wait()
    process.stdout.close()
    return said


@pytest.mark.slow
def test_what_was_accepted_survives_kills(url: str) -> None:
    said = [one for lines in (1, 17, 40) for one in told_before_the_kill(url, lines)]
    database = open_database(url)
    for kind, id, *more in said:
        if kind == "feedback":
            assert [remark.id for remark in database.feedback(id)] == more
            assert database.served(id) is not None
        elif kind == "job":
            assert database.job(id) is not None
        elif kind == "file":
            file = database.file(id)
            assert file is not None
            assert [file.sha256] == more
            assert len(b"".join(database.read_file(id))) == 2_100_000
        else:
            batch = database.batch(id)
            assert batch is not None
            assert (batch.total, batch.succeeded) == (20, 1)
            assert [item.answer for item in database.items(id)][7] == int(more[0])
    files = database.files(limit=10_000)
    assert all(file.size_bytes == 2_100_000 for file in files), "whole, or not there"
    database.close()
    assert len(said) >= 58


def test_two_processes_write_the_same_file(tmp_path: Path, opened: Opened) -> None:
    """Another process holds the file's one write lock for a while: writers wait for it."""
    path = tmp_path / "kept.sqlite"
    database = opened(f"sqlite:///{path}")
    program = (
        f"import sqlite3, sys; c = sqlite3.connect({str(path)!r}, isolation_level=None)\n"
        "c.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.readline()\n"
        "c.execute('COMMIT')"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdin is not None
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    call, batch = a_call(), a_batch()
    database.record(call)
    assert database.served(call.id) == call, "recording waits for nobody"
    assert database.jobs() == [], "nor does reading"
    other.stdin.write("go on\n")
    other.stdin.close()
    database.add_batch(batch, items_of(batch, 3))
    assert database._writer.flush()
    other.wait()
    other.stdout.close()
