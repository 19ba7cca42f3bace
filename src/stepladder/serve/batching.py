"""Works off batches inside the server, behind those who wait for an answer.

A batch is claimed by lease, each of its items is saved as it is done, and the output is written at
the end, in the order of the input: after a restart, here or at another server of the database, no
item is answered twice in it. How an item is answered and told is the protocols'.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from anyio.to_thread import run_sync

from ..core import Json
from ..database import new_id
from ..database.records import Batch, BatchItem
from ..errors import StepladderError, StoreError
from . import Caller, Refusal
from .leftovers import files_named
from .log import LOGGER

if TYPE_CHECKING:
    from .server import Server

__all__ = ["BatchRunner", "may_start"]

Why = Literal["done", "cancelled", "expired", "lost"]

LEASE_SECONDS = 60.0
POLL_SECONDS = 5.0  # another server of the database may have queued a batch, or died over one
LOOK_SECONDS = 1.0  # at most so late is it noticed that a batch was cancelled
PAUSE_SECONDS = 0.02  # between looks whether there is room
PAGE = 200  # items in memory
OUTPUT = "batch_output"
WORDS: Mapping[str, str] = {
    "cancelled": "the batch was cancelled before this request was run",
    "expired": "the batch's time was over before this request was run",
}


def may_start(taken: int, own: int, most_running: int) -> bool:
    """Whether a batch may take a place: never the last quarter of those that run at once."""
    free = most_running - max(1, most_running // 4) if most_running > 1 else 1
    return taken < free and own < free


@dataclass
class _Hold:
    """The claim on a batch, and when it ends."""

    batch: Batch
    worker: str
    until: float
    looked: float = float("-inf")
    end: Why | None = None
    ours: set[int] = field(default_factory=set)  # items that run


class BatchRunner:
    """Runs on the server's loop from `start` until the server ends."""

    def __init__(
        self,
        server: Server,
        *,
        lease_seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._server = server
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._now = now
        self._worker = f"{socket.gethostname()}/{os.getpid()}/{new_id()}"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()

    def start(self) -> None:
        """Have it run for as long as the server answers."""
        self._server.background.append(self.run)

    def wake(self) -> None:
        """There is a new batch, or one was cancelled; from any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended, and with it the batches
                self._loop.call_soon_threadsafe(self._woken.set)

    def stop(self) -> None:
        """Nothing to do: it ends with the server's loop, and other servers go on with its batch."""

    async def run(self) -> None:
        """Work off batches, one after the other, until cancelled."""
        self._loop = asyncio.get_running_loop()
        while True:
            self._woken.clear()
            try:
                batch = await run_sync(
                    self._server.database.claim_batch, self._worker, self._lease_seconds
                )
                if batch is not None:
                    await self.work(batch)
                    continue
            except StoreError as error:
                LOGGER.warning("batches wait for the database: %s", error.message)
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._woken.wait()

    async def work(self, batch: Batch) -> None:
        """Bring a claimed batch to its end; let go of it when cancelled."""
        hold = _Hold(batch, self._worker, self._clock() + self._lease_seconds)
        renewing = asyncio.create_task(self._renew(hold))
        try:
            await self._answer(hold)
            if hold.end != "lost":
                await run_sync(self._finish, hold)
        except asyncio.CancelledError:
            keep = self._server.database.keep_batch
            with suppress(StoreError):
                await asyncio.shield(run_sync(keep, batch.id, self._worker, 0.0))
            raise
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])  # unlike awaiting it, this hides no end of our own

    async def _answer(self, hold: _Hold) -> None:
        """Answer what is open, until nothing is or there is a reason to end."""
        database = self._server.database
        while items := await run_sync(database.open_items, hold.batch.id, PAGE):
            async with asyncio.TaskGroup() as group:
                for item in items:
                    await self._room(hold)
                    if hold.end is not None:
                        break
                    hold.ours.add(item.index)
                    group.create_task(self._one(hold, item))
            if hold.end is not None:
                return
        await self._look(hold, at_once=True)
        hold.end = hold.end or "done"

    async def _room(self, hold: _Hold) -> None:
        """Wait for a place that nobody else wants, or for the end of the batch."""
        limits = self._server.limits
        while True:
            await self._look(hold)
            if hold.end is not None:
                return
            if may_start(limits.taken, len(hold.ours), limits.most_running):
                return
            await asyncio.sleep(PAUSE_SECONDS)

    async def _look(self, hold: _Hold, *, at_once: bool = False) -> None:
        """See whether the batch is to end."""
        if self._clock() >= hold.until:
            hold.end = "lost"
        if hold.end is not None or (not at_once and self._clock() - hold.looked < LOOK_SECONDS):
            return
        hold.looked = self._clock()
        batch = await run_sync(self._server.database.batch, hold.batch.id)
        if batch is None:
            hold.end = "lost"
        elif batch.state == "cancelling":
            hold.end = "cancelled"
        elif batch.expires_at is not None and batch.expires_at <= self._now():
            hold.end = "expired"

    async def _one(self, hold: _Hold, item: BatchItem) -> None:
        """Answer an item and save it. One that finds no place stays open and is tried again."""
        database, batch = self._server.database, hold.batch
        speak = _protocol(batch)
        try:
            caller = await self._caller(batch)
            answer = await speak.run_item(self._server, caller, batch.route, item.request)
            saved: dict[str, Json] = {"answer": answer}
        except Refusal as refusal:
            if refusal.reason == "busy" or self._server.limits.stopping:
                await asyncio.sleep(min(refusal.retry_after_seconds or 1.0, LOOK_SECONDS))
                return
            saved = {"error": speak.error_of(refusal)}
        except Exception as error:  # one faulty item must not end its batch, nor the server
            LOGGER.exception("item %d of batch %s failed", item.index, batch.id, exc_info=error)
            unknown = Refusal("internal", "the request could not be answered")
            saved = {"error": speak.error_of(unknown)}
        finally:
            hold.ours.discard(item.index)
        await run_sync(lambda: database.finish_item(batch.id, item.index, **saved))

    async def _caller(self, batch: Batch) -> Caller:
        """Whose batch it is, with what the key may do now."""
        found = await self._server.keyring.caller_named(batch.owner)
        if found is None:
            raise Refusal(
                "unauthenticated",
                "the key that this batch was sent with is not valid any more",
                hint="send the batch again with another key",
            )
        return found

    async def _renew(self, hold: _Hold) -> None:
        while hold.end != "lost":
            await asyncio.sleep(self._lease_seconds / 3)
            asked = self._clock()
            try:
                kept = await run_sync(
                    self._server.database.keep_batch,
                    hold.batch.id,
                    hold.worker,
                    self._lease_seconds,
                )
            except StoreError:
                continue  # it may come back before the lease is over
            if not kept:
                hold.end = "lost"
                return
            hold.until = asked + self._lease_seconds

    def _finish(self, hold: _Hold) -> None:
        """Write the output and end the batch; done again after a crash, it is the same output."""
        batch, server = hold.batch, self._server
        state, error = _end_of(hold.end or "done")
        try:
            if batch.protocol == "openai":
                changes = _openai_output(server, batch, hold.end)
            else:
                from .gemini.batch_items import write_output

                changes = write_output(server, batch)
        except StoreError:
            raise
        except StepladderError as failure:  # the place for the output cannot be written
            told = f"{failure.message}; {failure.hint}" if failure.hint else failure.message
            changes, state = {}, "failed"
            error = {"reason": getattr(failure, "reason", "unavailable"), "message": told}
        server.database.change_batch(
            batch.id,
            only_in=("running", "cancelling"),
            held_by=hold.worker,
            state=state,
            error=error,
            finished_at=self._now(),
            **changes,
        )


