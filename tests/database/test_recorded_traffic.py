"""Calls and what was said of them: kept, counted, forgotten, and without content where asked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from making import AT, Clock, a_batch, a_call, a_prefix, a_remark, items_of
from postgres_server import PostgresServer

from stepladder.database.database import Database
from stepladder.database.ids import new_id
from stepladder.database.rows import NotKept
from stepladder.database.writer import Row
from stepladder.errors import StoreError

Opened = Callable[..., Database]
WORDS = ("ZEBRA-QUESTION", "ZEBRA-ANSWER", "ZEBRA-CORRECTION", "ZEBRA-COMMENT", "ZEBRA-ERROR")


def test_a_call_is_seen_before_and_after_it_is_written(database: Database) -> None:
    call = a_call()
    assert database.served(call.id) is None
    database.record(call)
    assert database.served(call.id) == call
    assert database._writer.flush()
    assert database._writer.waiting(call.id) is None
    assert database.served(call.id) == call


def test_of_two_calls_with_one_id_the_first_stays(database: Database) -> None:
    call = a_call()
    database.record(call)
    database.record(replace(call, model="other"))
    assert database._writer.flush()
    database.record(replace(call, model="third"))
    database.record(a_call())
    assert database._writer.flush()
    assert database.served(call.id) == call
    assert database.dropped_rows == 0


def test_closing_writes_what_waits(url: str, opened: Opened) -> None:
    calls = [a_call() for _ in range(700)]
    first = opened(url)
    for call in calls:
        first.record(call)
    first.close()
    second = opened(url)
    assert all(second.served(call.id) == call for call in calls)
    first.record(a_call())
    assert first.dropped_rows == 1, "after the end nothing is kept, and that is counted"


def test_calls_between_two_times(database: Database) -> None:
    calls = [a_call(at=AT + timedelta(seconds=n), model=f"m{n % 2}") for n in range(6)]
    for call in reversed(calls):
        database.record(call)
    end = AT + timedelta(seconds=4)
    assert database.served_between(AT, end) == calls[:4]
    assert database.served_between(AT, end, model="m1") == [calls[1], calls[3]]
    assert database.served_between(AT, end, limit=1) == calls[:1]
    assert database.served_between(end, AT) == []
    assert database.served_between(AT, end, model="\0") == []


def test_feedback_on_a_call_that_is_still_in_memory_or_not(database: Database) -> None:
    early, late = a_call(), a_call()
    database.record(early)
    remarks = [a_remark(early.id), a_remark(early.id, verdict="right", at=AT + timedelta(1))]
    database.add_feedback(remarks[0])
    assert database._writer.waiting(early.id) is None, "written with the feedback"
    database.record(late)
    assert database._writer.flush()
    database.add_feedback(remarks[1])
    assert database.feedback(early.id) == remarks
    assert database.served_between(AT, AT + timedelta(1)) == sorted(
        [early, late], key=lambda call: call.id
    )
    with pytest.raises(NotKept, match="no call has the id '7'") as told:
        database.add_feedback(a_remark("7"))
    assert "x-request-id" in told.value.hint


def test_what_a_key_spent_counts_what_waits_too(database: Database) -> None:
    for n in range(10):
        database.record(a_call(key="ann", dollars=1.0, at=AT + timedelta(seconds=n)))
    database.record(a_call(key="ben", dollars=100.0))
    database.record(a_call(key="ann", dollars=None))
    assert database.spent_dollars("ann", AT) == 10.0
    assert database._writer.flush()
    assert database.spent_dollars("ann", AT) == 10.0
    assert database.spent_dollars("ann", AT + timedelta(seconds=5)) == 5.0
    assert database.spent_dollars("nobody", AT) == database.spent_dollars("\0", AT) == 0.0


def test_no_dollar_is_counted_twice_while_a_call_is_being_written(database: Database) -> None:
    """Asked when the call is in the database already, and not yet out of the queue."""
    save, counted = database._writer._save, []

    def save_and_be_asked(rows: list[Row]) -> None:
        save(rows)
        asker.start()
        asker.join(0.2)  # it has to wait for us: this only gives it the chance not to

    asker = threading.Thread(target=lambda: counted.append(database.spent_dollars("ann", AT)))
    database._writer._save = save_and_be_asked
    database.record(a_call(key="ann", dollars=1.0))
    assert database._writer.flush()
    asker.join()
    assert counted == [1.0]


def test_a_row_that_the_driver_refuses_holds_up_no_other(database: Database) -> None:
    """Such a row does not get past the checks: here one is smuggled in behind them."""
    before, after = a_call(), a_call()
    database.record(before)
    row = database._writer.waiting(before.id)
    assert row is not None
    for smuggled in ({"model": "\ud800"}, {"status": 2**70}):
        database._writer.put({**row, "id": new_id(), **smuggled}, 1)
    database.record(after)
    assert database._writer.flush()
    assert database.served(before.id) == before
    assert database.served(after.id) == after
    assert database.dropped_rows == 2


def test_forgetting(database: Database, clock: Clock) -> None:
    """Old calls with their feedback, expired files and prefixes; what is younger stays."""
    old = [a_call(at=AT - timedelta(days=2, seconds=n)) for n in range(1203)]
    young = a_call(at=AT - timedelta(days=1))
    for call in (*old, young):
        database.record(call)
    assert database._writer.flush()
    remarks = [a_remark(old[0].id), a_remark(young.id)]
    for remark in remarks:
        database.add_feedback(remark)
    database.add_prefix(a_prefix(expires_at=clock.now))
    stays = a_prefix(expires_at=clock.now + timedelta(seconds=1))
    database.add_prefix(stays)
    given = {"owner": "ann", "name": "x", "purpose": "p", "media_type": "m"}
    database.add_file(**given, chunks=[b"x"], expires_at=clock.now + timedelta(seconds=0))
    file = database.add_file(**given, chunks=[b"y"])
    batch = a_batch(created_at=AT - timedelta(days=9))
    database.add_batch(batch, items_of(batch, 1))

    assert database.forget(AT - timedelta(days=1)) == 1203 + 1 + 1

    assert database.served_between(AT - timedelta(days=9), AT) == [young]
    assert database.feedback(old[0].id) == []
    assert database.feedback(young.id) == [remarks[1]]
    assert database.prefixes() == [stays]
    assert database.files() == [file]
    assert database.batch(batch.id) is not None
    assert database.forget(AT - timedelta(days=1)) == 0


def say_all(database: Database) -> str:
    """A call and feedback with a word of its own in every place where people's words can be."""
    call = a_call(
        request={"messages": [{"content": WORDS[0]}]},
        answer=[{"text": WORDS[1]}],
        error=f"there is no model {WORDS[4]!r}",
    )
    database.record(call)
    database.add_feedback(a_remark(call.id, correction={"should": WORDS[2]}, comment=WORDS[3]))
    later = a_call(request=WORDS[0], answer=WORDS[1], error="timeout: after " + WORDS[4])
    database.record(later)
    assert database._writer.flush()
    return call.id


