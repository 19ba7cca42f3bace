"""What the disk says when it refuses, as one clear message with a cure."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import StoreError

__all__ = ["disk_errors"]


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the disk says into one clear message."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise StoreError(
            f"cannot use {str(path)!r}: {error}",
            hint="free some space or make the folder writable, then run the same command again: "
            "finished work is kept. --runs chooses another folder",
        ) from error
