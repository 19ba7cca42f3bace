"""Files come out as they went in, or are not there at all."""

from __future__ import annotations

import hashlib
import random
import tracemalloc
from collections.abc import Iterable, Iterator
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making import a_call, a_job
from sqlalchemy import func, select

from stepladder.database.database import Database
from stepladder.database.files import ABANDONED, PIECE, STALLED, Taken
from stepladder.database.records import StoredFile
from stepladder.database.rows import NotKept
from stepladder.database.tables import file_pieces, files
from stepladder.errors import StoreError


def store(database: Database, chunks: Iterable[bytes], **more: object) -> StoredFile:
    return database.add_file(
        owner="ann", name="rows.jsonl", purpose="fine-tune", media_type="text/plain",
        chunks=chunks, **more,
    )  # fmt: skip


def left(database: Database) -> tuple[int, int]:
    """Rows of files and of their pieces, whole or not."""
    with database._connections.read() as connection:
        counts = [
            connection.scalar(select(func.count()).select_from(t)) for t in (files, file_pieces)
        ]
    return counts[0] or 0, counts[1] or 0


@given(
    sizes=st.lists(
        st.sampled_from([0, 1, 999, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE]), max_size=4
    ),
    offset=st.sampled_from([0, 1, PIECE - 1, PIECE, 2 * PIECE + 7, 10**12]),
    size=st.sampled_from([None, 0, 1, PIECE, PIECE + 3, 10**12]),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_part_of_a_file_comes_back(
    database: Database, sizes: list[int], offset: int, size: int | None
) -> None:
    chunks = [random.Random(number).randbytes(size) for number, size in enumerate(sizes)]
    whole = b"".join(chunks)
    file = store(database, chunks)
    assert (file.size_bytes, file.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())
    assert database.file(file.id) == file
    end = None if size is None else offset + size
    assert b"".join(database.read_file(file.id, offset=offset, size=size)) == whole[offset:end]


def test_what_stops_half_way_leaves_nothing(database: Database) -> None:
    seen: list[int] = []

    def broken() -> Iterator[bytes]:
        yield b"x" * (3 * PIECE + 5)
        seen.append(len(database.files()))
        raise ConnectionError("the caller went away")

    with pytest.raises(ConnectionError):
        store(database, broken())
    assert seen == [0], "what is not whole is not listed"
    assert left(database) == (0, 0)


def test_a_long_upload_keeps_nobody_from_writing(database: Database) -> None:
    """Between two chunks the database takes feedback, jobs and other files."""

    def slow() -> Iterator[bytes]:
        yield b"a" * PIECE
        job, call = a_job(), a_call()
        database.add_job(job)
        database.record(call)
        assert database.served_between(call.at, call.at + timedelta(seconds=1)) == [call]
        assert store(database, [b"other"]).size_bytes == 5
        yield b"b"

    assert store(database, slow()).size_bytes == PIECE + 1


def test_what_a_kill_left_is_swept_up_once_it_stands_still(database: Database, clock) -> None:
    seen: list[tuple[int, int]] = []

    def chunks() -> Iterator[bytes]:
        yield b"x" * (2 * PIECE)
        clock.move(seconds=STALLED.total_seconds() - 1)
        seen.append((database.sweep(), *left(database)))
        clock.move(seconds=2)
        seen.append((database.sweep(), *left(database)))
        yield b"y" * PIECE

    with pytest.raises(StoreError, match="swept up"):
        store(database, chunks())
    assert seen == [(0, 1, 2), (1, 0, 0)]
    assert left(database) == (0, 0)


def test_an_id_is_free_again_once_its_file_was_abandoned(database: Database, clock) -> None:
    """The one who left it may come back, and takes nothing from the one who has it now."""

    def chunks() -> Iterator[bytes]:
        yield b"x" * (2 * PIECE)
        clock.move(seconds=ABANDONED.total_seconds())
        with pytest.raises(Taken):
            store(database, [b"z"], id="7")
        clock.move(seconds=1)
        made.append(store(database, [b"y" * (2 * PIECE)], id="7"))
        yield b"x" * PIECE

    made: list[StoredFile] = []
    with pytest.raises(StoreError, match="swept up"):
        store(database, chunks(), id="7")
    assert database.files() == made
    assert b"".join(database.read_file("7")) == b"y" * (2 * PIECE)
    assert left(database) == (1, 2)


def test_the_id_of_a_file_that_has_expired_is_free(database: Database, clock) -> None:
    store(database, [b"x"], id="7", expires_at=clock.now + timedelta(hours=1))
    clock.move(hours=1)
    store(database, [b"y"], id="7")
    assert b"".join(database.read_file("7")) == b"y"


def test_deleting_leaves_nothing_and_readers_are_told(database: Database) -> None:
    file = store(database, [b"x" * (20 * PIECE)])
    pieces = database.read_file(file.id)
    assert len(next(pieces)) == PIECE
    assert database.delete_file(file.id)
    with pytest.raises(NotKept, match="deleted while it was read"):
        list(pieces)
    assert not database.delete_file(file.id)
    assert left(database) == (0, 0)


def test_a_reader_never_goes_on_in_another_file_of_the_same_id(database: Database) -> None:
    file = store(database, [b"x" * (2 * PIECE)])
    pieces = database.read_file(file.id)
    next(pieces)
    assert database.delete_file(file.id)
    assert store(database, [b"y" * (2 * PIECE)], id=file.id).id == file.id
    with pytest.raises(NotKept, match="deleted while it was read"):
        list(pieces)
    with pytest.raises(Taken, match="already"):
        store(database, [b"z"], id=file.id)


def test_files_expire(database: Database, clock) -> None:
    file = store(database, [b"x"], expires_at=clock.now + timedelta(hours=1))
    lasting = store(database, [b"y"])
    clock.move(minutes=59)
    assert database.file(file.id) == file
    assert database.sweep() == 0
    clock.move(minutes=1)
    assert database.file(file.id) is None
    assert database.files() == [lasting]
    with pytest.raises(NotKept):
        database.read_file(file.id)
    assert database.sweep() == 1
    assert left(database) == (1, 1)


@pytest.mark.parametrize("field", ["owner", "name", "purpose", "media_type"])
def test_a_name_that_no_database_takes_is_refused(database: Database, field: str) -> None:
    given = {"owner": "ann", "name": "n", "purpose": "p", "media_type": "m", field: "a\0b"}
    with pytest.raises(StoreError, match=repr(field)):
        database.add_file(**given, chunks=[b"x"])
    assert left(database) == (0, 0)


@pytest.mark.parametrize("bad", [{"offset": -1}, {"size": -1}])
def test_no_part_before_the_beginning(database: Database, bad: dict[str, int]) -> None:
    with pytest.raises(StoreError, match="negative"):
        database.read_file(store(database, [b"x"]).id, **bad)


@pytest.mark.slow
def test_a_large_file_is_never_in_memory(database: Database) -> None:
    """A gigabyte through a few megabytes."""
    block = random.Random(0).randbytes(PIECE)
    tracemalloc.start()
    file = store(database, (block for _ in range(1024)))
    read = sum(len(piece) for piece in database.read_file(file.id))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read == file.size_bytes == 1 << 30
    assert peak < 16 << 20
    assert database.delete_file(file.id)
