"""Batches through the official SDK, and the requests in them as a worker runs them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI, BadRequestError, ConflictError, NotFoundError

from stepladder.database.records import BatchItem
from stepladder.serve import Caller, Refusal
from stepladder.serve.openai.batch_items import error_of, output_line, run_item
from stepladder.serve.openai.batch_lines import MOST_LINES, check_lines, lines_of
from stepladder.serve.server import Server

CHAT = "/v1/chat/completions"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LOCAL = Caller("local", "admin")
HI = [{"role": "user", "content": "hi"}]


def request(key: str, **more: Any) -> dict[str, Any]:
    body = {"model": "fake", "messages": HI}
    return {"custom_id": key, "method": "POST", "url": CHAT, "body": body, **more}


def lines(*requests: Any) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in requests)


async def created(sdk: AsyncOpenAI, data: bytes, **more: Any) -> Any:
    file = await sdk.files.create(file=("in.jsonl", data), purpose="batch")
    asked = {"endpoint": CHAT, "completion_window": "24h", "input_file_id": file.id, **more}
    return await sdk.batches.create(**asked)


@pytest.mark.anyio
async def test_a_batch_waits_with_its_requests(sdk: AsyncOpenAI, server: Server) -> None:
    batch = await created(sdk, lines(request("a"), request("b")), metadata={"k": "v"})
    assert (batch.status, batch.endpoint, batch.model) == ("validating", CHAT, "fake")
    assert batch.request_counts is not None
    assert (batch.request_counts.total, batch.request_counts.completed) == (2, 0)
    assert batch.metadata == {"k": "v"}
    assert batch.expires_at == batch.created_at + 24 * 3600
    assert await sdk.batches.retrieve(batch.id) == batch
    items = server.database.open_items(batch.id.removeprefix("batch_"))
    assert [(one.index, one.key, one.request["messages"]) for one in items] == [
        (0, "a", HI), (1, "b", HI)
    ]  # fmt: skip


@pytest.mark.anyio
async def test_a_faulty_file_fails_the_batch_and_says_why_by_line(
    sdk: AsyncOpenAI, server: Server
) -> None:
    data = (
        lines(request("a"), request("a"), request(""), request("b", method="GET"))
        + b"\n{\n[]\n"
        + lines(request("c", url="/v1/embeddings"), request("d", body=5), request("e", more=1))
        + lines(request("f", body={"model": "m", "stream": True}))
    )
    batch = await created(sdk, data)
    assert batch.status == "failed"
    assert batch.failed_at is not None
    assert batch.errors is not None
    told = [(one.line, one.code) for one in batch.errors.data or ()]
    assert told == [
        (2, "duplicate_custom_id"), (3, "missing_custom_id"), (4, "invalid_method"),
        (6, "invalid_json_line"), (7, "invalid_json_line"), (8, "invalid_url"),
        (9, "invalid_request"), (10, "invalid_request"), (11, "invalid_request"),
    ]  # fmt: skip
    assert server.database.open_items(batch.id.removeprefix("batch_")) == []
    empty = await created(sdk, b"\n \n")
    assert [one.code for one in empty.errors.data or ()] == ["empty_file"]


@pytest.mark.anyio
async def test_how_far_a_batch_is(sdk: AsyncOpenAI, server: Server) -> None:
    batch = await created(sdk, lines(request("a"), request("b")))
    bare = batch.id.removeprefix("batch_")
    server.database.change_batch(bare, state="running", started_at=NOW)
    server.database.finish_item(bare, 0, answer={"x": 1})
    running = await sdk.batches.retrieve(batch.id)
    assert running.status == "in_progress"
    assert running.in_progress_at == int(NOW.timestamp())
    server.database.finish_item(bare, 1, error={"reason": "invalid", "message": "m"})
    server.database.change_batch(
        bare, state="succeeded", finished_at=NOW, output_file="1", error_file="2"
    )
    done = await sdk.batches.retrieve(batch.id)
    assert (done.status, done.completed_at) == ("completed", int(NOW.timestamp()))
    assert (done.output_file_id, done.error_file_id) == ("file-1", "file-2")
    assert done.request_counts is not None
    assert (done.request_counts.completed, done.request_counts.failed) == (1, 1)
    with pytest.raises(ConflictError):
        await sdk.batches.cancel(batch.id)


@pytest.mark.anyio
async def test_a_batch_is_cancelled_or_expires(sdk: AsyncOpenAI, server: Server) -> None:
    waiting = await created(sdk, lines(request("a")))
    assert (await sdk.batches.cancel(waiting.id)).status == "cancelled"
    running = await created(sdk, lines(request("a")))
    server.database.change_batch(running.id.removeprefix("batch_"), state="running")
    cancelling = await sdk.batches.cancel(running.id)
    assert cancelling.status == "cancelling"
    assert cancelling.cancelling_at is not None
    late = await created(sdk, lines(request("a")))
    server.database.change_batch(
        late.id.removeprefix("batch_"), state="failed", finished_at=NOW,
        error={"reason": "expired", "message": "too late"},
    )  # fmt: skip
    expired = await sdk.batches.retrieve(late.id)
    assert (expired.status, expired.expired_at) == ("expired", int(NOW.timestamp()))


@pytest.mark.anyio
async def test_batches_are_listed_by_the_page(sdk: AsyncOpenAI) -> None:
    ids = [(await created(sdk, lines(request("a")))).id for _ in range(3)]
    assert [one.id async for one in sdk.batches.list(limit=2)] == ids[::-1]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"endpoint": "/v1/responses"}, "endpoint"),
        ({"endpoint": None}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"completion_window": None}, "completion_window"),
        ({"input_file_id": None}, "input_file_id"),
        ({"output_expires_after": {"anchor": "created_at"}}, "output_expires_after.seconds"),
        ({"metadata": {"a": None}}, "metadata.a"),
        ({"window": "24h"}, "window"),
    ],
)
def test_every_fault_is_told_by_its_field(call: Any, body: dict[str, Any], param: str) -> None:
    plain = {"endpoint": CHAT, "completion_window": "24h", "input_file_id": "file-1"}
    response = call.post("/v1/batches", {**plain, **body})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


@pytest.mark.anyio
async def test_a_file_that_is_not_there_or_for_something_else(sdk: AsyncOpenAI) -> None:
    asked: Any = {"endpoint": CHAT, "completion_window": "24h"}
    with pytest.raises(NotFoundError):
        await sdk.batches.create(input_file_id="file-1", **asked)
    file = await sdk.files.create(file=("a", b"{}"), purpose="fine-tune")
    with pytest.raises(BadRequestError):
        await sdk.batches.create(input_file_id=file.id, **asked)
    for id in ("batch_1", "1", "batches/1"):
        with pytest.raises(NotFoundError):
            await sdk.batches.retrieve(id)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("route", "body", "kind"),
    [
        (CHAT, {"model": "fake", "messages": HI}, "chat.completion"),
        ("/v1/completions", {"model": "fake", "prompt": "x"}, "text_completion"),
        ("/v1/embeddings", {"model": "fake-encoder", "input": "x"}, "list"),
    ],
)
async def test_an_item_is_answered_as_its_route_answers(
    server: Server, route: str, body: dict[str, Any], kind: str
) -> None:
    answer = await run_item(server, LOCAL, route, body)
    assert answer["object"] == kind
    assert json.loads(json.dumps(answer)) == answer


@pytest.mark.anyio
async def test_an_item_that_is_refused_is_told_in_the_error_file(server: Server) -> None:
    with pytest.raises(Refusal) as refused:
        await run_item(server, LOCAL, CHAT, {"model": "nope", "messages": HI})
    kept = error_of(refused.value)
    line = output_line(BatchItem("7", 3, "key", {}, error=json.loads(json.dumps(kept)), done=True))
    assert (line["custom_id"], line["response"]["status_code"]) == ("key", 404)
    assert line["response"]["body"]["error"]["code"] == "model_not_found"


def test_an_item_s_answer_as_a_line_of_the_output() -> None:
    line = output_line(BatchItem("7", 3, "key", {}, answer={"id": "x"}, done=True))
    assert line["id"] == "batch_req_7_3"
    assert line["response"] == {"status_code": 200, "request_id": line["id"], "body": {"id": "x"}}
    assert line["error"] is None
    late: Any = {"reason": "expired", "message": "too late"}
    unanswered = output_line(BatchItem("7", 4, "k", {}, error=late, done=True))
    assert unanswered["response"] is None
    assert unanswered["error"] == {"code": "batch_expired", "message": "too late"}


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=5))
def test_lines_are_the_same_wherever_the_pieces_are_cut(data: bytes, cuts: list[int]) -> None:
    data = data.replace(b"\x01", b"\n")
    found = list(lines_of(_cut(data, cuts)))
    plain = [(place, line) for place, line in enumerate(data.split(b"\n"), 1) if line.strip()]
    assert found == plain


def _cut(data: bytes, cuts: Sequence[int]) -> Iterable[bytes]:
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    start = 0
    for end in ends:
        yield data[start:end]
        start = end


def test_a_batch_has_so_many_requests_and_no_more() -> None:
    line = json.dumps(request("a")).encode()
    numbered = ((place, line.replace(b'"a"', b'"%d"' % place, 1)) for place in range(1, 10**9))
    checked = check_lines(numbered, CHAT, 10**6)
    assert checked.total == MOST_LINES + 1
    assert [fault["code"] for fault in checked.faults] == ["too_many_requests"]


def test_faults_are_told_up_to_a_hundred_and_long_lines_are_not_read() -> None:
    checked = check_lines(((place, b"{" * 2000) for place in range(1, 10**9)), CHAT, 1000)
    assert len(checked.faults) == 100
    assert {fault["code"] for fault in checked.faults} == {"request_too_large"}
