"""What our code sends through `google-genai`, against Google's own documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings

from contract.asking import FEATURES, PLAIN, SYSTEM, USER, requests
from contract.calling import ask, gemini_api, opened, vertex_api
from contract.recording import Recorded, faults_of, recording
from contract.specs import Json
from contract.vendors import vertex as vertex_spec
from stepladder.core import Message, Request
from stepladder.models.hosted.api import BatchApi

genai = pytest.importorskip("google.genai")

TUNED = "projects/123/locations/us/endpoints/456"
UNKNOWN = "gemini-of-next-year"  # no facts, so nothing is refused for want of them
MODELS = {
    "gemini": ("gemini-3.5-flash", "gemini-2.5-flash-lite"),
    "vertex": ("gemini-3.5-flash", "gemini-2.5-flash-lite", f"gemini-3.5-flash@{TUNED}"),
}
ANSWER = {
    "candidates": [
        {"content": {"role": "model", "parts": [{"text": "a"}]}, "finishReason": "STOP"}
    ],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1, "totalTokenCount": 4},
}


def answer(method: str, path: str, body: Json) -> Json:
    path = path.partition("?")[0]
    if path.endswith("/cachedContents"):
        name = f"{path.partition('/v1beta1/')[2] or 'cachedContents'}/7"
        return {"name": name, "usageMetadata": {"totalTokenCount": 5000}}
    if path.endswith("/batchPredictionJobs"):
        job = {"name": f"{path.partition('/v1beta1/')[2]}/55", "state": "JOB_STATE_PENDING"}
        return job if method == "POST" else {}
    if "/batchPredictionJobs/" in path and method == "GET":
        return {"name": path.partition("/v1beta1/")[2], "state": "JOB_STATE_RUNNING"}
    if path.endswith(":batchGenerateContent"):
        return {"name": "batches/b1", "metadata": {"state": "BATCH_STATE_PENDING"}}
    if path.endswith("/batches"):
        return {}
    if "/batches/" in path and method == "GET":
        return {"name": "batches/b1", "metadata": {"state": "BATCH_STATE_RUNNING"}}
    return ANSWER if method == "POST" and not path.endswith(":cancel") else {}


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    monkeypatch.setenv("GEMINI_API_KEY", "made-up-key")
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("GOOGLE_OAUTH_ACCESS_TOKEN", "made-up-token")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "demo-project")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "us-central1")
    with recording(monkeypatch, answer) as recorded:
        yield recorded


def in_order() -> list[tuple[str, str]]:
    return [(provider, model) for provider, models in MODELS.items() for model in models]


@pytest.mark.parametrize(("provider", "model"), in_order())
def test_every_feature_is_asked_for_as_google_describes_it(
    provider: str, model: str, wire: Recorded
) -> None:
    features = dict(FEATURES)
    del features["log-probability"]  # these models report none, and are not asked for any
    if "@" in model:  # a tuned Gemini is not offered response schemas, and is not asked with one
        del features["schema"], features["choices"]
    faults = {}
    with opened(f"{provider}:{model}") as asked:
        for feature, request in features.items():
            asked(request)
            faults[feature] = faults_of(wire.exchanges[-1])
    assert faults == {feature: [] for feature in features}
    assert all(path.endswith(":generateContent") for _, path in wire.calls())


@pytest.mark.parametrize("provider", MODELS)
def test_log_probabilities_are_asked_for_as_google_describes_it(
    provider: str, wire: Recorded
) -> None:
    ask(f"{provider}:{UNKNOWN}", FEATURES["log-probability"])
    (exchange,) = wire.exchanges
    assert exchange.body["generationConfig"]["responseLogprobs"] is True
    assert not faults_of(exchange)


@pytest.mark.parametrize("provider", MODELS)
def test_any_mixture_is_asked_for_as_google_describes_it(provider: str, wire: Recorded) -> None:
    with opened(f"{provider}:gemini-3.5-flash") as asked:

        @settings(max_examples=40)
        @given(requests())
        def check(request: Request) -> None:
            asked(request)
            assert not faults_of(wire.exchanges[-1])

        check()


def test_nothing_asked_for_is_lost_on_the_way(wire: Recorded) -> None:
    ask("gemini:gemini-2.5-flash-lite", replace(FEATURES["sampling"], thinking_tokens=0))
    (body,) = wire.bodies(":generateContent")
    assert body["systemInstruction"]["parts"] == [{"text": SYSTEM.content}]
    assert body["contents"] == [{"role": "user", "parts": [{"text": USER.content}]}]
    config = body["generationConfig"]
    assert (config["temperature"], config["seed"], config["stopSequences"]) == (
        0.7,
        7,
        ["\n\n", "END"],
    )


# --- where calls go -----------------------------------------------------------------------------


def test_the_developer_api_is_called_at_google_by_default(wire: Recorded) -> None:
    ask("gemini:gemini-3.5-flash", PLAIN)
    assert wire.hosts == ["generativelanguage.googleapis.com"]


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("us-central1", "us-central1-aiplatform.googleapis.com"),
        ("global", "aiplatform.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
    ],
)
def test_vertex_is_called_where_the_location_is(
    location: str, host: str, wire: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.oauth2.credentials import Credentials

    monkeypatch.delenv("GOOGLE_VERTEX_BASE_URL")
    monkeypatch.setattr("google.auth.default", lambda **_: (Credentials(token="made-up"), None))
    ask("vertex:gemini-3.5-flash", PLAIN, location=location)
    assert wire.hosts == [host]
    (path,) = [path for _, path in wire.calls()]
    assert f"/projects/demo-project/locations/{location}/publishers/google/models/" in path


def test_a_tuned_model_is_called_where_it_was_tuned(
    wire: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.oauth2.credentials import Credentials

    monkeypatch.delenv("GOOGLE_VERTEX_BASE_URL")
    monkeypatch.setattr("google.auth.default", lambda **_: (Credentials(token="made-up"), None))
    ask(f"vertex:gemini-3.5-flash@{TUNED}", PLAIN)
    assert wire.hosts == ["aiplatform.us.rep.googleapis.com"]
    assert wire.calls() == [("POST", f"/v1beta1/{TUNED}:generateContent")]


# --- kept prefixes and batches ------------------------------------------------------------------


class Shelf:
    """A bucket that keeps what it is given."""

    name = "ours"

    def __init__(self) -> None:
        self.files: dict[str, str] = {}

    def put(self, file: Path, name: str) -> str:
        self.files[name] = file.read_text("utf-8")
        return f"gs://{self.name}/{name}"

    def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize("provider", ["gemini", "vertex"])
def test_a_kept_prefix_is_written_used_and_dropped_as_google_describes_it(
    provider: str, wire: Recorded
) -> None:
    api = gemini_api() if provider == "gemini" else vertex_api("demo-project")
    model = "gemini-3.5-flash"
    shown = Message("user", "an example " * 4000)
    prefix = (SYSTEM, shown, Message("assistant", "a"))
    kept = api.write_cache(model, prefix, 600)
    api.send(model, replace(PLAIN, messages=(*prefix, USER)), kept)
    api.drop_cache(kept)
    api.close()
    assert [method for method, _ in wire.calls()] == ["POST", "POST", "DELETE"]
    assert [fault for one in wire.exchanges for fault in faults_of(one)] == []
    (body,) = wire.bodies(":generateContent")
    assert body["cachedContent"] == kept.name
    assert body["contents"] == [{"role": "user", "parts": [{"text": USER.content}]}]
    assert "systemInstruction" not in body


# log-probabilities are not asked of these models, and the rest has to fit into one job
BATCHED = tuple(one for one in FEATURES.values() if not one.logprob)


def run_batch(api: BatchApi) -> None:
    """Everything that is done with a job, once."""
    model = "gemini-3.5-flash"
    assert api.find_batch(model, "label") is None
    job = api.submit_batch(model, BATCHED, "label")
    assert api.poll_batch(model, job, BATCHED).state == "running"
    api.cancel_batch(job)


def test_a_batch_of_the_developer_api_is_asked_for_as_google_describes_it(wire: Recorded) -> None:
    run_batch(gemini_api())
    # the document wants the model in the body too, and the SDK puts it into the path only
    missing = "'model' is a required property"
    faults = [fault for one in wire.exchanges for fault in faults_of(one)]
    assert [fault for fault in faults if missing not in fault] == []
    (body,) = wire.bodies(":batchGenerateContent")
    assert body["batch"]["displayName"] == "label"
    assert len(body["batch"]["inputConfig"]["requests"]["requests"]) == len(BATCHED)


def test_a_batch_of_vertex_is_asked_for_as_google_describes_it(wire: Recorded) -> None:
    bucket = Shelf()
    run_batch(vertex_api("demo-project", bucket))
    assert [fault for one in wire.exchanges for fault in faults_of(one)] == []
    (body,) = (body for body in wire.bodies("/batchPredictionJobs") if body)
    ((name, content),) = bucket.files.items()
    assert body["inputConfig"]["gcsSource"]["uris"] == [f"gs://ours/{name}"]
    lines = [json.loads(line) for line in content.splitlines()]
    assert len(lines) == len(BATCHED)
    definition = "GoogleCloudAiplatformV1beta1GenerateContentRequest"
    for line in lines:  # the SDK does not make these: we do
        assert line.keys() == {"request"}
        assert vertex_spec().faults(definition, line["request"], "request") == []
