"""A PostgreSQL of the tests' own: real, in a temporary folder, reached by a Unix socket.

It must not run as root: a test run that is root starts it as `postgres` or `nobody`, and installs
the Debian package if it is missing. Without root and without PostgreSQL, `Missing` says so and the
tests that need it are skipped.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from debian_packages import installed

__all__ = ["Missing", "PostgresServer", "running_postgres"]

START_SECONDS = 60
SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "16MB",
    "max_connections": "150",
}


class Missing(Exception):
    """PostgreSQL is not installed and cannot be."""


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """One that runs until the context is left; without PostgreSQL the test is skipped."""
    import pytest

    try:
        server = PostgresServer()
    except Missing as missing:
        pytest.skip(str(missing))
    try:
        server.start()
        yield server
    finally:
        server.remove()


class PostgresServer:
    """A server that can be stopped and started; its databases last until `remove`.

    Without `fsync` they survive a kill of the server, not of the machine.
    """

    def __init__(self, *, fsync: bool = False) -> None:
        self._settings = {**SETTINGS, "fsync": "on" if fsync else "off"}
        self._programs = _programs()
        self._user = _user()
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._data = self.folder / "data"
        if self._user:
            shutil.chown(self.folder, user=self._user)
        self._process: subprocess.Popen[bytes] | None = None
        options = ["-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
        made = subprocess.run(
            [self._programs / "initdb", "-D", self._data, *options],
            capture_output=True, text=True, check=False, **self._as_user(),
        )  # fmt: skip
        assert made.returncode == 0, made.stderr

    def url(self, name: str = "postgres") -> str:
        """Of one of its databases."""
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        settings = [
            part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, "-k", self.folder, *settings],
                stdout=log, stderr=log, preexec_fn=_end_with_parent, **self._as_user(),
            )  # fmt: skip
        until = time.monotonic() + START_SECONDS
        ready = [self._programs / "pg_isready", "-q", "-h", self.folder]
        while subprocess.run(ready, check=False).returncode != 0:
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < until, "PostgreSQL did not start"
            time.sleep(0.02)

    def stop(self, sent: signal.Signals = signal.SIGQUIT) -> None:
        """End it at once, as a crash would, with all its connections."""
        if self._process is not None:
            self._process.send_signal(sent)
            self._process.wait(START_SECONDS)
            self._process = None

    def make(self, name: str) -> str:
        """Make an empty database; its URL."""
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def remove(self) -> None:
        """Stop it and delete its folder."""
        self.stop()
        shutil.rmtree(self.folder)

    def _as_user(self) -> dict[str, Any]:
        environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
        return {
            "user": self._user,
            "cwd": self.folder,
            "env": environment,
            "extra_groups": [] if self._user else None,
        }


def _end_with_parent() -> None:
    """In the child: be ended when the test run is, even by a kill (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # PR_SET_PDEATHSIG


def _user() -> str | None:
    """Who the server runs as; None for whoever runs the tests."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _programs() -> Path:
    found = installed(_look, "postgresql")
    if found is None:
        raise Missing("PostgreSQL is not installed, and only root can install it")
    return found


def _look() -> Path | None:
    """The folder of the newest PostgreSQL's programs."""
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name)
    )
    if folders:
        return folders[-1]
    found = shutil.which("initdb")
    return None if found is None else Path(found).resolve().parent
