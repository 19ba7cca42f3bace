"""Files of the Developer API: however they come, they are there whole, and only for their owner."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest
from contract.specs import Json
from hypothesis import assume, given
from hypothesis import strategies as st
from resources import GOOGLE, call, faults, of_the_contract, send

from stepladder.serve.app import create_app
from stepladder.serve.gemini.multipart import Parted, boundary_of, read_parts
from stepladder.serve.server import Server, assemble

pytestmark = pytest.mark.anyio

UPLOAD = "/upload/v1beta/files"
CONTENT = bytes(range(256)) * 40


async def begin(
    client: httpx.AsyncClient,
    file: Json = None,
    *,
    size: int | None = None,
    kind: str = "text/plain",
) -> str:
    """A new upload; gives its address, without the host."""
    headers = {
        **GOOGLE,
        "x-goog-upload-protocol": "resumable",
        "x-goog-upload-command": "start",
        "x-goog-upload-header-content-type": kind,
    }
    if size is not None:
        headers["x-goog-upload-header-content-length"] = str(size)
    response = await client.post(UPLOAD, headers=headers, json={"file": file or {}})
    assert response.status_code == 200, response.text
    assert response.headers["x-goog-upload-status"] == "active"
    address = urlsplit(response.headers["x-goog-upload-url"])
    return f"{address.path}?{address.query}"


async def go_on(
    client: httpx.AsyncClient, url: str, command: str, data: bytes = b"", offset: int | None = None
) -> httpx.Response:
    """The next piece. No key goes with it: clients send none."""
    headers = {"x-goog-upload-command": command}
    if offset is not None:
        headers["x-goog-upload-offset"] = str(offset)
    return await client.post(url, headers=headers, content=data)


async def uploaded(client: httpx.AsyncClient, content: bytes = CONTENT, file: Json = None) -> Json:
    response = await go_on(client, await begin(client, file), "upload, finalize", content, 0)
    assert response.status_code == 200, response.text
    assert response.headers["x-goog-upload-status"] == "final"
    return response.json()["file"]


async def content_of(client: httpx.AsyncClient, name: str) -> bytes:
    response = await client.get(f"/v1beta/{name}:download?alt=media", headers=GOOGLE)
    assert response.status_code == 200, response.text
    return response.content


async def test_captured_requests_are_answered(app_client: httpx.AsyncClient) -> None:
    url = ""
    for case, exchange in of_the_contract("files"):
        if case.startswith("generate_"):
            continue
        if case == "upload_path_dev-2":
            data = json.dumps(exchange.body, separators=(",", ":")).encode().ljust(64)
            response = await go_on(app_client, url, "upload, finalize", data, 0)
            assert response.json()["file"]["name"] == "files/abc-123"
            assert faults("POST", "/v1/files", response.json()) == []
        elif case == "upload_bytesio_dev-2":
            response = await go_on(app_client, url, "upload, finalize", b"hello", 0)
            assert response.json()["file"]["sizeBytes"] == "5"
        elif exchange.method == "POST":
            size = exchange.body["file"]["size_bytes"]
            url = await begin(app_client, exchange.body["file"], size=size)
        elif "download" not in exchange.path:
            if exchange.method == "DELETE":
                await send(app_client, exchange)
                assert (await send(app_client, replace(exchange, method="GET"))).status_code == 404
                again = await begin(app_client, {"name": "files/abc-123"})
                await go_on(app_client, again, "upload, finalize", b"BYTES", 0)
            else:
                assert await call(app_client, exchange.method, exchange.path)
        else:
            response = await send(app_client, exchange)
            assert response.content == b"BYTES"


async def test_a_file_is_told_as_the_service_tells_it(app_client: httpx.AsyncClient) -> None:
    file = await uploaded(app_client, b"hello", {"display_name": "greeting"})
    assert faults("POST", "/v1beta/files", {"file": file}) == []
    digits = hashlib.sha256(b"hello").hexdigest()
    assert base64.b64decode(file["sha256Hash"]).decode() == digits
    assert file["sizeBytes"] == "5"
    assert (file["state"], file["source"]) == ("ACTIVE", "UPLOADED")
    assert (file["displayName"], file["mimeType"]) == ("greeting", "text/plain")
    lasts = datetime.fromisoformat(file["expirationTime"]) - datetime.fromisoformat(
        file["createTime"]
    )
    assert abs(lasts - timedelta(hours=48)) < timedelta(minutes=1)
    told = await call(app_client, "GET", f"/v1beta/{file['name']}")
    assert told == file
    uri = urlsplit(file["uri"])
    assert (await app_client.get(uri.path, headers=GOOGLE)).json() == file
    assert await content_of(app_client, file["name"]) == b"hello"


async def test_pieces_make_a_whole_on_whichever_server(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    other = assemble(server.settings, server.models, server.database)
    transport = httpx.ASGITransport(create_app(other))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as another:
        url = await begin(app_client, size=len(CONTENT))
        parts = (CONTENT[:100], CONTENT[100:5000], CONTENT[5000:])
        for client, part, offset in zip((another, app_client), parts, (0, 100), strict=False):
            response = await go_on(client, url, "upload", part, offset)
            assert response.headers["x-goog-upload-status"] == "active"
            assert response.headers["x-goog-upload-size-received"] == str(offset + len(part))
        file = (await go_on(another, url, "upload, finalize", parts[2], 5000)).json()["file"]
        assert await content_of(another, file["name"]) == CONTENT
    assert file["sizeBytes"] == str(len(CONTENT))
    assert len(server.database.files()) == 1, "nothing is left of the pieces"


async def test_a_piece_sent_again_counts_once(app_client: httpx.AsyncClient) -> None:
    url = await begin(app_client)
    await go_on(app_client, url, "upload", b"abcdef", 0)
    again = await go_on(app_client, url, "upload", b"abcdefgh", 0)
    assert again.headers["x-goog-upload-size-received"] == "8"
    asked = await go_on(app_client, url, "query")
    assert asked.headers["x-goog-upload-size-received"] == "8"
    final = await go_on(app_client, url, "upload, finalize", b"ghij", 6)
    assert await content_of(app_client, final.json()["file"]["name"]) == b"abcdefghij"


async def test_a_gap_is_refused_and_the_upload_goes_on(app_client: httpx.AsyncClient) -> None:
    url = await begin(app_client)
    await go_on(app_client, url, "upload", b"abc", 0)
    gap = await go_on(app_client, url, "upload", b"x", 7)
    assert gap.status_code == 400
    assert "3 bytes" in gap.json()["error"]["message"]
    final = await go_on(app_client, url, "finalize")
    assert await content_of(app_client, final.json()["file"]["name"]) == b"abc"


async def test_fewer_bytes_than_announced_are_no_file(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    url = await begin(app_client, size=10)
    short = await go_on(app_client, url, "upload, finalize", b"abc", 0)
    assert short.status_code == 400
    assert (await call(app_client, "GET", "/v1beta/files")) == {"files": []}
    whole = await go_on(app_client, url, "upload, finalize", b"abcdefghij", 0)
    assert whole.json()["file"]["sizeBytes"] == "10"


async def test_an_upload_that_is_over_or_cancelled_cannot_go_on(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    url = await begin(app_client)
    await go_on(app_client, url, "upload", b"abc", 0)
    cancelled = await go_on(app_client, url, "cancel")
    assert cancelled.headers["x-goog-upload-status"] == "cancelled"
    assert (await go_on(app_client, url, "upload, finalize", b"d", 3)).status_code == 404
    assert server.database.files() == []


async def test_another_token_does_not_open_an_upload(app_client: httpx.AsyncClient) -> None:
    url = await begin(app_client)
    id = url.partition("upload_id=")[2].partition("-")[0]
    for token in (f"{id}-{'A' * 32}", id, f"{id}-", "1-2", "x", "%00"):
        wrong = await go_on(app_client, f"{UPLOAD}?upload_id={token}", "upload, finalize", b"x", 0)
        assert wrong.status_code == 404, token


@pytest.mark.parametrize("wrong", ["-1", "x", "1e3", "1" * 30])
async def test_offsets_that_are_none_are_refused(wrong: str, app_client: httpx.AsyncClient) -> None:
    url = await begin(app_client)
    headers = {"x-goog-upload-command": "upload", "x-goog-upload-offset": wrong}
    assert (await app_client.post(url, headers=headers, content=b"x")).status_code == 400


@pytest.mark.parametrize("kind", ["related", "form-data"])
async def test_a_file_and_what_is_said_of_it_come_in_one_request(
    kind: str, app_client: httpx.AsyncClient
) -> None:
    said = json.dumps({"file": {"displayName": "both", "mimeType": "text/x-own"}}).encode()
    body = (
        b"--XyZ\r\nContent-Disposition: form-data; name=\"metadata\"\r\n"
        b"Content-Type: application/json\r\n\r\n" + said + b"\r\n--XyZ\r\n"
        b'Content-Disposition: form-data; name="file"; filename="a.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\n" + CONTENT + b"\r\n--XyZ--\r\n"
    )  # fmt: skip
    headers = {**GOOGLE, "content-type": f'multipart/{kind}; boundary="XyZ"'}
    response = await app_client.post(UPLOAD, headers=headers, content=body)
    assert response.status_code == 200, response.text
    file = response.json()["file"]
    assert (file["displayName"], file["mimeType"]) == ("both", "text/x-own")
    assert await content_of(app_client, file["name"]) == CONTENT


async def test_a_form_of_the_file_alone_and_a_bare_body_are_files(
    app_client: httpx.AsyncClient,
) -> None:
    form = await app_client.post(
        UPLOAD, headers=GOOGLE, files={"file": ("a.bin", CONTENT, "application/x-a")}
    )
    assert form.json()["file"]["displayName"] == "a.bin"
    assert form.json()["file"]["mimeType"] == "application/x-a"
    headers = {**GOOGLE, "x-goog-upload-protocol": "raw", "content-type": "text/csv"}
    bare = await app_client.post(UPLOAD, headers=headers, content=CONTENT)
    assert bare.json()["file"]["mimeType"] == "text/csv"
    for told in (form, bare):
        assert await content_of(app_client, told.json()["file"]["name"]) == CONTENT


@pytest.mark.parametrize(
    ("headers", "body", "word"),
    [
        ({}, b"{}", "resumable"),
        ({"x-goog-upload-protocol": "resumable"}, b"{}", "start"),
        ({"content-type": "multipart/related; boundary=b"}, b"--b\r\n\r\nhalf", "ends before"),
        ({"content-type": "multipart/related; boundary=b"}, b"no parts", "content type says"),
        ({"content-type": "multipart/related; boundary=b"}, b"--b--\r\n", ""),
    ],
)
async def test_what_is_no_upload_is_refused(
    headers: dict[str, str], body: bytes, word: str, app_client: httpx.AsyncClient
) -> None:
    response = await app_client.post(UPLOAD, headers={**GOOGLE, **headers}, content=body)
    assert response.status_code == 400, response.text
    assert word in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "file",
    [
        {"name": "files/-a"}, {"name": "files/A"}, {"name": "a/b"}, {"name": f"files/{'a' * 41}"},
        {"displayName": "x" * 513}, {"colour": "red"}, {"sizeBytes": "many"}, 7,
    ],
)  # fmt: skip
async def test_a_wrong_description_is_refused(file: Json, app_client: httpx.AsyncClient) -> None:
    headers = {
        **GOOGLE, "x-goog-upload-protocol": "resumable", "x-goog-upload-command": "start",
    }  # fmt: skip
    response = await app_client.post(UPLOAD, headers=headers, json={"file": file})
    assert response.status_code == 400, response.text


async def test_a_name_that_no_database_keeps_is_the_callers_fault(
    app_client: httpx.AsyncClient,
) -> None:
    url = await begin(app_client, {"displayName": "a\0b"})
    answer = await go_on(app_client, url, "upload, finalize", b"x", 0)
    assert answer.status_code == 400
    assert "NUL" in answer.json()["error"]["message"]


async def test_an_id_is_taken_once(app_client: httpx.AsyncClient) -> None:
    assert (await uploaded(app_client, b"1", {"name": "files/mine"}))["name"] == "files/mine"
    url = await begin(app_client, {"name": "mine"})
    taken = await go_on(app_client, url, "upload, finalize", b"2", 0)
    assert taken.status_code == 409
    assert await content_of(app_client, "files/mine") == b"1"


async def test_files_larger_than_allowed_are_refused(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    server.settings = replace(server.settings, file_bytes=100)
    headers = {
        **GOOGLE, "x-goog-upload-protocol": "resumable", "x-goog-upload-command": "start",
        "x-goog-upload-header-content-length": "101",
    }  # fmt: skip
    assert (await app_client.post(UPLOAD, headers=headers, json={})).status_code == 413
    url = await begin(app_client)
    assert (await go_on(app_client, url, "upload", b"x" * 60, 0)).status_code == 200
    assert (await go_on(app_client, url, "upload", b"x" * 60, 60)).status_code == 413
    assert (
        await app_client.post(UPLOAD, headers=GOOGLE, files={"file": b"x" * 101})
    ).status_code == 413


async def test_lists_go_on_page_by_page_until_all_are_told(app_client: httpx.AsyncClient) -> None:
    made = [(await uploaded(app_client, str(n).encode()))["name"] for n in range(5)]
    found, token = [], ""
    while True:
        page = await call(app_client, "GET", f"/v1beta/files?pageSize=2&pageToken={token}")
        assert len(page["files"]) <= 2
        found += [file["name"] for file in page["files"]]
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert found == made[::-1]
    assert await call(app_client, "DELETE", f"/v1beta/{made[0]}") == {}
    assert await call(app_client, "GET", f"/v1beta/{made[0]}", status=404)
    assert await call(app_client, "DELETE", f"/v1beta/{made[0]}", status=404)


async def test_pieces_are_in_no_list_and_are_no_files(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    url = await begin(app_client)
    await go_on(app_client, url, "upload", b"abc", 0)
    assert await call(app_client, "GET", "/v1beta/files") == {"files": []}
    for piece in server.database.files():
        assert await call(app_client, "GET", f"/v1beta/files/{piece.id}", status=404)


# --- the parts of a body, in whatever chunks they come -------------------------------------------


async def _chunks(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@given(content=st.binary(max_size=200), size=st.integers(1, 60), said=st.binary(max_size=20))
def test_parts_are_what_they_were_however_they_are_cut(
    content: bytes, size: int, said: bytes
) -> None:
    assume(b"\r\n--bb" not in said + content)
    head = b"--bb\r\n\r\n" + said + b"\r\n--bb\r\nContent-Type: a/b\r\n\r\n"
    into = io.BytesIO()
    body = head + content + b"\r\n--bb--"
    assert asyncio.run(read_parts(_chunks(body, size), "bb", into)) == Parted(said, "a/b", "")
    assert into.getvalue() == content


@pytest.mark.parametrize(
    ("said", "boundary"),
    [
        ("multipart/related; boundary=a", "a"),
        ('multipart/form-data; charset=x; boundary="a b"', "a b"),
        ("Multipart/Related;Boundary=a;x=y", "a"),
        ("application/json; boundary=a", None),
        ("multipart/related", None),
    ],
)
def test_what_parts_a_body(said: str, boundary: str | None) -> None:
    assert boundary_of(said) == boundary


# --- the SDK ------------------------------------------------------------------------------------


@pytest.fixture
def sdk(running_server: Any) -> Iterator[Any]:
    from google import genai
    from google.genai import types

    client = genai.Client(
        api_key="fake", http_options=types.HttpOptions(base_url=running_server.url)
    )
    yield client
    client.close()


@pytest.mark.network
def test_the_sdk_uploads_in_pieces_and_gets_back_what_it_sent(sdk: Any, tmp_path: Path) -> None:
    data = bytes(range(251)) * 80_000  # more than two of the SDK's pieces
    path = tmp_path / "big.txt"
    path.write_bytes(data)
    file = sdk.files.upload(file=path, config={"display_name": "big", "mime_type": "text/plain"})
    assert file.size_bytes == len(data)
    assert file.display_name == "big"
    assert sdk.files.get(name=file.name).sha256_hash == file.sha256_hash
    assert sdk.files.download(file=file.name) == data
    small = sdk.files.upload(file=io.BytesIO(b"hello"), config={"mime_type": "text/plain"})
    named = sdk.files.upload(
        file=io.BytesIO(b"hi"), config={"mime_type": "text/plain", "name": "my-own"}
    )
    assert named.name == "files/my-own"
    names = [one.name for one in sdk.files.list(config={"page_size": 2})]
    assert names == [named.name, small.name, file.name]
    sdk.files.delete(name=small.name)
    with pytest.raises(Exception, match="NOT_FOUND"):
        sdk.files.get(name=small.name)
