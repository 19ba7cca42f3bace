"""Files through the official SDK: uploaded, listed by the page, read, deleted."""

from __future__ import annotations

from typing import Any

import httpx2 as httpx
import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError

from stepladder.serve.keys import hash_of
from stepladder.serve.server import Server

pytestmark = pytest.mark.anyio

ROWS = b'{"messages": []}\n'


async def upload(sdk: AsyncOpenAI, name: str = "a.jsonl", purpose: Any = "fine-tune") -> str:
    return (await sdk.files.create(file=(name, ROWS), purpose=purpose)).id


async def test_a_file_comes_back_as_it_was_sent(sdk: AsyncOpenAI) -> None:
    data = bytes(range(256)) * 10_000  # more than one piece
    file = await sdk.files.create(file=("ü/b.bin", data), purpose="user_data")
    assert (file.bytes, file.purpose, file.status) == (len(data), "user_data", "processed")
    assert "/" not in file.filename
    assert (await sdk.files.retrieve(file.id)) == file
    content = await sdk.files.content(file.id)
    assert content.read() == data
    assert content.response.headers["content-disposition"] == "attachment"


async def test_an_empty_file_is_a_file(sdk: AsyncOpenAI) -> None:
    file = await sdk.files.create(file=("a", b""), purpose="batch")
    assert (await sdk.files.content(file.id)).read() == b""


async def test_lists_go_on_after_the_last_thing_seen(sdk: AsyncOpenAI) -> None:
    ids = [await upload(sdk, f"{number}.jsonl") for number in range(5)]
    other = await upload(sdk, purpose="batch")
    page = await sdk.files.list(limit=2, purpose="fine-tune")
    assert [one.id for one in page.data] == ids[:2:-1]
    assert page.has_more
    assert [one.id async for one in page] == ids[::-1]
    assert [one.id async for one in sdk.files.list(order="asc", limit=3)] == [*ids, other]
    last = await sdk.files.list(after=ids[1], purpose="fine-tune")
    assert ([one.id for one in last.data], last.has_more) == (ids[:1], False)
    rest = await sdk.files.list(after=ids[3], limit=3, purpose="fine-tune")
    assert ([one.id for one in rest.data], rest.has_more) == (ids[2::-1], False)
    assert (await sdk.files.list(purpose="vision")).data == []


async def test_what_the_server_keeps_for_itself_is_not_shown(
    sdk: AsyncOpenAI, server: Server
) -> None:
    own = server.database.add_file(
        owner="local", name="adapter", purpose="adapter", media_type="", chunks=[b"x"]
    )
    seen = [await upload(sdk) for _ in range(2)]
    assert [one.id async for one in sdk.files.list(limit=1, order="asc")] == seen
    with pytest.raises(NotFoundError):
        await sdk.files.content(f"file-{own.id}")


async def test_a_deleted_file_is_gone(sdk: AsyncOpenAI) -> None:
    id = await upload(sdk)
    assert (await sdk.files.delete(id)).deleted
    for call in (sdk.files.retrieve, sdk.files.delete, sdk.files.content):
        with pytest.raises(NotFoundError):
            await call(id)


async def test_a_file_may_expire(sdk: AsyncOpenAI) -> None:
    lasting: Any = {"anchor": "created_at", "seconds": 3600}
    file = await sdk.files.create(file=("a", ROWS), purpose="batch", expires_after=lasting)
    assert file.expires_at is not None
    assert file.expires_at - file.created_at == 3600
    with pytest.raises(BadRequestError) as told:
        await sdk.files.create(
            file=("a", ROWS), purpose="batch", expires_after={**lasting, "seconds": 5}
        )
    assert told.value.param == "expires_after.seconds"


@pytest.mark.parametrize(
    ("fields", "files", "param"),
    [
        ({"purpose": "batch"}, {"file": (None, "text")}, "file"),
        ({"purpose": "batch", "file": "text"}, {"x": ("a", b"")}, "x"),
        ({}, {"file": ("a", b"")}, "purpose"),
        ({"purpose": "fun"}, {"file": ("a", b"")}, "purpose"),
        ({"purpose": "adapter"}, {"file": ("a", b"")}, "purpose"),
        ({"purpose": "batch", "puprose": "b"}, {"file": ("a", b"")}, "puprose"),
        (
            {"purpose": "batch", "expires_after[seconds]": "7200"},
            {"file": ("a", b"")},
            "expires_after.anchor",
        ),
        (
            {"purpose": "batch", "expires_after[anchor]": "created_at"},
            {"file": ("a", b"")},
            "expires_after.seconds",
        ),
    ],
)
def test_every_fault_is_told_by_its_field(
    call: Any, fields: dict[str, str], files: Any, param: str
) -> None:
    response = call("POST", "/v1/files", data=fields, files=files)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("content_type", "raw"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=x", b"nothing of the sort"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n--x--"),
    ],
)
def test_what_is_no_form_is_refused(call: Any, content_type: str, raw: bytes) -> None:
    headers = {"content-type": content_type}
    response = call("POST", "/v1/files", content=raw, headers=headers)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"limit": "²"}, "limit"),
        ({"limit": "10001"}, "limit"),
        ({"after": "batch_1"}, "after"),
        ({"after": "file-1"}, "after"),
        ({"order": "up"}, "order"),
    ],
)
def test_every_fault_of_a_query_is_told(call: Any, query: dict[str, str], param: str) -> None:
    response = call("GET", "/v1/files", params=query)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize("id", ["file-1", "1", "batch_1", "file-", "file-%00", "file-ü"])
def test_an_unknown_file_is_not_found(call: Any, id: str) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/content")):
        response = call(method, f"/v1/files/{id}{path}")
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "not_found"


async def test_each_caller_sees_its_own(
    sdk: AsyncOpenAI, http: httpx.AsyncClient, server: Server
) -> None:
    everybodys = await upload(sdk)  # as long as there is no key, the caller is the owner of all
    for name, role in (("ann", "use"), ("bob", "use"), ("eve", "admin")):
        server.database.add_key(
            name, hash_of(name), role, None, None, server.database.file(everybodys[5:]).created_at
        )
    server.keyring.read()
    ann, bob, eve = (sdk.with_options(api_key=name) for name in ("ann", "bob", "eve"))
    id = await upload(ann)
    assert [one.id async for one in ann.files.list()] == [id]
    assert [one.id async for one in bob.files.list()] == []
    assert {one.id async for one in eve.files.list()} == {id, everybodys}
    with pytest.raises(NotFoundError):
        await bob.files.content(id)
    with pytest.raises(NotFoundError):
        await bob.files.delete(id)
    assert (await eve.files.retrieve(id)).id == id
