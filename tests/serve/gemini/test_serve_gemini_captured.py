"""What the official SDKs really sent is answered, and the answers are what the documents say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import httpx2 as httpx
import pytest
from contract.captured import captured, events
from contract.specs import Exchange, Json, Spec
from contract.vendors import developer, vertex

from stepladder.database.records import Checkpoint, TunedModel, TuningJob
from stepladder.serve.server import Server
from stepladder.serve.settings import ServeSettings

pytestmark = pytest.mark.anyio

CAPTURED = Path(__file__).parent / "captured"
GOOGLE = {"x-goog-api-key": "fake", "x-goog-api-client": "google-genai-sdk/3.4.0"}
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MODELS = (
    "gemini-2.5-flash", "gemini-3.5-flash", "gemini-3.8-flash", "my-model", "456",
)  # fmt: skip
ENCODERS = ("gemini-embedding-001", "gemini-embedding-2", "text-embedding-004")

# what is refused, and why; everything else is answered with 200
REFUSED: Mapping[str, tuple[int, str]] = {
    "google_search_code_exec_tools": (400, "tools[0].googleSearch"),
    "multimodal_inline_and_uri": (400, "reads text only"),
    "cached_content": (404, "cached content"),
    "continuation-2": (400, "continuationToken"),
    "list_base_dev-2": (400, "pageToken"),
    "list_base_vertex-2": (400, "pageToken"),
}


@pytest.fixture
def serve_settings(tmp_path: Path) -> ServeSettings:
    aliases = {**dict.fromkeys(MODELS, "fake"), **dict.fromkeys(ENCODERS, "fake-encoder")}
    return ServeSettings(aliases=aliases, database=f"sqlite:///{tmp_path / 'serve.db'}")


def recorded(file: str) -> list[tuple[str, Exchange]]:
    kept = json.loads((CAPTURED / f"{file}.json").read_text("utf-8"))["requests"]
    return [(one["case"], Exchange(one["method"], one["path"], one["body"])) for one in kept]


def of_file(file: str) -> list[tuple[str, Exchange]]:
    if (CAPTURED / f"{file}.json").exists():
        return recorded(file)
    return [(one.id.partition("/")[2], one.exchange) for one in captured(file)]


def spec_for(path: str) -> Spec:
    return vertex() if path.startswith("/v1beta1/") else developer()


async def send(client: httpx.AsyncClient, exchange: Exchange) -> httpx.Response:
    body = {} if exchange.body is None else {"json": exchange.body}
    return await client.request(exchange.method, exchange.path, headers=GOOGLE, **body)


def faults(exchange: Exchange, answer: Json) -> list[str]:
    answered = Exchange(exchange.method, exchange.path, exchange.body, 200, answer)
    return spec_for(exchange.path).faults_of_response(answered)


@pytest.mark.parametrize(
    "file", ["generate_content_dev", "generate_content_vertex", "count_tokens", "embed_content"]
)
async def test_it_is_answered_as_the_document_says(
    file: str, app_client: httpx.AsyncClient
) -> None:
    wrong = {}
    for case, exchange in of_file(file):
        response = await send(app_client, exchange)
        found = problems(case, exchange, response)
        if found:
            wrong[case] = found
    assert wrong == {}


def problems(case: str, exchange: Exchange, response: httpx.Response) -> list[Json]:
    if case in REFUSED:
        status, word = REFUSED[case]
        code = response.json().get("error", {}).get("code")
        is_told = response.status_code == code == status and word in response.text
        return [] if is_told else [response.text]
    if response.status_code != 200:
        return [response.text]
    if "alt=sse" not in exchange.path:
        return faults(exchange, response.json())
    told = events(response.text)
    found = [fault for one in told for fault in faults(exchange, one)]
    if "".join(one["candidates"][0]["content"]["parts"][0]["text"] for one in told) != "x":
        found.append("the stream does not say the whole answer")
    last = told[-1]
    if not last["candidates"][0]["finishReason"] or not last["usageMetadata"]["totalTokenCount"]:
        found.append("the stream does not end with a reason and its usage")
    return found


async def test_calls_about_models_are_answered(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    for id in ("a", "9"):
        add_tuned(server, id)
    for case, exchange in recorded("models"):
        response = await send(app_client, exchange)
        if case in REFUSED:
            assert response.status_code == REFUSED[case][0]
            continue
        assert response.status_code == 200, response.text
        assert faults(exchange, response.json()) == []
        if case.startswith("update"):
            assert response.json()["displayName"] == "n"
        if case == "update_vertex":
            assert response.json()["defaultCheckpointId"] == "2"
        if case.startswith("delete"):
            again = await app_client.get(exchange.path, headers=GOOGLE)
            assert again.status_code == 404


def add_tuned(server: Server, id: str) -> None:
    checkpoints = tuple(Checkpoint(n, 10 * int(n), float(n), f"{id}{n}") for n in ("1", "2"))
    job = TuningJob(
        id=f"job{id}", owner="local", protocol="vertex", base="gemini-2.5-flash", model="fake",
        method="supervised", training_file="gs://b/t.jsonl", created_at=NOW, updated_at=NOW,
        state="succeeded", tuned_model=id, checkpoints=checkpoints,
    )  # fmt: skip
    server.database.add_job(job)
    tuned = TunedModel(
        id=id, owner="local", job=job.id, base="gemini-2.5-flash", model="fake", created_at=NOW,
        updated_at=NOW, files={}, name="d",
    )  # fmt: skip
    server.database.add_tuned(tuned)


# what a client asks that was told less than it needs, and why that cannot be answered
NO_PLACE: Mapping[str, str] = {
    "/": "clients that drop project and location ask no path at all",
    "/x/v1/models/gemini-2.5-flash:generateContent": "no prefix of ours",
}


async def test_every_way_in_is_known_by_its_path(app_client: httpx.AsyncClient) -> None:
    """Of every way to set a client up: keys, tokens, projects or none, any base URL."""
    kept = json.loads((CAPTURED / "auth_matrix.json").read_text("utf-8"))["requests"]
    body = {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}
    for one in kept:
        sent = {} if one["path"] == "/token" else {"json": body}
        headers = {**one["headers"], "x-goog-api-client": GOOGLE["x-goog-api-client"]}
        response = await app_client.request(one["method"], one["path"], headers=headers, **sent)
        if one["path"] in NO_PLACE:
            assert response.status_code in (404, 405), one["case"]
        elif one["path"] != "/token":  # see test_token.py
            assert response.status_code == 200, (one["case"], response.text)
            exchange = Exchange("POST", one["path"], body)
            if one["path"].startswith("/v1"):
                assert faults(exchange, response.json()) == []
