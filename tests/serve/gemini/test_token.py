"""`POST /token`: a service account's file works on an open server, and opens nothing on another."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from resources import VERTEX

from stepladder.serve.gemini.token import GRANT
from stepladder.serve.keys import hash_of
from stepladder.serve.server import Server

pytestmark = pytest.mark.anyio

GOOD = {"grant_type": GRANT, "assertion": "a.b.c"}


async def test_an_open_server_gives_a_bearer(app_client: httpx.AsyncClient) -> None:
    answer = await app_client.post("/token", data=GOOD)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["token_type"], told["expires_in"]) == ("Bearer", 3600)
    assert (await app_client.post("/token", data=GOOD)).json() != told
    bearer = {"authorization": f"Bearer {told['access_token']}"}
    assert (await app_client.get(f"{VERTEX}/tuningJobs", headers=bearer)).status_code == 200


async def test_a_server_with_keys_gives_none(app_client: httpx.AsyncClient, server: Server) -> None:
    told = (await app_client.post("/token", data=GOOD)).json()
    server.database.add_key("k", hash_of("secret"), "use", None, None, datetime.now(UTC))
    server.keyring.read()
    answer = await app_client.post("/token", data=GOOD)
    assert answer.status_code == 401
    assert answer.json()["error"] == "unauthorized_client"
    for bearer, status in ((told["access_token"], 401), ("secret", 200)):
        headers = {"authorization": f"Bearer {bearer}"}
        answer = await app_client.get(f"{VERTEX}/tuningJobs", headers=headers)
        assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ({}, "unsupported_grant_type"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": GRANT}, "invalid_grant"),
        ({str(n): "x" for n in range(50)}, "invalid_request"),
        ({**GOOD, "more": "x" * 70_000}, "invalid_request"),
    ],
)
async def test_what_is_no_grant_is_refused(
    data: dict[str, str], word: str, app_client: httpx.AsyncClient
) -> None:
    answer = await app_client.post("/token", data=data)
    assert answer.status_code == 400
    assert answer.json()["error"] == word


@pytest.mark.network
def test_googles_own_library_gets_a_token_for_a_service_account(
    running_server: Any, tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from google import genai
    from google.genai import types
    from google.oauth2 import service_account

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    account = tmp_path / "account.json"
    account.write_text(json.dumps({
        "type": "service_account", "project_id": "p", "private_key": key.decode(),
        "client_email": "a@p.iam", "token_uri": f"{running_server.url}/token",
    }))  # fmt: skip
    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
    credentials = service_account.Credentials.from_service_account_file(  # type: ignore[no-untyped-call]
        account, scopes=scopes
    )
    client = genai.Client(
        enterprise=True, project="p", location="us-central1", credentials=credentials,
        http_options=types.HttpOptions(base_url=running_server.url),
    )  # fmt: skip
    assert client.models.generate_content(model="fake", contents="hello").text == "hello"
    client.close()
