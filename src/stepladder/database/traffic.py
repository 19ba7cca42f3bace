"""What was asked and answered, what it cost, and what people said of it.

A call is handed to the writer's thread; feedback is committed when `add_feedback` returns. Where no
content is kept, what was said is left out here, before anything reaches a queue or a disk.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, IntegrityError

from .records import Feedback, Served
from .rows import Ground, Kept, NotKept, add, find, limited, same
from .tables import feedback, prefixes, traffic
from .values import NotStorable, encode, is_storable, json_text, record_of, values_of
from .writer import Row, Unwritable, Writer

__all__ = ["Traffic"]

AT_ONCE = 500  # rows deleted in one transaction
TEXTS = ("id", "key", "protocol", "route", "model", "version", "finish", "error", "trace")
CONTENT = ("request", "answer")
# for what is in a row, however often it is tried
REFUSED = (DataError, IntegrityError, ValueError, TypeError, OverflowError)


class Traffic(Kept):
    """Calls and feedback."""

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        self._writer = Writer(self._save)

    @property
    def dropped_rows(self) -> int:
        """How many calls were not recorded since the database was opened."""
        return self._writer.dropped_rows

    def record(self, served: Served) -> None:
        """Have a call kept; never waits for the database. Of two with one id the first is kept.

        Text that a database does not take has U+FFFD in its place; content that is not JSON (NaN)
        is left out, and `error` says so. Never raises: a call with anything else that cannot be
        kept is dropped, and counted and logged as that.
        """
        try:
            row = _row_of(served if self._ground.keep_content else _without_content(served))
        except NotStorable as error:
            self._writer.drop(error.message)
            return
        self._writer.put(row, sum(len(row[name] or "") for name in CONTENT) + 1000)

    def served(self, id: str) -> Served | None:
        """The call with this id, written or not yet."""
        waiting = self._writer.waiting(id)
        if waiting is not None:
            return record_of(Served, traffic, waiting)
        with self._connections.read() as connection:
            return find(connection, traffic, Served, id)

    def served_between(
        self, start: datetime, end: datetime, *, model: str | None = None, limit: int = 1000
    ) -> list[Served]:
        """Calls from `start` until before `end`, the first ones first.

        What cannot be written now is not among them.
        """
        self._writer.flush()
        query = (
            select(traffic)
            .where(traffic.c.at >= start, traffic.c.at < end, *same(traffic, model=model))
            .order_by(traffic.c.at, traffic.c.id)
            .limit(limited(limit))
        )
        with self._connections.read() as connection:
            rows = connection.execute(query).mappings()
            return [record_of(Served, traffic, dict(row)) for row in rows]

    def add_feedback(self, given: Feedback) -> None:
        """Keep what somebody says of an answer; it is on the disk when this returns.

        Raises NotKept where no call has the id `given.request`.
        """
        if not self._ground.keep_content:
            given = replace(given, correction=None, comment="")
        with self._writer.saving:
            self._add_feedback(given, self._writer.waiting(given.request))

    def _add_feedback(self, given: Feedback, waiting: Row | None) -> None:
        """With its call where that is not written yet."""
        held = (
            select(traffic.c.id)
            .where(*same(traffic, id=given.request))
            .with_for_update(read=True, key_share=True)  # against `forget` at the same moment
        )
        with self._connections.write() as connection:
            if waiting is not None:
                self._insert(connection, [waiting])
            elif connection.scalar(held) is None:
                raise NotKept(
                    f"no call has the id {given.request!r}",
                    hint="give the id that the answer's header x-request-id has",
                )
            add(connection, feedback, given)
        if waiting is not None:
            self._writer.saved(given.request)

    def feedback(self, request: str) -> list[Feedback]:
        """What was said of a call, in the order it came."""
        query = select(feedback).where(*same(feedback, request=request))
        with self._connections.read() as connection:
            rows = connection.execute(query.order_by(feedback.c.at, feedback.c.id)).mappings()
            return [record_of(Feedback, feedback, dict(row)) for row in rows]

    def spent_dollars(self, key: str, since: datetime) -> float:
        """What the calls of a key cost from `since` on, those not yet written included."""
        query = select(func.sum(traffic.c.dollars)).where(
            *same(traffic, key=key), traffic.c.at >= since
        )
        with self._writer.saving:
            with self._connections.read() as connection:
                written = connection.scalar(query) or 0.0
            waiting = self._writer.all_waiting()
        return float(written) + sum(
            row["dollars"] or 0.0 for row in waiting if row["key"] == key and row["at"] >= since
        )

    def _forget_calls(self, before: datetime) -> int:
        return self._delete(traffic, select(traffic.c.id).where(traffic.c.at < before))

    def _delete_expired_prefixes(self) -> int:
        expired = select(prefixes.c.id).where(prefixes.c.expires_at <= self._clock())
        return self._delete(prefixes, expired)

    def _delete(self, table: Table, wanted: Any) -> int:
        few = delete(table).where(table.c.id.in_(wanted.limit(AT_ONCE)))
        total = 0
        while True:
            with self._connections.write(durable=False) as connection:
                gone = connection.execute(few).rowcount
            total += gone
            if gone < AT_ONCE:
                return total

    def _save(self, rows: list[Row]) -> None:
        with self._connections.write(durable=False) as connection:
            try:
                self._insert(connection, rows)
            except REFUSED as error:
                raise Unwritable(f"a row of traffic is refused: {error}") from error

    def _insert(self, connection: Connection, rows: list[Row]) -> None:
        dialect = sqlite if self._connections.sqlite else postgresql
        connection.execute(dialect.insert(traffic).on_conflict_do_nothing(), rows)


def _row_of(served: Served) -> Row:
    values = values_of(served)
    for name in TEXTS:
        if isinstance(values[name], str) and not is_storable(values[name]):
            values[name] = _cleaned(values[name])
    for name in CONTENT:
        try:
            values[name] = None if values[name] is None else json_text(values[name], name)
        except NotStorable as error:
            values[name] = None
            values["error"] = values["error"] or error.message
    content = {name: values.pop(name) for name in CONTENT}
    return encode(traffic, values) | content


def _without_content(served: Served) -> Served:
    """`error` stays as far as it is a reason and no sentence, which may quote what was said."""
    error = served.error
    if error is not None:
        reason = error.partition(":")[0]
        error = reason if re.fullmatch(r"\w+", reason) else "not kept"
    return replace(served, request=None, answer=None, error=error)


def _cleaned(text: str) -> str:
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()
