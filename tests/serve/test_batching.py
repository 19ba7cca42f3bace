"""Batches over the fake engine: every item once, in order, whatever comes in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.core import Json
from stepladder.database import new_id
from stepladder.database.records import Batch, BatchItem
from stepladder.serve import batching
from stepladder.serve.batching import BatchRunner, may_start
from stepladder.serve.openai import batch_items
from stepladder.serve.server import Server

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"


def chat(text: str, **more: Json) -> dict[str, Json]:
    return {"model": "fake", "messages": [{"role": "user", "content": text}], **more}


def post(server: Server, bodies: list[dict[str, Json]], **more: Any) -> Batch:
    now = datetime.now(UTC)
    batch = Batch(
        new_id(), "local", "openai", CHAT, "fake", now, now, expires_at=now + timedelta(hours=1)
    )
    batch = replace(batch, **more)
    items = [BatchItem(batch.id, index, f"key-{index}", body) for index, body in enumerate(bodies)]
    return server.database.add_batch(batch, items)


def post_gemini(server: Server, texts: list[str], **more: Any) -> Batch:
    now = datetime.now(UTC)
    batch = replace(Batch(new_id(), "local", "gemini", "generateContent", "fake", now, now), **more)
    from stepladder.serve.gemini.batch_items import as_item

    lines = [
        {"request": {"contents": [{"role": "user", "parts": [{"text": text}]}]}, "key": text}
        for text in texts
    ]
    return server.database.add_batch(
        batch, [as_item(batch, index, line) for index, line in enumerate(lines)]
    )


@asynccontextmanager
async def working(server: Server, **options: Any) -> AsyncIterator[BatchRunner]:
    """A runner at work beside the test, as beside a server's answers."""
    runner = BatchRunner(server, **options)
    server.batches = runner
    task = asyncio.create_task(runner.run())
    try:
        yield runner
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def until(found: Callable[[], Any], seconds: float = 20.0) -> Any:
    async with asyncio.timeout(seconds):
        while not (value := found()):
            await asyncio.sleep(0.005)
    return value


def now_of(server: Server, batch: Batch) -> Batch:
    found = server.database.batch(batch.id)
    assert found is not None
    return found


async def ended(server: Server, batch: Batch) -> Batch:
    over = ("succeeded", "failed", "cancelled")
    await until(lambda: now_of(server, batch).state in over)
    return now_of(server, batch)


def lines_of(server: Server, file: str | None) -> list[Any]:
    assert file is not None
    content = b"".join(server.database.read_file(file))
    return [json.loads(line) for line in content.decode().splitlines()]


def said(line: Any) -> str:
    return str(line["response"]["body"]["choices"][0]["message"]["content"])


@given(st.integers(0, 200), st.integers(0, 200), st.integers(1, 100))
def test_a_batch_leaves_room_for_those_who_wait(taken: int, own: int, most: int) -> None:
    if may_start(taken, own, most):
        assert taken < most
        assert taken + 1 <= most - most // 4
    assert may_start(0, 0, most)


async def test_every_item_is_answered_and_told_in_order(server: Server) -> None:
    bodies = [chat(f"word{number}") for number in range(30)]
    bodies[7] = chat("x", temperature="hot")
    bodies[8] = chat("x", n=0)
    batch = post(server, bodies)
    async with working(server):
        done = await ended(server, batch)
    assert (done.state, done.total, done.succeeded, done.failed) == ("succeeded", 30, 28, 2)
    output, errors = lines_of(server, done.output_file), lines_of(server, done.error_file)
    assert [line["custom_id"] for line in output] == [
        f"key-{number}" for number in range(30) if number not in (7, 8)
    ]
    assert [said(line) for line in output[:3]] == ["word0", "word1", "word2"]
    assert [line["custom_id"] for line in errors] == ["key-7", "key-8"]
    assert {line["response"]["status_code"] for line in errors} == {400}
    assert done.finished_at is not None


async def test_a_file_that_would_be_empty_is_not_made(server: Server) -> None:
    right = post(server, [chat("a")])
    wrong = post(server, [chat("a", n=0)])
    async with working(server):
        all_right, all_wrong = await ended(server, right), await ended(server, wrong)
    assert all_right.error_file is None
    assert (all_wrong.output_file, all_wrong.succeeded) == (None, 0)
    assert all_wrong.state == "succeeded"