def _end_of(end: Why) -> tuple[str, Mapping[str, Json] | None]:
    if end == "cancelled":
        return "cancelled", None
    if end == "expired":
        return "failed", {"reason": "expired", "message": "the batch's time was over"}
    return "succeeded", None


def _protocol(batch: Batch) -> Any:
    if batch.protocol == "openai":
        from .openai import batch_items

        return batch_items
    from .gemini import batch_items as of_gemini

    return of_gemini


# --- OpenAI's output files ----------------------------------------------------------------------


def _openai_output(server: Server, batch: Batch, end: Why | None) -> dict[str, Json]:
    """Two files, of what was answered and of what was not; one that would be empty is not made."""
    if end in WORDS:
        _close_items(server, batch, end or "")
    database = server.database
    kept = files_named(database, batch.owner, OUTPUT, (f"batch_{batch.id}_",))
    changes: dict[str, Json] = {}
    for name, wrong in (("output_file", False), ("error_file", True)):
        path = f"batch_{batch.id}_{'error' if wrong else 'output'}.jsonl"
        lines = _lines(server, batch, wrong=wrong)
        first = next(lines, None)
        if first is not None:
            stored = database.add_file(
                owner=batch.owner,
                name=path,
                purpose=OUTPUT,
                media_type="application/jsonl",
                chunks=_chained(first, lines),
                expires_at=_expiry(batch),
            )
            changes[name] = stored.id
        if path in kept:
            database.delete_file(kept[path].id)
    return changes


def _expiry(batch: Batch) -> datetime | None:
    from datetime import timedelta

    asked = batch.request.get("output_expires_after")
    if not isinstance(asked, Mapping):
        return None
    return datetime.now(UTC) + timedelta(seconds=float(asked["seconds"]))


def _close_items(server: Server, batch: Batch, end: str) -> None:
    """What was not run is told with the reason."""
    error = {"reason": end, "message": WORDS[end]}
    while items := server.database.open_items(batch.id, PAGE):
        for item in items:
            server.database.finish_item(batch.id, item.index, error=error)


def _lines(server: Server, batch: Batch, *, wrong: bool) -> Iterator[bytes]:
    from .openai.batch_items import output_line

    after = -1
    while items := server.database.items(batch.id, after=after, limit=PAGE):
        after = items[-1].index
        for item in items:
            if (item.error is not None) == wrong:
                yield json.dumps(output_line(item), ensure_ascii=False).encode() + b"\n"


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
