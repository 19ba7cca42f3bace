"""What the server keeps, in one database: SQLite by default, PostgreSQL by URL.

`records.py` has the nouns, `database.py` the verbs, which need the extra `serve`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..registry import need
from .ids import new_id

if TYPE_CHECKING:
    from .database import Database as Database

__all__ = ["new_id", "open_database"]


def open_database(url: str | None = None, *, keep_content: bool = True) -> Database:
    """As `database.open_database`; raises MissingExtra where its packages are not installed."""
    need("sqlalchemy", extra="serve", what="the server's database")
    need("alembic", extra="serve", what="the server's database")
    from .database import open_database as open_now

    return open_now(url, keep_content=keep_content)
