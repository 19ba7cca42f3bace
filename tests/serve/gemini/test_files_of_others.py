"""What one caller made, no other caller sees, changes or uses; an administrator sees it all."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import httpx2 as httpx
import pytest
from contract.specs import Json
from resources import VERTEX

from stepladder.database.records import TunedModel
from stepladder.serve.keys import hash_of
from stepladder.serve.server import Server
from stepladder.serve.settings import ServeSettings

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC)
KEYS = {"mine": "tune", "other": "tune", "user": "use", "boss": "admin"}
GENERATE = "/v1beta/models/fake:generateContent"
TURN = {"role": "user", "parts": [{"text": "hello"}]}


@pytest.fixture
def serve_settings(tmp_path: Path) -> ServeSettings:
    return ServeSettings(database=f"sqlite:///{tmp_path / 'serve.db'}", gs_folder=tmp_path)


@pytest.fixture(autouse=True)
def _with_keys(server: Server) -> None:
    for name, role in KEYS.items():
        server.database.add_key(name, hash_of(name), role, None, None, NOW)
    server.keyring.read()


async def asks(
    client: httpx.AsyncClient, key: str, method: str, path: str, body: Json = None
) -> httpx.Response:
    content: Mapping[str, Json] = {} if body is None else {"json": body}
    return await client.request(method, path, headers={"x-goog-api-key": key}, **content)


async def made(client: httpx.AsyncClient) -> dict[str, str]:
    """One of each, of the key "mine": where it is, by the path of its list."""
    upload = await client.post(
        "/upload/v1beta/files", headers={"x-goog-api-key": "mine"}, files={"file": b"{}\n"}
    )
    spec = {"trainingDatasetUri": "gs://b/t.jsonl"}
    requests = {"requests": {"requests": [{"request": {"contents": [TURN]}}]}}
    bodies: dict[str, tuple[str, Json]] = {
        "/v1beta/cachedContents": (
            "/v1beta/cachedContents", {"model": "models/fake", "contents": [TURN]},
        ),
        "/v1beta/batches": (
            "/v1beta/models/fake:batchGenerateContent", {"batch": {"inputConfig": requests}},
        ),
        f"{VERTEX}/tuningJobs": (
            f"{VERTEX}/tuningJobs", {"baseModel": "fake", "supervisedTuningSpec": spec},
        ),
        f"{VERTEX}/batchPredictionJobs": (
            f"{VERTEX}/batchPredictionJobs",
            {
                "model": "publishers/google/models/fake", "displayName": "j",
                "inputConfig": {"gcsSource": {"uris": ["gs://b/in.jsonl"]}},
                "outputConfig": {"gcsDestination": {"outputUriPrefix": "gs://b/out"}},
            },
        ),
    }  # fmt: skip
    names = {"/v1beta/files": upload.json()["file"]["name"]}
    for place, (path, body) in bodies.items():
        answer = await asks(client, "mine", "POST", path, body)
        assert answer.status_code == 200, answer.text
        names[place] = answer.json()["name"]
    return {place: f"{place}/{name.rpartition('/')[2]}" for place, name in names.items()}


async def test_nobody_else_sees_or_changes_it(app_client: httpx.AsyncClient) -> None:
    for place, path in (await made(app_client)).items():
        kind = place.rpartition("/")[2].replace("batches", "operations")
        for key, sees in (("mine", True), ("other", False), ("boss", True)):
            told = await asks(app_client, key, "GET", place)
            assert len(told.json().get(kind, [])) == sees, (place, key)
            assert (await asks(app_client, key, "GET", path)).is_success == sees, (path, key)
        assert (await asks(app_client, "nobody", "GET", path)).status_code == 401
        for method, more, body in (
            ("DELETE", "", None), ("POST", ":cancel", {}), ("PATCH", "", {"ttl": "1s"}),
            ("GET", ":download", None),
        ):  # fmt: skip
            status = (await asks(app_client, "other", method, path + more, body)).status_code
            assert status in (404, 405), (method, path)
        assert (await asks(app_client, "mine", "GET", path)).is_success


async def test_nobody_else_uses_it(app_client: httpx.AsyncClient, server: Server) -> None:
    paths = await made(app_client)
    id = {place: path.rpartition("/")[2] for place, path in paths.items()}
    prefix = {"contents": [TURN], "cachedContent": f"cachedContents/{id['/v1beta/cachedContents']}"}
    file = f"files/{id['/v1beta/files']}"
    batch = {"batch": {"inputConfig": {"fileName": file}}}
    part = {"fileData": {"fileUri": file, "mimeType": "text/plain"}}
    told = {"contents": [{"role": "user", "parts": [part]}]}
    learned = {"baseModel": "fake", "supervisedTuningSpec": {"trainingDatasetUri": file}}
    tuned = TunedModel("902", "mine", "1", "fake", "local:fake", NOW, NOW, {})
    server.database.add_tuned(tuned)
    spec = {"supervisedTuningSpec": {"trainingDatasetUri": "gs://b/t.jsonl"}}
    continued = {"preTunedModel": {"tunedModelName": "projects/p/locations/l/models/902"}, **spec}
    for path, body in (
        (GENERATE, prefix), (GENERATE, told), (f"{VERTEX}/tuningJobs", learned),
        (f"{VERTEX}/tuningJobs", continued), ("/v1beta/models/fake:batchGenerateContent", batch),
    ):  # fmt: skip
        answer = await asks(app_client, "other", "POST", path, body)
        assert answer.status_code in (400, 403, 404), (path, answer.text)
        assert "mine" not in answer.text
    assert (await asks(app_client, "mine", "POST", GENERATE, prefix)).is_success
    assert (await asks(app_client, "mine", "POST", f"{VERTEX}/tuningJobs", continued)).is_success


async def test_who_may_only_use_does_not_tune(app_client: httpx.AsyncClient) -> None:
    body = {"baseModel": "fake", "supervisedTuningSpec": {"trainingDatasetUri": "gs://b/t.jsonl"}}
    assert (await asks(app_client, "user", "POST", f"{VERTEX}/tuningJobs", body)).status_code == 403
    cancel = f"{VERTEX}/tuningJobs/1:cancel"
    assert (await asks(app_client, "user", "POST", cancel)).status_code == 403
    assert (await asks(app_client, "user", "GET", f"{VERTEX}/tuningJobs")).is_success


async def test_everything_needs_a_key_but_the_next_piece_of_an_upload(
    app_client: httpx.AsyncClient,
) -> None:
    for method, path in (
        ("GET", "/v1beta/files"), ("POST", "/upload/v1beta/files"), ("GET", "/v1beta/batches"),
        ("POST", "/v1beta/cachedContents"), ("POST", f"{VERTEX}:evaluateInstances"),
        ("POST", f"{VERTEX}/tuningJobs"), ("POST", f"{VERTEX}/batchPredictionJobs"),
        ("POST", "/v1beta/tunedModels"),
    ):  # fmt: skip
        headers = {"x-goog-api-client": "x", "x-goog-upload-protocol": "resumable"}
        answer = await app_client.request(method, path, headers=headers)
        assert answer.status_code == 401, (path, answer.text)
        assert answer.json()["error"]["status"] == "UNAUTHENTICATED"
