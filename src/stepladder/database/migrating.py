"""Brings a database to the version of this program when it is opened, once, whoever comes first.

The versions are in `migrations/versions/`. All steps of a migration are one transaction, on both
databases: it happened as a whole or not at all.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from filelock import FileLock, Timeout
from sqlalchemy import Connection, text

from ..errors import StoreError
from .connections import BUSY_SECONDS, Connections, make_file

__all__ = ["migrate", "migration_config", "newest_version"]

ONE_AT_A_TIME = threading.Lock()  # Alembic's `context` is one for the whole process
LOCK = 7_263_548_190_254_178  # of PostgreSQL's advisory locks, the one for migrating


def migrate(connections: Connections) -> None:
    """The tables as this version wants them.

    Raises StoreError for a database that a newer version has already changed.
    """
    with _alone(connections):
        if connections.sqlite:
            make_file(connections.url)
        with connections.write() as connection:
            if not connections.sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            _upgrade(connection)


def newest_version() -> str:
    """The version that `migrate` leads to."""
    return str(ScriptDirectory.from_config(migration_config()).get_current_head())


def _upgrade(connection: Connection) -> None:
    config = migration_config()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    now = MigrationContext.configure(connection).get_current_revision()
    if now is not None and now not in known:
        raise StoreError(
            f"the database is of version {now!r}; this stepladder knows those up to "
            f"{newest_version()!r}",
            hint="a newer stepladder was here: upgrade this one, or put back a backup from before",
        )
    if now != newest_version():
        config.attributes["connection"] = connection
        with ONE_AT_A_TIME:
            command.upgrade(config, "head")


def migration_config() -> Config:
    """What Alembic's commands take; with the connection to use among its `attributes`."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def _alone(connections: Connections) -> AbstractContextManager[Any]:
    """For SQLite a lock file: turning on WAL waits for nobody, so only one may try at a time."""
    if not connections.sqlite:
        return nullcontext()
    path = Path(str(connections.url.database))
    return _Locked(path.with_name(path.name + ".lock"))


class _Locked:
    """A lock file, with errors that say what to do."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(path, timeout=BUSY_SECONDS)

    def __enter__(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout as error:
            raise StoreError(
                f"{str(self._path)!r} is held by another program", hint="is one stuck? end it"
            ) from error
        except OSError as error:
            raise StoreError(
                f"{str(self._path)!r} cannot be made: {error.strerror}",
                hint="name a database in a folder that is there and writable",
            ) from error

    def __exit__(self, *_: object) -> None:
        self._lock.release()
