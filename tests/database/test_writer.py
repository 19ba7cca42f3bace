"""The thread that writes traffic: groups, bounds, what is dropped, and going on after trouble."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from stepladder.database.writer import GROUP, Row, Unwritable, Writer
from stepladder.errors import StoreError

WAIT = 30.0


class Disk:
    """Where rows are saved; fails and stalls when told to."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.fails: Callable[[list[Row]], StoreError | None] = lambda rows: None
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.reached = threading.Semaphore(0)

    def save(self, rows: list[Row]) -> None:
        self.reached.release()
        assert self.goes_on.wait(WAIT)
        error = self.fails(rows)
        if error is not None:
            raise error
        self.groups.append([row["id"] for row in rows])

    @property
    def ids(self) -> list[str]:
        return [id for group in self.groups for id in group]


@pytest.fixture
def disk() -> Disk:
    return Disk()


def rows(count: int, first: int = 0) -> list[Row]:
    return [{"id": str(number)} for number in range(first, first + count)]


def test_rows_are_written_in_the_order_they_came_and_in_groups(disk: Disk) -> None:
    writer = Writer(disk.save)
    disk.goes_on.clear()
    for row in rows(1000):
        writer.put(row, 1)
    disk.goes_on.set()
    assert writer.flush()
    writer.close()
    assert disk.ids == [str(n) for n in range(1000)]
    assert max(len(group) for group in disk.groups) == GROUP
    assert len(disk.groups) <= 5
    assert writer.dropped_rows == 0


@pytest.mark.parametrize("bounds", [{"most_rows": 10}, {"most_bytes": 1000}])
def test_beyond_the_bound_rows_are_dropped_and_counted(
    disk: Disk, bounds: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "stepladder.database")
    writer = Writer(disk.save, **bounds)
    disk.goes_on.clear()
    for row in rows(25):
        writer.put(row, 100)
    assert writer.dropped_rows == 15
    disk.goes_on.set()
    assert writer.flush()
    for row in rows(10, 25):
        writer.put(row, 100)
    writer.close()
    assert disk.ids == [str(n) for n in (*range(10), *range(25, 35))]
    assert writer.dropped_rows == 15
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 4, "at the first, and whenever the number has doubled: 1, 2, 4, 8"
    assert all("no room" in one for one in said)


def test_trouble_is_waited_out_and_said_once(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "stepladder.database")
    tries = 0

    def twice(_: list[Row]) -> StoreError | None:
        nonlocal tries
        tries += 1
        return StoreError("the disk is full") if tries <= 2 else None

    disk.fails = twice
    writer = Writer(disk.save)
    for row in rows(3):
        writer.put(row, 1)
    assert not writer.flush(), "it says so at once, and does not wait for better times"
    for _ in range(3):
        assert disk.reached.acquire(timeout=WAIT)
    writer.close()
    assert disk.ids == ["0", "1", "2"]
    said = [record.getMessage() for record in caplog.records]
    assert [("disk is full" in one, "again" in one) for one in said] == [
        (True, False),
        (False, True),
    ]
    assert writer.dropped_rows == 0


def test_a_row_that_is_refused_does_not_hold_up_the_others(disk: Disk) -> None:
    disk.fails = lambda rows: (
        Unwritable("no") if any(row["id"] in ("3", "7") for row in rows) else None
    )
    writer = Writer(disk.save)
    for row in rows(10):
        writer.put(row, 1)
    assert writer.flush()
    writer.close()
    assert sorted(disk.ids) == [str(n) for n in range(10) if n not in (3, 7)]
    assert writer.dropped_rows == 2


def test_a_refused_row_is_counted_once_whatever_else_goes_wrong(disk: Disk) -> None:
    trouble = [None, None, StoreError("away")]  # for the whole group, for row 0, for row 1

    def fails(rows: list[Row]) -> StoreError | None:
        later = trouble.pop(0) if trouble else None
        return Unwritable("no") if rows[0]["id"] == "0" else later

    disk.fails = fails
    writer = Writer(disk.save)
    disk.goes_on.clear()
    for row in rows(3):
        writer.put(row, 1)
    disk.goes_on.set()
    for _ in range(4):  # the last of them comes after the trouble
        assert disk.reached.acquire(timeout=WAIT)
    writer.close()
    assert sorted(disk.ids) == ["1", "2"]
    assert writer.dropped_rows == 1


def test_at_the_end_what_cannot_be_written_is_counted(disk: Disk) -> None:
    disk.fails = lambda rows: StoreError("away")
    writer = Writer(disk.save)
    for row in rows(10):
        writer.put(row, 1)
    writer.close()
    assert writer._thread is not None
    assert not writer._thread.is_alive(), "it gives up, and does not try for ever"
    assert writer.dropped_rows == 10
    writer.put(rows(1)[0], 1)
    assert writer.dropped_rows == 11
    assert writer.all_waiting() == []


def test_at_the_end_it_is_tried_once_more(disk: Disk) -> None:
    disk.fails = lambda rows: StoreError("away")
    writer = Writer(disk.save)
    writer.put(rows(1)[0], 1)
    assert disk.reached.acquire(timeout=WAIT)
    disk.fails = lambda rows: None
    writer.close()
    assert disk.ids == ["0"]
    assert writer.dropped_rows == 0


def test_what_somebody_else_has_written_is_not_written_again(disk: Disk) -> None:
    writer = Writer(disk.save)
    disk.goes_on.clear()
    for row in rows(1):
        writer.put(row, 1)
    assert disk.reached.acquire(timeout=WAIT)
    for row in rows(2, 1):
        writer.put(row, 1)
    writer.saved("1")
    assert writer.waiting("1") is None
    disk.goes_on.set()
    writer.close()
    assert disk.ids == ["0", "2"]


def test_a_row_twice_is_one_row(disk: Disk) -> None:
    writer = Writer(disk.save, most_bytes=100)
    for _ in range(50):
        writer.put({"id": "1"}, 10)
    writer.close()
    assert disk.ids == ["1"]
    assert writer.dropped_rows == 0


def test_many_threads_put_rows_and_none_is_lost(disk: Disk) -> None:
    writer = Writer(disk.save)
    threads = [
        threading.Thread(target=lambda n=n: [writer.put(row, 1) for row in rows(500, n * 500)])
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert writer.flush()
    writer.close()
    assert sorted(map(int, disk.ids)) == [*range(4000)]
