"""Embeddings in all the ways that the two services have."""

from __future__ import annotations

import httpx2 as httpx
import pytest
from contract.specs import Exchange
from contract.vendors import spec_of
from google_calls import GOOGLE, PROJECT, said

from stepladder.core import Json

pytestmark = pytest.mark.anyio

DEVELOPER = "/v1beta/models/fake-encoder"
VERTEX = f"{PROJECT}/publishers/google/models/fake-encoder"
OF_A = [1.0, 0.0, 0.0, 0.0]


async def post(client: httpx.AsyncClient, path: str, sent: Json) -> Json:
    response = await client.post(path, json=sent, headers=GOOGLE)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert spec_of(path).faults_of_response(Exchange("POST", path, sent, 200, answer)) == []
    return answer


@pytest.mark.parametrize("model", [DEVELOPER, VERTEX])
async def test_all_parts_of_a_content_are_one_vector(
    model: str, app_client: httpx.AsyncClient
) -> None:
    sent = {"content": {"parts": [{"text": "a"}, {"text": "e"}]}}
    answer = await post(app_client, f"{model}:embedContent", sent)
    assert answer["embedding"]["values"] == [1.0, 1.0, 0.0, 0.0]
    assert answer["usageMetadata"]["promptTokenCount"] == 1


@pytest.mark.parametrize(("model", "nested"), [(DEVELOPER, False), (VERTEX, True)])
async def test_many_contents_are_many_vectors(
    model: str, nested: bool, app_client: httpx.AsyncClient
) -> None:
    options: dict[str, Json] = {"outputDimensionality": 2}
    options = {"embedContentConfig": options} if nested else options
    sent = {"requests": [{"content": said(text), **options} for text in ("a", "e")]}
    answer = await post(app_client, f"{model}:batchEmbedContents", sent)
    assert [one["values"] for one in answer["embeddings"]] == [[1.0, 0.0], [0.0, 1.0]]


async def test_older_models_of_vertex_predict(app_client: httpx.AsyncClient) -> None:
    sent = {
        "instances": [{"content": "a", "task_type": "CLUSTERING"}, {"content": "a b"}],
        "parameters": {"outputDimensionality": 4},
    }
    answer = await post(app_client, f"{VERTEX}:predict", sent)
    assert [one["embeddings"]["values"] for one in answer["predictions"]] == [OF_A, OF_A]
    counts = [one["embeddings"]["statistics"]["token_count"] for one in answer["predictions"]]
    assert counts == [1, 2]


async def test_what_the_vector_does_not_depend_on_is_told(app_client: httpx.AsyncClient) -> None:
    sent = {"content": said("a"), "taskType": "CLUSTERING", "title": "t"}
    response = await app_client.post(f"{DEVELOPER}:embedContent", json=sent, headers=GOOGLE)
    assert response.headers["x-stepladder-ignored"] == "taskType, title"
    plain = await app_client.post(
        f"{DEVELOPER}:embedContent", json={"content": said("a")}, headers=GOOGLE
    )
    assert "x-stepladder-ignored" not in plain.headers
    assert plain.json() == response.json()


LONG = "a " * 101


async def test_a_text_that_was_cut_is_told(app_client: httpx.AsyncClient) -> None:
    answer = await post(app_client, f"{VERTEX}:embedContent", {"content": said(LONG)})
    assert answer["truncated"] is True
    sent = {"instances": [{"content": LONG}, {"content": "a"}]}
    answer = await post(app_client, f"{VERTEX}:predict", sent)
    told = [one["embeddings"]["statistics"] for one in answer["predictions"]]
    assert told == [{"token_count": 100, "truncated": True}, {"token_count": 1, "truncated": False}]
    many = {"requests": [{"content": said("a")}, {"content": said(LONG)}]}
    path = f"{DEVELOPER}:batchEmbedContents"  # whose answer has no field for it
    response = await app_client.post(path, json=many, headers=GOOGLE)
    assert response.headers["x-stepladder-truncated"] == "1"


@pytest.mark.parametrize(
    ("verb", "sent"),
    [
        ("embedContent", {"content": said(LONG), "autoTruncate": False}),
        ("embedContent", {"content": said(LONG), "embedContentConfig": {"autoTruncate": False}}),
        ("predict", {"instances": [{"content": LONG}], "parameters": {"autoTruncate": False}}),
        ("batchEmbedContents", {"requests": [{"content": said(LONG), "autoTruncate": False}]}),
    ],
)
async def test_a_text_that_is_not_to_be_cut_is_refused(
    verb: str, sent: Json, app_client: httpx.AsyncClient
) -> None:
    response = await app_client.post(f"{VERTEX}:{verb}", json=sent, headers=GOOGLE)
    assert response.status_code == 400
    assert "too long" in response.json()["error"]["message"]


WRONG: tuple[tuple[str, Json, str], ...] = (
    ("embedContent", {}, "content"),
    ("embedContent", {"content": {"parts": []}}, "no parts"),
    ("embedContent", {"content": said("a"), "outputDimensionality": 0}, "1 or more"),
    ("embedContent", {"content": said("a"), "taskType": "SINGING"}, "taskType"),
    ("embedContent", {"content": said("a"), "model": "models/other"}, "other"),
    ("embedContent", {"content": {"parts": [{"functionResponse": {"name": "f"}}]}}, "text"),
    ("embedContent", {"content": said("a"), "embedContentConfig": {"documentOcr": True}},
     "documentOcr"),
    ("batchEmbedContents", {}, "requests"),
    ("batchEmbedContents", {"requests": [{"content": said("a")}] * 251}, "250"),
    ("batchEmbedContents", {"requests": [
        {"content": said("a")}, {"content": said("a"), "outputDimensionality": 2}]}, "same"),
    ("batchEmbedContents", {"requests": [
        {"content": said("a")}, {"content": said("a"), "autoTruncate": False}]}, "same"),
    ("predict", {"instances": []}, "instances"),
    ("predict", {"instances": [{}]}, "instances[0]"),
    ("predict", {"instances": ["a"]}, "instances[0]"),
)  # fmt: skip


async def test_what_cannot_be_embedded_is_refused(app_client: httpx.AsyncClient) -> None:
    for verb, sent, word in WRONG:
        response = await app_client.post(f"{VERTEX}:{verb}", json=sent, headers=GOOGLE)
        assert response.status_code == 400, (verb, sent)
        assert word in response.json()["error"]["message"]


async def test_models_that_do_not_embed_say_which_do(app_client: httpx.AsyncClient) -> None:
    path = "/v1beta/models/fake:embedContent"
    response = await app_client.post(path, json={"content": said("a")}, headers=GOOGLE)
    assert response.status_code == 400
    assert "fake-encoder" in response.json()["error"]["message"]
