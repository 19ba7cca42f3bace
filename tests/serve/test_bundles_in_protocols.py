"""Candidates and log-probabilities of a bundle in every protocol, as the official documents say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from contract.captured import events
from contract.specs import Exchange
from contract.vendors import openai, spec_of
from served_bundles import NAME, PLAIN, Scorer, base, bundle

from stepladder.fake_live import FakeEngine
from stepladder.serve.served.bases import Bases
from stepladder.serve.served.bundle import open_bundle
from stepladder.serve.server import Server
from stepladder.solvers.prompt import PromptSolver

pytestmark = pytest.mark.anyio

LABELS = PromptSolver(
    NAME, "Which?", "classification", ("red", "blue"), output_format="label", scoring="labels"
)
GOOGLE = {"x-goog-api-key": "fake", "x-goog-api-client": "google-genai-sdk/3.4.0"}
DEVELOPER = "/v1beta/models/colours"
VERTEX = "/v1beta1/projects/p/locations/us-central1/publishers/google/models/colours"


@pytest.fixture(autouse=True)
def _bundles(server: Server, engine: FakeEngine, tmp_path: Path) -> Iterator[None]:
    """The bundles "colours", a prompt, and "labels", which scores labels."""
    scorer = Scorer()
    scorer.go.set()
    bases = Bases(lambda name, _: base(engine, scorer))
    with ThreadPoolExecutor(2) as threads:
        opened = {
            name: open_bundle(bundle(solver, tmp_path), bases, threads)
            for name, solver in (("colours", PLAIN), ("labels", LABELS))
        }
        models: Any = server.models
        models.models |= opened
        yield
        for one in opened.values():
            one.retire()


async def chat(client: httpx.AsyncClient, **more: Any) -> httpx.Response:
    body = {"model": "colours", "messages": [{"role": "user", "content": "blue"}], **more}
    return await client.post("/v1/chat/completions", json=body)


def conforming(response: httpx.Response, path: str) -> Mapping[str, Any]:
    """The answer; it is what the official document of that path describes."""
    assert response.status_code == 200, response.text
    spec = openai() if path.startswith("/v1/") else spec_of(path)
    told = response.json()
    assert spec.faults_of_response(Exchange("POST", path, None, 200, told)) == []
    found: Mapping[str, Any] = told
    return found


async def test_openai_chat(app_client: httpx.AsyncClient, engine: FakeEngine) -> None:
    response = await chat(app_client, n=3, temperature=0.7, logprobs=True, top_logprobs=2)
    told = conforming(response, "/v1/chat/completions")
    assert [choice["index"] for choice in told["choices"]] == [0, 1, 2]
    for choice in told["choices"]:
        assert choice["message"]["content"] == "blue"
        assert [one["token"] for one in choice["logprobs"]["content"]] == [*"blue"]
        assert all(len(one["top_logprobs"]) == 2 for one in choice["logprobs"]["content"])
    assert told["usage"]["completion_tokens"] == len("blue") + 1
    assert response.headers["x-stepladder-ignored"] == "temperature"
    assert len(engine.seen) == 1


async def test_openai_stream(app_client: httpx.AsyncClient) -> None:
    response = await chat(app_client, n=2, logprobs=True, stream=True)
    chunks = [one["choices"][0] for one in events(response.text) if one["choices"]]
    for index in range(2):
        mine = [one for one in chunks if one["index"] == index]
        assert "".join(one["delta"].get("content") or "" for one in mine) == "blue"
        tokens = [t["token"] for one in mine if one["logprobs"] for t in one["logprobs"]["content"]]
        assert tokens == [*"blue"]
        assert mine[-1]["finish_reason"] == "stop"


async def test_openai_completions(app_client: httpx.AsyncClient) -> None:
    body = {"model": "colours", "prompt": ["red", "blue"], "n": 2, "logprobs": 1}
    told = conforming(await app_client.post("/v1/completions", json=body), "/v1/completions")
    assert [choice["text"] for choice in told["choices"]] == ["red", "red", "blue", "blue"]
    assert told["choices"][3]["logprobs"]["tokens"] == [*"blue"]
    assert told["choices"][3]["logprobs"]["text_offset"] == [0, 1, 2, 3]


@pytest.mark.parametrize("path", [DEVELOPER, VERTEX])
async def test_google(path: str, app_client: httpx.AsyncClient) -> None:
    config = {"candidateCount": 2, "responseLogprobs": True, "logprobs": 2, "topK": 5}
    content = {"role": "user", "parts": [{"text": "blue"}]}
    body = {"contents": [content], "generationConfig": config}
    path = f"{path}:generateContent"
    response = await app_client.post(path, json=body, headers=GOOGLE)
    told = conforming(response, path)
    assert len(told["candidates"]) == 2
    for candidate in told["candidates"]:
        assert candidate["content"]["parts"] == [{"text": "blue"}]
        chosen = candidate["logprobsResult"]["chosenCandidates"]
        assert [one["token"] for one in chosen] == [*"blue"]
        assert candidate["avgLogprobs"] < 0
    assert response.headers["x-stepladder-ignored"] == "topK"
    path = path.replace("colours", "labels")
    told = conforming(await app_client.post(path, json=body, headers=GOOGLE), path)
    result = told["candidates"][0]["logprobsResult"]
    (chosen,), (top,) = result["chosenCandidates"], result["topCandidates"]
    assert chosen["token"] == "blue"
    assert "tokenId" not in chosen
    assert [one["token"] for one in top["candidates"]] == ["blue", "red"]


async def test_candidates_of_a_bundle_take_one_place(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    """They are made once, so as many as may be asked for fit a server that is nearly full."""
    server.limits.take(server.limits.places - 1)
    told = conforming(await chat(app_client, n=128), "/v1/chat/completions")
    assert len(told["choices"]) == 128
    assert server.limits.taken == server.limits.places - 1
