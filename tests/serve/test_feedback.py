"""Feedback: linked to a call, by its own caller, and stored before it is acknowledged."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx2 as httpx
import pytest

from stepladder.database import new_id
from stepladder.serve.keys import hash_of, new_key
from stepladder.serve.server import Server

pytestmark = pytest.mark.anyio


async def called(client: httpx.AsyncClient, **headers: str) -> str:
    body = {"model": "fake", "messages": [{"role": "user", "content": "hi"}]}
    answer = await client.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200
    return str(answer.headers["x-request-id"])


@pytest.mark.parametrize(
    "path",
    ["/v1/feedback", "/openai/v1/feedback", "/gemini/v1beta/feedback", "/vertex/v1/feedback"],
)
async def test_feedback_is_kept(app_client: httpx.AsyncClient, server: Server, path: str) -> None:
    request = await called(app_client)
    said = {"request_id": request, "verdict": "wrong", "correction": {"label": "b"},
            "comment": "no"}  # fmt: skip
    answer = await app_client.post(path, json=said)
    assert answer.status_code == 201
    assert answer.json()["request_id"] == request
    (kept,) = server.database.feedback(request)
    assert (kept.id, kept.verdict, kept.correction, kept.comment, kept.key) == (
        answer.json()["id"], "wrong", {"label": "b"}, "no", "local",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], None), ("x", None), ({}, "request_id"), ({"request_id": 7}, "request_id"),
        ({"request_id": "1"}, "verdict"), ({"request_id": "1", "verdict": "good"}, "verdict"),
        ({"request_id": "1", "verdict": ["right"]}, "verdict"),
        ({"request_id": "1", "comment": 7}, "comment"), ({"request_id": "1", "x": 7}, "x"),
        ({"request_id": "1", "comment": "a" * 10_001}, "comment"),
    ],
)  # fmt: skip
async def test_what_is_not_feedback(
    app_client: httpx.AsyncClient, body: Any, field: str | None
) -> None:
    answer = await app_client.post("/v1/feedback", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == field


async def test_bytes_that_are_not_json(app_client: httpx.AsyncClient) -> None:
    for content in (b"{", b"\xff", b"", b"[" * 50_000, b'{"correction": 1e999}'):
        assert (await app_client.post("/v1/feedback", content=content)).status_code == 400


async def test_an_unknown_request(app_client: httpx.AsyncClient) -> None:
    for request in ("123456789012345678", "x", "\x00", "9" * 400):
        said = {"request_id": request, "verdict": "right"}
        assert (await app_client.post("/v1/feedback", json=said)).status_code == 404


async def test_others_do_not_speak_of_my_calls(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    keys = {}
    for name, role in (("mine", "use"), ("other", "tune"), ("boss", "admin")):
        keys[name] = new_key()
        server.database.add_key(new_id(), hash_of(keys[name]), role, None, None, datetime.now(UTC))
    server.keyring.read()
    request = await called(app_client, authorization=f"Bearer {keys['mine']}")
    said = {"request_id": request, "verdict": "right"}
    statuses = {}
    for name, key in keys.items():
        headers = {"x-goog-api-key": key}
        answer = await app_client.post("/v1/feedback", json=said, headers=headers)
        statuses[name] = answer.status_code
    assert statuses == {"mine": 201, "other": 404, "boss": 201}
    assert (await app_client.post("/v1/feedback", json=said)).status_code == 401
