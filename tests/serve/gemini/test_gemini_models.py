"""What is told of models, who may see and change which, and what goes with a model that goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2 as httpx
import pytest
from contract.specs import Exchange
from contract.vendors import spec_of
from google_calls import GOOGLE, PROJECT, said
from serving import fake_card

from stepladder.core import Json
from stepladder.database.records import Checkpoint, TunedModel, TuningJob
from stepladder.fake_live import FakeTokenizer
from stepladder.serve import Role
from stepladder.serve.keys import hash_of
from stepladder.serve.served.local import LocalServed
from stepladder.serve.server import Server

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TUNED = ("/v1/tunedModels", f"{PROJECT}/models")
each_service = pytest.mark.parametrize("path", TUNED, ids=["developer", "vertex"])


async def call(
    client: httpx.AsyncClient, method: str, path: str, sent: Json = None, **headers: str
) -> Json:
    body = {} if sent is None else {"json": sent}
    response = await client.request(method, path, headers={**GOOGLE, **headers}, **body)
    assert response.status_code == 200, response.text
    exchange = Exchange(method, path, sent, 200, response.json())
    if "/projects/p/locations/us-central1/publishers/" not in path:  # which is our own
        assert spec_of(path).faults_of_response(exchange) == []
    return response.json()


async def status(client: httpx.AsyncClient, method: str, path: str, **more: Any) -> int:
    response = await client.request(method, path, headers=GOOGLE | more.pop("headers", {}), **more)
    return response.status_code


def add_tuned(server: Server, id: str, owner: str = "local", **changes: Any) -> None:
    """A tuned model of two checkpoints, the first of which is a model as well."""
    ids = (f"{id}1", id)
    checkpoints = tuple(Checkpoint(str(n), 10 * n, float(n), ids[n - 1]) for n in (1, 2))
    job = TuningJob(
        id=f"job{id}", owner=owner, protocol="vertex", base="gemini-3.5-flash", model="fake",
        method="supervised", training_file="gs://b/t.jsonl", created_at=NOW, updated_at=NOW,
        state="succeeded", tuned_model=id, checkpoints=checkpoints,
    )  # fmt: skip
    server.database.add_job(job)
    for place, one in enumerate(ids):
        at = NOW + timedelta(seconds=int(id) + place)
        tuned = TunedModel(
            id=one, owner=owner, job=job.id, base="gemini-3.5-flash", model="fake", created_at=at,
            updated_at=at, files={}, name=f"model {id}",
        )  # fmt: skip
        server.database.add_tuned(replace(tuned, **changes))


def add_key(server: Server, key: str, role: Role) -> None:
    server.database.add_key(key, hash_of(key), role, None, None, NOW)
    server.keyring.read()


@pytest.mark.parametrize(
    ("path", "field"),
    [("/v1/models", "models"), ("/v1beta1/publishers/google/models", "publisherModels"),
     (f"{PROJECT}/publishers/google/models", "publisherModels")],
)  # fmt: skip
async def test_models_are_listed_by_the_page(
    path: str, field: str, app_client: httpx.AsyncClient
) -> None:
    first = await call(app_client, "GET", f"{path}?pageSize=2")
    token = first["nextPageToken"]
    second = await call(app_client, "GET", f"{path}?pageSize=2&pageToken={token}")
    assert "nextPageToken" not in second
    names = [one["name"].rpartition("/")[2] for page in (first, second) for one in page[field]]
    assert names == ["fake", "fake-encoder", "gemini-3.5-flash", "gpt-5-mini"]


async def test_a_model_says_what_it_can(app_client: httpx.AsyncClient, server: Server) -> None:
    found = await call(app_client, "GET", "/v1/models/fake")
    assert (found["inputTokenLimit"], found["outputTokenLimit"]) == (8192, 2048)
    assert "generateContent" in found["supportedGenerationMethods"]
    assert (found["temperature"], found["topP"], found["topK"]) == (1.0, 0.95, 64)
    encoder = await call(app_client, "GET", "/v1/models/fake-encoder")
    assert encoder["supportedGenerationMethods"][0] == "embedContent"
    assert "temperature" not in encoder
    assert (await call(app_client, "GET", "/v1/models/gemini-3.5-flash"))["name"] == (
        "models/gemini-3.5-flash"
    )
    assert await status(app_client, "GET", "/v1/models/nobody") == 404


@each_service
async def test_only_what_a_job_made_is_listed_the_newest_first(
    path: str, app_client: httpx.AsyncClient, server: Server
) -> None:
    for id in ("10", "20", "30"):
        add_tuned(server, id)
    names: list[str] = []
    token = ""
    while True:
        told = await call(app_client, "GET", f"{path}?pageSize=2&pageToken={token}")
        (listed,) = (value for value in told.values() if isinstance(value, list))
        names += [one["name"].rpartition("/")[2] for one in listed]
        token = told.get("nextPageToken", "")
        if not token:
            break
    assert names == ["30", "20", "10"]


async def test_a_filter_is_heeded(app_client: httpx.AsyncClient, server: Server) -> None:
    add_tuned(server, "10", labels={"team": "red"})
    add_tuned(server, "20", labels={"team": "blue"})
    path = f"{PROJECT}/models?filter="
    found = await call(app_client, "GET", f"{path}labels.team=blue")
    assert [one["name"].rpartition("/")[2] for one in found["models"]] == ["20"]
    assert len((await call(app_client, "GET", f"{path}labels.tune-type:*"))["models"]) == 2
    assert await status(app_client, "GET", f"{path}nonsense=1") == 400


@each_service
async def test_callers_see_and_change_only_their_own(
    path: str, app_client: httpx.AsyncClient, server: Server
) -> None:
    for key, role in (("ann", "tune"), ("bob", "tune"), ("eve", "admin"), ("use", "use")):
        add_key(server, key, role)  # type: ignore[arg-type]
    add_tuned(server, "10", owner="ann")
    seen = {}
    for key in ("ann", "bob", "eve"):
        asked = {"headers": {"x-goog-api-key": key}}
        told = await call(app_client, "GET", path, **{"x-goog-api-key": key})
        seen[key] = (
            sum(len(value) for value in told.values() if isinstance(value, list)),
            await status(app_client, "GET", f"{path}/10", **asked),
            await status(app_client, "PATCH", f"{path}/10", json={}, **asked),
        )
    assert seen == {"ann": (1, 200, 200), "bob": (0, 404, 404), "eve": (1, 200, 200)}
    use = {"headers": {"x-goog-api-key": "use"}}
    assert await status(app_client, "PATCH", f"{path}/10", json={}, **use) == 403
    assert await status(app_client, "DELETE", f"{path}/10", **use) == 403
    bob = {"headers": {"x-goog-api-key": "bob"}}
    assert await status(app_client, "DELETE", f"{path}/10", **bob) == 404
    assert await status(app_client, "GET", path, headers={"x-goog-api-key": "nobody"}) == 401


async def test_a_change_heeds_its_mask(app_client: httpx.AsyncClient, server: Server) -> None:
    add_tuned(server, "10")
    path = f"{PROJECT}/models/10"
    sent = {"displayName": "new", "description": "d", "labels": {"team_name": "red"}}
    told = await call(app_client, "PATCH", f"{path}?updateMask=display_name", sent)
    assert (told["displayName"], told.get("description")) == ("new", None)
    told = await call(app_client, "PATCH", path, {**sent, "name": "projects/p/models/10"})
    assert told["description"] == "d"
    assert told["labels"]["team_name"] == "red"
    assert told["updateTime"] != told["versionCreateTime"]


WRONG: tuple[tuple[str, Json, str], ...] = (
    ("", {"displayName": 5}, "displayName"),
    ("", {"displayNam": "x"}, "displayNam"),
    ("", {"defaultCheckpointId": "9"}, "known: 1, 2"),
    ("?updateMask=versionId", {"displayName": "x"}, "versionId"),
    ("", [], "object"),
)


async def test_what_cannot_be_changed_is_refused(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    add_tuned(server, "10")
    for query, sent, word in WRONG:
        path = f"{PROJECT}/models/10{query}"
        response = await app_client.patch(path, json=sent, headers=GOOGLE)
        assert response.status_code == 400, sent
        assert word in response.json()["error"]["message"]


async def test_checkpoints_are_told_and_one_is_the_default(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    add_tuned(server, "10")
    found = await call(app_client, "GET", f"{PROJECT}/models/10@1")
    assert found["checkpoints"] == [
        {"checkpointId": "1", "epoch": "1", "step": "10"},
        {"checkpointId": "2", "epoch": "2", "step": "20"},
    ]
    assert found["defaultCheckpointId"] == "2"
    changed = await call(app_client, "PATCH", f"{PROJECT}/models/10", {"defaultCheckpointId": "1"})
    assert changed["defaultCheckpointId"] == "1"


@pytest.mark.parametrize("path", ["/v1/tunedModels/10", f"{PROJECT}/endpoints/10"])
async def test_the_default_checkpoint_answers_for_its_model(
    path: str, app_client: httpx.AsyncClient, server: Server
) -> None:
    add_tuned(server, "10")
    models = server.models.models
    engine = models["fake"].engine
    for id in ("10", "101"):
        models[id] = LocalServed(replace(fake_card(id), kind="tuned"), engine, FakeTokenizer())

    async def version() -> str:
        sent = {"contents": [said("x")]}
        response = await app_client.post(f"{path}:generateContent", json=sent, headers=GOOGLE)
        return str(response.json()["modelVersion"])

    assert await version() == "10@1"
    change = {"defaultCheckpointId": "1"}
    await call(app_client, "PATCH", f"{PROJECT}/models/10", change)
    assert await version() == "101@1"
    await call(app_client, "PATCH", f"{PROJECT}/models/10", {"defaultCheckpointId": "2"})
    assert await version() == "10@1"


@each_service
async def test_with_a_model_go_its_files_and_checkpoints(
    path: str, app_client: httpx.AsyncClient, server: Server
) -> None:
    stored = server.database.add_file(
        owner="local", name="adapter_model.safetensors", purpose="adapter",
        media_type="application/octet-stream", chunks=[b"weights"],
    )  # fmt: skip
    add_tuned(server, "10", files={"adapter_model.safetensors": stored.id})
    await call(app_client, "DELETE", f"{path}/10")
    assert server.database.tuned("10") is None
    assert server.database.tuned("101") is None
    assert server.database.file(stored.id) is None
    assert await status(app_client, "DELETE", f"{path}/10") == 404


async def test_a_bundle_is_a_model_like_any_other(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    class Bundle:
        card = replace(fake_card("intents"), kind="bundle", title="Intents", description="sorts")

    models: Mapping[str, Any] = server.models.models
    server.models.models = {**models, "intents": Bundle()}
    found = await call(app_client, "GET", "/v1/models/intents")
    assert (found["displayName"], found["description"]) == ("Intents", "sorts")
    assert "temperature" not in found
