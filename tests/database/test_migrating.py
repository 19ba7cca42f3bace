"""A database is brought to today's version when it is opened: once, as a whole, or refused."""

from __future__ import annotations

import multiprocessing
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from making import a_job
from postgres_server import PostgresServer
from sqlalchemy import Connection, inspect, text

from stepladder.database.connections import Connections, parse_url
from stepladder.database.database import Database, open_database
from stepladder.database.ids import new_id
from stepladder.database.migrating import migrate, migration_config, newest_version
from stepladder.database.tables import metadata
from stepladder.errors import StoreError

Opened = Callable[..., Database]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that has no tables yet, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'within' / 'kept.sqlite'}"
    postgres: PostgresServer = request.getfixturevalue("postgres")
    return postgres.make(f"new_{new_id()}")


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    connections = Connections(parse_url(url))
    with connections.write() as connection:
        yield connection
    connections.close()


def test_the_migrations_make_the_tables_that_the_code_knows(url: str, opened: Opened) -> None:
    opened(url)
    with connected(url) as connection:
        options = {"compare_type": True, "compare_server_default": True}
        found = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(found, metadata) == []
        assert found.get_current_revision() == newest_version()
        inspected = inspect(connection)
        for table in metadata.sorted_tables:
            assert inspected.get_pk_constraint(table.name)["constrained_columns"] == [
                column.name for column in table.primary_key
            ]
            assert {
                key["options"].get("ondelete") for key in inspected.get_foreign_keys(table.name)
            } <= {"CASCADE"}


def test_opening_again_changes_nothing(url: str, opened: Opened) -> None:
    first = opened(url)
    job = a_job()
    first.add_job(job)
    assert opened(url).job(job.id) == job
    migrate(first._connections)
    assert first.job(job.id) == job


def test_down_and_up_again(url: str, opened: Opened) -> None:
    opened(url).close()
    config = migration_config()
    with connected(url) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert {*inspect(connection).get_table_names()} <= {"alembic_version"}
    assert opened(url).jobs() == []


def test_a_database_of_a_newer_version_is_left_alone(url: str, opened: Opened) -> None:
    opened(url).close()
    with connected(url) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="is of version '9999'") as told:
        open_database(url)
    assert "upgrade this one" in told.value.hint


def test_a_migration_happens_as_a_whole_or_not_at_all(url: str) -> None:
    """Here the last table is in the way: another program's."""
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir()
    with connected(url) as connection:
        connection.execute(text("CREATE TABLE keys (theirs INTEGER)"))
    with pytest.raises(StoreError, match="already exists") as told:
        open_database(url)
    assert "a database of its own" in told.value.hint
    with connected(url) as connection:
        assert inspect(connection).get_table_names() == ["keys"]


def test_several_open_a_new_database_at_once(url: str, opened: Opened) -> None:
    start = threading.Barrier(4)

    def open_one(_: int) -> int:
        start.wait()
        return len(opened(url).jobs())

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(open_one, range(4))) == [0, 0, 0, 0]


def open_in_a_process(url: str, told: multiprocessing.Queue[object]) -> None:
    try:
        database = open_database(url)
        told.put(len(database.jobs()))
        database.close()
    except BaseException as error:
        told.put(repr(error))


@pytest.mark.slow
def test_several_servers_open_a_new_database_at_once(url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    told = spawn.Queue()
    servers = [spawn.Process(target=open_in_a_process, args=(url, told)) for _ in range(4)]
    for server in servers:
        server.start()
    assert [told.get(timeout=120) for _ in servers] == [0, 0, 0, 0]
    for server in servers:
        server.join(60)


def test_what_is_wrong_with_a_url_is_said(tmp_path: Path, postgres: PostgresServer) -> None:
    (tmp_path / "a file").write_text("x")
    (tmp_path / "page").write_bytes(b"<html>" * 400)
    for url, words in {
        "mysql://here/there": "'mysql'",
        "nonsense": "'nonsense' is not the URL",
        "sqlite://": "in memory",
        f"sqlite:///{tmp_path / 'page'}": "not a database",
        f"sqlite:///{tmp_path / 'a file' / 'x.sqlite'}": "cannot be made",
        postgres.url("no_such"): "does not exist",
        "postgresql://me:secret@/x?host=/nowhere": "/nowhere",
    }.items():
        with pytest.raises(StoreError, match=words) as told:
            open_database(url)
        assert told.value.hint
        assert "secret" not in str(told.value)


def test_only_the_owner_reads_the_file(tmp_path: Path, opened: Opened) -> None:
    database = opened(f"sqlite:///{tmp_path / 'kept.sqlite'}")
    database.add_job(a_job())
    for path in tmp_path.glob("kept.sqlite*"):
        if path.suffix != ".lock":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_sqlite_is_set_up_to_lose_nothing(tmp_path: Path, opened: Opened) -> None:
    """What is accepted is synced to the disk; traffic and pieces of files need only the kernel."""
    database = opened(f"sqlite:///{tmp_path / 'kept.sqlite'}")
    connections = database._connections
    with connections.write() as connection:
        values = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        }
    assert values == {
        "journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1,
    }  # fmt: skip
    with connections.write(durable=False) as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
    with connections.read() as connection, pytest.raises(Exception, match="readonly"):
        connection.exec_driver_sql("DELETE FROM traffic")
    with sqlite3.connect(tmp_path / "kept.sqlite") as file:
        assert file.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    file.close()
