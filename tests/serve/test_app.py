"""The app: health, metrics, errors in the form of each protocol, ids, sizes."""

from __future__ import annotations

import httpx2 as httpx
import pytest

pytestmark = pytest.mark.anyio


async def test_health(app_client: httpx.AsyncClient) -> None:
    assert (await app_client.get("/healthz")).text == "ok\n"
    ready = await app_client.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "problems": []})
    assert ready.headers["x-request-id"].isdigit()