async def test_batches_of_gemini_keep_their_answers_with_them(server: Server) -> None:
    inline = post_gemini(server, ["a", "b"])
    of_file = post_gemini(server, ["c"], input_file="1")
    async with working(server):
        kept, written = await ended(server, inline), await ended(server, of_file)
    assert (kept.output_file, kept.succeeded) == (None, 2)
    (line,) = lines_of(server, written.output_file)
    assert line["key"] == "c"
    assert line["response"]["candidates"][0]["content"]["parts"] == [{"text": "c"}]


async def test_a_new_batch_is_taken_up_when_it_is_told(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "POLL_SECONDS", 3600.0)
    async with working(server) as runner:
        await asyncio.sleep(0)
        batch = post(server, [chat("a")])
        runner.wake()
        assert (await ended(server, batch)).state == "succeeded"


async def test_a_batch_waits_while_others_want_the_places(server: Server) -> None:
    server.limits.take(server.limits.most_running)
    batch = post(server, [chat("a")])
    async with working(server):
        await until(lambda: now_of(server, batch).state == "running")
        for _ in range(5):
            await asyncio.sleep(batching.PAUSE_SECONDS)
        assert now_of(server, batch).succeeded == 0
        server.limits.give_back(server.limits.most_running)
        assert (await ended(server, batch)).succeeded == 1


async def test_an_item_that_finds_no_place_is_tried_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stepladder.serve import Refusal

    ordinary, tries = batch_items.run_item, []

    async def run_item(*arguments: Any) -> dict[str, Json]:
        tries.append(1)
        if len(tries) == 1:
            raise Refusal("busy", "full", retry_after_seconds=0.001)
        return await ordinary(*arguments)

    monkeypatch.setattr(batch_items, "run_item", run_item)
    batch = post(server, [chat("a")])
    async with working(server):
        done = await ended(server, batch)
    assert (len(tries), done.succeeded, done.failed) == (2, 1, 0)