def on_the_disk(folder: Path) -> set[str]:
    """Which of the words are in any file there."""
    held = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    return {word for word in WORDS if word.encode() in held}


def test_without_content_no_word_reaches_the_disk(tmp_path: Path, opened: Opened) -> None:
    database = opened(f"sqlite:///{tmp_path / 'kept.sqlite'}", keep_content=False)
    id = say_all(database)
    assert on_the_disk(tmp_path) == set()
    database.close()
    assert on_the_disk(tmp_path) == set()
    again = opened(f"sqlite:///{tmp_path / 'kept.sqlite'}")
    kept = again.served(id)
    assert kept is not None
    assert (kept.request, kept.answer, kept.error) == (None, None, "not kept")
    assert (kept.model, kept.input_tokens, kept.dollars) == ("small", 12, 0.5)
    (remark,) = again.feedback(id)
    assert (remark.verdict, remark.correction, remark.comment) == ("wrong", None, "")
    reasons = {call.error for call in again.served_between(AT, AT + timedelta(1))}
    assert reasons == {"not kept", "timeout"}


def test_what_is_forgotten_is_off_the_disk(tmp_path: Path, opened: Opened) -> None:
    database = opened(f"sqlite:///{tmp_path / 'kept.sqlite'}")
    say_all(database)
    assert on_the_disk(tmp_path) == {*WORDS}
    database.forget(AT + timedelta(days=1))
    assert on_the_disk(tmp_path) == set()


def test_the_file_shrinks_again(tmp_path: Path, opened: Opened) -> None:
    path = tmp_path / "kept.sqlite"
    database = opened(f"sqlite:///{path}")
    small = path.stat().st_size
    file = database.add_file(
        owner="a", name="n", purpose="p", media_type="m", chunks=[b"x" * (30 << 20)]
    )
    database.sweep()
    assert path.stat().st_size > 30 << 20
    assert database.delete_file(file.id)
    database.sweep()
    assert path.stat().st_size < small + (1 << 20)


def test_without_content_on_postgresql(postgres_url: str, opened: Opened) -> None:
    import psycopg

    say_all(opened(postgres_url, keep_content=False))
    with psycopg.connect(postgres_url) as connection:
        rows = [
            str(row)
            for table in ("traffic", "feedback")
            for row in connection.execute(f"SELECT * FROM {table}")
        ]
    assert len(rows) == 3
    assert not [word for word in WORDS if word in "".join(rows)]


def test_a_database_that_is_gone_says_so(postgres: PostgresServer, opened: Opened) -> None:
    database = opened(postgres.make("going"))
    database.ping()
    import psycopg

    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("DROP DATABASE going WITH (FORCE)")
    with pytest.raises(StoreError, match="'postgresql://postgres@") as told:
        database.ping()
    assert told.value.hint
