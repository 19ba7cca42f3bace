"""Files that an earlier try of the same work stored under names that only this work gives.

What ends in several writes can be cut off between any two; whoever does it again finds here what
there is already.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..database.records import StoredFile

if TYPE_CHECKING:
    from ..database.database import Database

__all__ = ["files_named"]

PAGE = 500


def files_named(
    database: Database, owner: str, purpose: str, beginnings: Sequence[str]
) -> dict[str, StoredFile]:
    """The owner's files for this purpose whose names begin so, by name."""
    from ..database.rows import NotKept

    while True:
        try:
            return {file.name: file for file in _found(database, owner, purpose, beginnings)}
        except NotKept:  # somebody deleted the file that a page was to begin after
            continue


def _found(
    database: Database, owner: str, purpose: str, beginnings: Sequence[str]
) -> Iterator[StoredFile]:
    after: str | None = None
    while page := database.files(owner=owner, purpose=purpose, after=after, limit=PAGE):
        after = page[-1].id
        yield from (file for file in page if file.name.startswith(tuple(beginnings)))