async def test_a_bug_in_one_item_does_not_end_the_batch(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ordinary = batch_items.run_item

    async def run_item(server: Server, caller: Any, route: str, body: Any) -> dict[str, Json]:
        if body["messages"][0]["content"] == "b":
            raise ZeroDivisionError("a bug, with a secret in it")
        return await ordinary(server, caller, route, body)

    monkeypatch.setattr(batch_items, "run_item", run_item)
    batch = post(server, [chat("a"), chat("b"), chat("c")])
    async with working(server):
        done = await ended(server, batch)
    assert (done.succeeded, done.failed) == (2, 1)
    (line,) = lines_of(server, done.error_file)
    assert line["response"]["status_code"] == 500
    assert "secret" not in json.dumps(line)


async def test_a_batch_of_a_revoked_key_is_not_run(server: Server) -> None:
    batch = post(server, [chat("a")], owner="gone")
    async with working(server):
        done = await ended(server, batch)
    (line,) = lines_of(server, done.error_file)
    assert line["response"]["status_code"] == 401


async def test_an_item_is_run_as_its_key(server: Server) -> None:
    now = datetime.now(UTC)
    server.database.add_key("key-1", "hash", "use", None, None, now)
    server.keyring.read()
    batch = post(server, [chat("a")], owner="key-1")
    async with working(server):
        assert (await ended(server, batch)).succeeded == 1


def gate(monkeypatch: pytest.MonkeyPatch, after: int) -> tuple[asyncio.Event, list[str]]:
    """Items beyond the first `after` wait until the event is set; which were begun is noted."""
    opened, begun = asyncio.Event(), list[str]()
    ordinary = batch_items.run_item

    async def run_item(server: Server, caller: Any, route: str, body: Any) -> dict[str, Json]:
        begun.append(body["messages"][0]["content"])
        if len(begun) > after:
            await opened.wait()
        return await ordinary(server, caller, route, body)

    monkeypatch.setattr(batch_items, "run_item", run_item)
    return opened, begun


async def test_a_cancelled_batch_tells_what_was_answered(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "LOOK_SECONDS", 0.01)
    opened, _ = gate(monkeypatch, 3)
    batch = post(server, [chat(f"w{number}") for number in range(60)])
    async with working(server):
        await until(lambda: now_of(server, batch).succeeded == 3)
        server.database.change_batch(batch.id, only_in=("running",), state="cancelling")
        await until(lambda: now_of(server, batch).state == "cancelling")
        opened.set()
        done = await ended(server, batch)
    assert done.state == "cancelled"
    assert 3 <= done.succeeded < 60
    assert done.succeeded + done.failed == 60
    assert len(lines_of(server, done.output_file)) == done.succeeded
    codes = {line["error"]["code"] for line in lines_of(server, done.error_file)}
    assert codes == {"batch_cancelled"}


async def test_a_batch_whose_time_is_over_says_so(server: Server) -> None:
    batch = post(server, [chat("a"), chat("b")], expires_at=datetime.now(UTC))
    async with working(server):
        done = await ended(server, batch)
    assert (done.state, (done.error or {})["reason"]) == ("failed", "expired")
    codes = {line["error"]["code"] for line in lines_of(server, done.error_file)}
    assert codes == {"batch_expired"}
    assert done.output_file is None


async def test_a_batch_that_is_deleted_while_it_runs_is_let_go(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "LOOK_SECONDS", 0.01)
    opened, begun = gate(monkeypatch, 1)
    deleted = post(server, [chat(f"w{number}") for number in range(60)])
    following = post(server, [chat("next")])
    async with working(server):
        await until(lambda: len(begun) > 1)
        server.database.delete_batch(deleted.id)
        opened.set()
        assert (await ended(server, following)).succeeded == 1
    assert server.database.batch(deleted.id) is None


async def test_a_restart_goes_on_and_answers_nothing_twice(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = post(server, [chat(f"w{number}") for number in range(40)])
    opened, begun = gate(monkeypatch, 11)
    async with working(server):
        await until(lambda: now_of(server, batch).succeeded == 11)
    before = {item.key for item in server.database.items(batch.id) if item.done}
    assert now_of(server, batch).state == "running"
    opened.set()
    begun.clear()
    async with working(server):
        done = await ended(server, batch)
    assert done.succeeded == 40
    assert len(begun) == 40 - len(before)
    assert [said(line) for line in lines_of(server, done.output_file)] == [
        f"w{number}" for number in range(40)
    ]


async def test_a_crash_while_the_output_is_written_leaves_one_output(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crash(Exception):
        pass

    batch = post(server, [chat("a"), chat("b", n=0)])
    change, crashes = server.database.change_batch, []

    def crash(*arguments: Any, **named: Any) -> Any:
        if not crashes:
            crashes.append(1)
            raise Crash
        return change(*arguments, **named)

    monkeypatch.setattr(server.database, "change_batch", crash)
    claimed = server.database.claim_batch("w", 0.0)
    assert claimed is not None
    with pytest.raises(Crash):
        await BatchRunner(server).work(claimed)
    async with working(server):
        done = await ended(server, batch)
    assert (done.succeeded, done.failed) == (1, 1)
    files = {file.id for file in server.database.files(purpose="batch_output")}
    assert files == {done.output_file, done.error_file}


async def test_who_lost_a_batch_does_not_end_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, begun = gate(monkeypatch, 0)
    batch = post(server, [chat("a")])
    async with working(server, lease_seconds=0.03):
        await until(lambda: begun)
        from sqlalchemy import update

        from stepladder.database.tables import batches

        with server.database._connections.write() as connection:
            until_then = datetime.now(UTC) + timedelta(hours=1)
            connection.execute(update(batches).values(worker="another", lease_until=until_then))
        for _ in range(10):
            await asyncio.sleep(0.01)
        opened.set()
        await until(lambda: server.limits.taken == 0 and now_of(server, batch).succeeded == 1)
        for _ in range(10):
            await asyncio.sleep(0.01)
        assert now_of(server, batch).state == "running"


async def test_output_expires_when_its_batch_says_so(server: Server) -> None:
    asked = {"output_expires_after": {"anchor": "created_at", "seconds": 3600}}
    batch = post(server, [chat("a")], request=asked)
    async with working(server):
        done = await ended(server, batch)
    file = server.database.file(done.output_file or "")
    assert file is not None
    assert file.expires_at is not None
    assert timedelta(minutes=59) < file.expires_at - datetime.now(UTC) <= timedelta(hours=1)
