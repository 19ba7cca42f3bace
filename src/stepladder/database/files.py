"""Files, in pieces of 1 MiB: written and read without ever being in memory as a whole.

Each piece is a transaction of its own, so that a long upload keeps nobody from writing. Until the
last one the file is not `whole`, and nothing finds it: it is there whole or not at all. What a kill
leaves is swept up when it has not been touched for `STALLED`, or for `ABANDONED` by whoever wants
its id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from ..errors import StoreError
from .ids import new_id
from .records import StoredFile
from .rows import Kept, NotKept, Page, add, find, page, same
from .tables import file_pieces, files

__all__ = ["ABANDONED", "PIECE", "STALLED", "Files", "Taken"]

PIECE = 1 << 20
STALLED = timedelta(hours=1)
ABANDONED = timedelta(minutes=1)  # after which an id that somebody wants is free again
AT_ONCE = 16  # pieces deleted in one transaction


class Taken(StoreError):
    """Another file has the id."""


class Files(Kept):
    """The files that callers sent and jobs made."""

    def add_file(  # noqa: PLR0913 (a record's fields, and its bytes)
        self,
        *,
        owner: str,
        name: str,
        purpose: str,
        media_type: str,
        chunks: Iterable[bytes],
        expires_at: datetime | None = None,
        id: str | None = None,
    ) -> StoredFile:
        """Store a file, whatever the sizes of the chunks; where they raise, nothing is left.

        Raises Taken where an `id` is wanted that another file has.
        """
        if id is not None:  # a server that was killed over it may have left its beginning
            self._sweep(ABANDONED, files.c.id == id)
        now = self._clock()
        file = StoredFile(id or new_id(), owner, name, purpose, media_type, 0, "", now, expires_at)
        try:
            with self._connections.write() as connection:
                add(connection, files, file, whole=False, touched_at=now)
        except StoreError as error:
            if isinstance(error.__cause__, IntegrityError):
                raise Taken(f"there is a file {id!r} already", hint="take another id") from error
            raise
        try:
            return self._fill(file, chunks)
        except BaseException:
            with suppress(StoreError):  # on a full disk: then it is swept up later
                self._undo(file)
            raise

    def file(self, id: str) -> StoredFile | None:
        """The file's record; None where there is none or it has expired."""
        with self._connections.read() as connection:
            return find(connection, files, StoredFile, id, *self._there())

    def files(
        self,
        *,
        owner: str | None = None,
        purpose: str | None = None,
        after: str | None = None,
        limit: int = 100,
        newest_first: bool = True,
    ) -> list[StoredFile]:
        """Files, of one owner and for one purpose where those are given."""
        wanted = [*self._there(), *same(files, owner=owner, purpose=purpose)]
        shown = Page(after, limit, newest_first)
        with self._connections.read() as connection:
            return page(connection, files, StoredFile, shown, *wanted)

    def read_file(self, id: str, *, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
        """The file's bytes from `offset` on, at most `size` of them, in pieces.

        Raises NotKept where there is no such file, or when it is deleted while it is read.
        """
        if offset < 0 or (size is not None and size < 0):
            raise StoreError("'offset' and 'size' must not be negative", hint="read from 0 on")
        file = self.file(id)
        if file is None:
            raise NotKept(f"there is no file {id!r}", hint="list the files to see what there is")
        end = file.size_bytes if size is None else min(file.size_bytes, offset + size)
        return self._pieces(file, offset, end)

    def delete_file(self, id: str) -> bool:
        """Delete a file for good; False where there was none."""
        if self.file(id) is None:
            return False
        hide = update(files).where(files.c.id == id, files.c.whole)
        with self._connections.write() as connection:
            hidden = connection.execute(hide.values(whole=False, touched_at=self._clock()))
        self._erase(id)
        return bool(hidden.rowcount)

    def sweep_files(self) -> int:
        """Delete the files that have expired, and what uploads left that were cut off."""
        return self._sweep(STALLED)

    def _sweep(self, still: timedelta, *only: ColumnElement[bool]) -> int:
        """Delete what has expired, and what is not whole and was not touched for so long."""
        now = self._clock()
        gone = or_(
            files.c.expires_at <= now,
            files.c.whole.is_(False) & (files.c.touched_at < now - still),
        )
        with self._connections.read() as connection:
            ids = list(connection.scalars(select(files.c.id).where(gone, *only)))
        for id in ids:
            with self._connections.write() as connection:
                connection.execute(update(files).where(files.c.id == id).values(whole=False))
            self._erase(id)
        return len(ids)

    def _there(self) -> list[ColumnElement[bool]]:
        lasts = or_(files.c.expires_at.is_(None), files.c.expires_at > self._clock())
        return [files.c.whole.is_(True), lasts]

    def _fill(self, file: StoredFile, chunks: Iterable[bytes]) -> StoredFile:
        sha256, size, number = hashlib.sha256(), 0, 0
        for number, piece in enumerate(_pieces_of(chunks)):
            sha256.update(piece)
            size += len(piece)
            with self._connections.write(durable=False) as connection:
                self._touch(connection, file)
                row = {"file": file.id, "number": number, "data": piece}
                connection.execute(insert(file_pieces), row)
        whole = {"whole": True, "size_bytes": size, "sha256": sha256.hexdigest()}
        with self._connections.write() as connection:
            self._touch(connection, file, **whole)
        return replace(file, size_bytes=size, sha256=sha256.hexdigest())

    def _touch(self, connection: Connection, file: StoredFile, **changes: Any) -> None:
        mine = update(files).where(*_begun(file))
        if not connection.execute(mine.values(touched_at=self._clock(), **changes)).rowcount:
            raise StoreError(
                f"the file {file.name!r} stood still for too long and was swept up",
                hint="send it again",
            )

    def _undo(self, file: StoredFile) -> None:
        with self._connections.read() as connection:
            there = connection.scalar(select(files.c.id).where(*_begun(file)))
        if there is not None:
            self._erase(file.id)

    def _pieces(self, file: StoredFile, offset: int, end: int) -> Iterator[bytes]:
        while offset < end:
            number, skipped = divmod(offset, PIECE)
            wanted = (
                select(file_pieces.c.data)
                .join(files)
                .where(files.c.id == file.id, files.c.sha256 == file.sha256)
                .where(file_pieces.c.number == number)
            )
            with self._connections.read() as connection:
                data = connection.scalar(wanted)
            if data is None:
                raise NotKept(
                    f"the file {file.id!r} was deleted while it was read", hint="send it again"
                )
            piece = bytes(data[skipped : skipped + end - offset])
            offset += len(piece)
            yield piece

    def _erase(self, id: str) -> None:
        """Delete what nothing finds any more, a few pieces at a time: overwriting takes long."""
        few = select(file_pieces.c.number).where(file_pieces.c.file == id).limit(AT_ONCE)
        pieces = delete(file_pieces).where(file_pieces.c.file == id, file_pieces.c.number.in_(few))
        left = AT_ONCE
        while left == AT_ONCE:
            with self._connections.write(durable=False) as connection:
                left = connection.execute(pieces).rowcount
        with self._connections.write() as connection:
            connection.execute(delete(files).where(files.c.id == id, files.c.whole.is_(False)))


def _begun(file: StoredFile) -> list[ColumnElement[bool]]:
    """This file as long as it is being written, and no later one of the same id."""
    same_one = files.c.id == file.id, files.c.created_at == file.created_at
    return [*same_one, files.c.whole.is_(False)]


def _pieces_of(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of `PIECE`, the last one shorter."""
    held = bytearray()
    for chunk in chunks:
        rest = memoryview(chunk)
        while len(held) + len(rest) >= PIECE:
            taken = PIECE - len(held)
            yield bytes(held) + rest[:taken]
            rest = rest[taken:]
            held.clear()
        held += rest
    if held:
        yield bytes(held)
