"""Connections to one SQLite file, or to PostgreSQL by URL: transactions, and what goes wrong.

SQLite has one writer at a time. Its writers queue here, within the process, and wait for those of
other processes as long as `BUSY_SECONDS`. A write is on the disk when its transaction ends, unless
it was opened with `durable=False`: then it survives the process, and a loss of power only once a
durable one came after it. Knows no table.
"""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnection

from ..errors import StoreError
from ..registry import need

__all__ = ["BUSY_SECONDS", "Connections", "make_file", "parse_url", "told"]

BUSY_SECONDS = 30.0  # how long a write of another process is waited for
PAGES_AT_ONCE = 2000  # given back to the disk in one transaction
NETWORK = {  # a PostgreSQL that has vanished is noticed; the URL may say otherwise
    "connect_timeout": 5,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
POOL = {"pool_size": 8, "max_overflow": 16, "pool_timeout": BUSY_SECONDS}
WITHOUT_DRIVER = ("postgres", "postgresql")


class Connections:
    """Where reads and writes happen."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.sqlite = url.get_backend_name() == "sqlite"
        if self.sqlite:
            self._reads = _sqlite(url, begin="BEGIN", query_only=1)
            self._durable = _sqlite(url, begin="BEGIN IMMEDIATE", synchronous="FULL")
            self._quick = _sqlite(url, begin="BEGIN IMMEDIATE", synchronous="NORMAL")
            self._tidying = _sqlite(url, begin="", synchronous="NORMAL", busy_timeout=1000)
        else:
            self._reads = self._durable = self._quick = self._tidying = _postgresql(url)
        self._one_writer: AbstractContextManager[Any] = (
            threading.Lock() if self.sqlite else nullcontext()
        )

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database; raises StoreError."""
        with told(self.url), self._reads.connect() as connection:
            yield connection

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:
        """A transaction that is undone when the block raises; raises StoreError."""
        engine = self._durable if durable else self._quick
        with told(self.url), self._one_writer, engine.begin() as connection:
            yield connection

    def tidy(self) -> None:
        """Give the space of what was deleted back to the disk, and empty SQLite's log.

        In steps, so that writers come in between. PostgreSQL does the like by itself.
        """
        if not self.sqlite:
            return
        before, free = math.inf, self._pragma("freelist_count")
        while 0 < free < before:
            self._pragma(f"incremental_vacuum({PAGES_AT_ONCE})")
            before, free = free, self._pragma("freelist_count")
        self._pragma("wal_checkpoint(TRUNCATE)")

    def _pragma(self, statement: str) -> int:
        """Run a pragma that no transaction may be around; the first number of its answer."""
        with told(self.url), self._one_writer, self._tidying.connect() as connection:
            cursor = connection.connection.cursor()
            # vacuuming goes on only as long as its (empty) rows are fetched
            rows = cursor.execute(f"PRAGMA {statement}").fetchall()
            return int(rows[0][0]) if rows and rows[0] else 0

    def close(self) -> None:
        """Close all of them; transactions under way keep theirs until they end."""
        for engine in (self._reads, self._durable, self._quick, self._tidying):
            engine.dispose()


def parse_url(url: str) -> URL:
    """A URL that is one of ours, with its driver; raises StoreError."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreError(f"{url!r} is not the URL of a database", hint=_URLS) from error
    if parsed.drivername == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise StoreError("a database in memory keeps nothing", hint=_URLS)
        return parsed
    if parsed.drivername in WITHOUT_DRIVER:
        need("psycopg", extra="postgres", what="a PostgreSQL database")
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername == "postgresql+psycopg":
        return parsed
    raise StoreError(f"no database of the kind {parsed.drivername!r} is known", hint=_URLS)


@contextmanager
def told(url: URL) -> Iterator[None]:
    """What goes wrong with the database, as a StoreError that says so."""
    try:
        yield
    except NoConnection as error:
        raise StoreError(
            f"{_place(url)}: all connections are in use", hint="try again, or add a server"
        ) from error
    except (SQLAlchemyError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        words = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        raise StoreError(f"{_place(url)}: {words}", hint=_cure(url, words)) from error


_URLS = "sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"
CURES = {
    "is full": "free some space on its disk, or keep traffic for fewer days",
    "is locked": "another program holds it; end that one, or use PostgreSQL for several servers",
    "not a database": "the file is something else or damaged; name another one",
    "malformed": "the file is damaged; put back a backup, or name another one",
    "unable to open": "the folder must be there and writable",
    "readonly": "the file and its folder must be writable",
    "password": "give the right user and password in the URL",
    "permission denied": "make the user the owner of the database",
    "already exists": "give the server a database of its own, without other programs' tables",
    "does not exist": "create the database and its user first",
}


def _cure(url: URL, words: str) -> str:
    for part, cure in CURES.items():
        if part in words:
            return cure
    if url.get_backend_name() == "sqlite":
        return "see the file and the space on its disk"
    return "is PostgreSQL running there, and does it let this user in?"


def _place(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return f"the database {str(url.database)!r}"
    return f"the database {url.set(drivername='postgresql').render_as_string(hide_password=True)!r}"


def _sqlite(url: URL, *, begin: str, **pragmas: int | str) -> Engine:
    engine = create_engine(
        url,
        connect_args={"timeout": BUSY_SECONDS, "isolation_level": None},
        json_serializer=_as_it_is,
        json_deserializer=_as_it_is,
        **POOL,
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _: Any) -> None:
        settings = {"foreign_keys": 1, "secure_delete": 1, **pragmas}
        for name, value in settings.items():
            connection.execute(f"PRAGMA {name} = {value}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if begin:
            connection.exec_driver_sql(begin)

    return engine


def make_file(url: URL) -> None:
    """Make the file of a SQLite database and its folder; in WAL mode, which stays with the file."""
    path = Path(str(url.database))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # it holds what people asked
    except OSError as error:
        raise StoreError(
            f"the database {str(path)!r} cannot be made: {error.strerror}",
            hint="name a place that is writable",
        ) from error
    engine = _sqlite(url, begin="")
    with told(url), engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA auto_vacuum = INCREMENTAL")  # only a new file heeds it
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    engine.dispose()


def _postgresql(url: URL) -> Engine:
    return create_engine(
        url,
        connect_args={
            name: value
            for name, value in {**NETWORK, "application_name": "stepladder"}.items()
            if name not in url.query
        },
        pool_pre_ping=True,  # connections that a restart of PostgreSQL broke are made anew
        json_serializer=_as_it_is,
        json_deserializer=_as_it_is,
        **POOL,
    )


def _as_it_is(text: Any) -> Any:
    """JSON columns are written and read by `values.py`."""
    return text
