"""The app: health, metrics, errors in the form of each protocol, ids, sizes."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx2 as httpx
import pytest

from stepladder.database.files import Taken
from stepladder.database.rows import NotKept
from stepladder.database.values import NotStorable
from stepladder.errors import StoreError
from stepladder.serve.app import create_app
from stepladder.serve.keys import hash_of
from stepladder.serve.server import Server

pytestmark = pytest.mark.anyio

CHAT = {"model": "fake", "messages": [{"role": "user", "content": "hi"}]}
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


def client_of(server: Server) -> httpx.AsyncClient:
    """A client of an app made from `server` as it is now."""
    transport = httpx.ASGITransport(create_app(server))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


async def test_health(app_client: httpx.AsyncClient) -> None:
    assert (await app_client.get("/healthz")).text == "ok\n"
    ready = await app_client.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "problems": []})
    assert ready.headers["x-request-id"].isdigit()


async def test_metrics_are_for_admins(app_client: httpx.AsyncClient, server: Server) -> None:
    await app_client.post("/v1/chat/completions", json=CHAT)
    answer = await app_client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    line = 'stepladder_http_requests_total{route="/openai/v1/chat/completions",status="200"} 1.0'
    assert line in answer.text


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/nothing", 404), ("/v1beta/nothing", 404), ("/v1beta1/projects/p/nothing", 404),
     ("/nothing", 404), ("/", 404), ("/healthz", 405), ("/v1/chat/completions/", 404)],
)  # fmt: skip
async def test_what_is_not_there(app_client: httpx.AsyncClient, path: str, status: int) -> None:
    answer = await app_client.post(path, json={})
    assert answer.status_code == status
    error = answer.json()["error"]
    assert path.rstrip("/") in error["message"]
    assert ("code" in error) is (path not in ("/nothing", "/healthz"))


async def test_the_home_page_says_what_is_served_and_where(app_client: httpx.AsyncClient) -> None:
    told = (await app_client.get("/")).json()
    assert told["base_urls"]["openai"] == "http://127.0.0.1/v1"
    assert {"name": "gemini-3.5-flash", "kind": "base", "is": "fake"} in told["models"]
    browser = await app_client.get("/", headers={"accept": "text/html,*/*;q=0.8"})
    assert browser.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in browser.headers["content-security-policy"]
    assert "<code>gemini-3.5-flash</code></td><td>base</td><td>is fake</td>" in browser.text
    assert '<a href="http://127.0.0.1/readyz">' in browser.text


async def test_the_home_page_shows_models_to_callers_only(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    server.database.add_key("7", hash_of("sk-mine"), "use", None, None, datetime.now(UTC))
    server.keyring.read()
    for accept in ("*/*", "text/html"):
        closed = await app_client.get("/", headers={"accept": accept})
        assert closed.status_code == 200
        assert "gemini-3.5-flash" not in closed.text
        assert "key is needed" in closed.text
    mine = await app_client.get("/", headers={"authorization": "Bearer sk-mine"})
    assert "gemini-3.5-flash" in mine.text


async def test_a_call_without_its_path_is_told_why(app_client: httpx.AsyncClient) -> None:
    answer = await app_client.post("/", json={"contents": []})
    assert answer.status_code == 404
    assert "project and location" in answer.json()["error"]["message"]  # as Google's client reads


async def test_a_wrong_method_is_told_with_the_right_one(app_client: httpx.AsyncClient) -> None:
    answer = await app_client.put("/v1/chat/completions", json={})
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_a_bug_in_a_route_is_told_without_its_traceback(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(name: str) -> None:
        raise ZeroDivisionError("inner detail")

    server.models.get = broken
    async with client_of(server) as client:
        openai = await client.post("/v1/chat/completions", json=CHAT)
        gemini = await client.post("/v1beta/models/fake:generateContent", json=CONTENTS)
    assert openai.status_code == gemini.status_code == 500
    assert "inner detail" not in openai.text + gemini.text
    assert openai.headers["x-request-id"] in openai.text
    assert "ZeroDivisionError" in caplog.text
    assert gemini.json()["error"]["status"] == "INTERNAL"


async def test_a_database_that_is_away_is_unavailable(server: Server) -> None:
    def away(*_: object, **__: object) -> None:
        raise StoreError("postgresql is away: password=hush")

    server.database.ping = away  # type: ignore[method-assign]
    server.database.files = away  # type: ignore[method-assign,assignment]
    async with client_of(server) as client:
        ready = await client.get("/readyz")
        files = await client.get("/v1/files")
        of_gemini = await client.get("/v1beta/files")
    assert ready.status_code == 503
    assert files.status_code == of_gemini.status_code == 503
    assert files.headers["retry-after"] == "5"
    assert "hush" not in ready.text + files.text + of_gemini.text


@pytest.mark.parametrize(
    ("error", "status"), [(NotStorable, 400), (NotKept, 404), (Taken, 409), (StoreError, 503)]
)
async def test_what_the_database_says_of_a_call_is_told_as_what_it_is(
    server: Server, error: type[StoreError], status: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error("the thing", hint="the cure")

    server.database.file = refuse  # type: ignore[method-assign,assignment]
    async with client_of(server) as client:
        openai = await client.get("/v1/files/file-1")
        gemini = await client.get("/gemini/v1beta/files/1")
    assert openai.status_code == gemini.status_code == status
    assert ("the thing" in openai.text) == ("the thing" in gemini.text) == (status != 503)


async def test_while_shutting_down_it_is_not_ready_and_takes_nothing(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    server.limits.stopping = True
    assert (await app_client.get("/readyz")).status_code == 503
    assert (await app_client.get("/healthz")).status_code == 200
    answer = await app_client.post("/v1/chat/completions", json=CHAT)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_what_the_protocol_refuses_is_recorded_too(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    answer = await app_client.post("/v1/chat/completions", json={"model": 7})
    assert answer.status_code == 400
    record = server.database.served(answer.headers["x-request-id"])
    assert record is not None
    assert (record.status, record.route, record.key, record.request) == (
        400, "/v1/chat/completions", "local", None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:8080"}, 200),
        ({"host": "[::1]:8080"}, 200),
        ({"origin": "http://localhost:3000"}, 200),
        ({"origin": "https://evil.test"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "rebound.evil.test"}, 403),
        ({"host": "LOCALHOST:8080"}, 200),
        ({"host": "["}, 403),
        ({"host": "localhost/../evil.test"}, 403),
        ({"host": "evil.test\\@127.0.0.1"}, 403),
        ({"origin": "http://["}, 403),
        ({"origin": "http://localhost.evil.test"}, 403),
    ],
)
async def test_without_keys_pages_of_other_sites_get_nothing(
    app_client: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    answer = await app_client.post("/v1/chat/completions", json=CHAT, headers=headers)
    assert answer.status_code == status


async def test_what_a_caller_makes_up_fills_no_log(
    app_client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "stepladder.serve"):
        await app_client.get("/v1/" + "a" * 50_000)
    (line,) = caplog.records
    assert len(line.getMessage()) < 1_100
    assert len(line.fields["error"]) == 1_000  # type: ignore[attr-defined]
