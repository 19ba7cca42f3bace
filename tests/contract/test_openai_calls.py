"""What our code sends through the `openai` SDK, against OpenAI's own document."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings

from contract.asking import FEATURES, requests
from contract.calling import ask, openai_api, opened
from contract.recording import Recorded, faults_of, recording
from contract.specs import Exchange, Json
from stepladder.core import Request

pytest.importorskip("openai")

COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1790000000,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "logprobs": None,
            "message": {"role": "assistant", "content": '{"label": "a"}', "refusal": None},
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
# fields that a service has besides OpenAI's, each documented by that service
OF_THEIR_OWN = {"structured_outputs", "chat_template_kwargs", "provider", "reasoning"}
THINKS_BY_LEVEL = "gpt-5-mini"


BATCH = {
    "id": "batch_1",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "input_file_id": "file-1",
    "completion_window": "24h",
    "status": "in_progress",
    "created_at": 1790000000,
}
FILE = {
    "id": "file-1",
    "object": "file",
    "bytes": 5,
    "created_at": 1790000000,
    "filename": "label.jsonl",
    "purpose": "batch",
    "status": "processed",
}


def answer(method: str, path: str, body: Json) -> Json:
    """Enough of an answer for what comes next."""
    path = path.partition("?")[0]
    if path.endswith("/files"):
        return FILE
    if (method, path) == ("GET", "/v1/batches"):
        return {"object": "list", "data": [], "has_more": False}
    return BATCH if "/batches" in path else COMPLETION


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    for name in ("OPENAI", "TOGETHER", "FIREWORKS", "OPENROUTER", "AZURE_OPENAI"):
        monkeypatch.setenv(f"{name}_API_KEY", "made-up-key")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://ours.openai.azure.com")
    with recording(monkeypatch, answer) as recorded:
        yield recorded


@pytest.mark.parametrize("model", ["gpt-4o-mini", THINKS_BY_LEVEL])
def test_every_feature_is_asked_for_as_openai_describes_it(model: str, wire: Recorded) -> None:
    features = dict(FEATURES)
    if model == THINKS_BY_LEVEL:
        # such a model takes no temperature and reports no probabilities: it is not asked to
        del features["sampling"], features["log-probability"]
    faults = {}
    with opened(f"openai:{model}") as asked:
        for feature, request in features.items():
            asked(request)
            faults[feature] = faults_of(wire.exchanges[-1], speaks_openai=True)
    assert faults == {feature: [] for feature in features}
    assert {*wire.calls()} == {("POST", "/v1/chat/completions")}
    assert {*wire.hosts} == {"api.openai.com"}


def test_any_mixture_is_asked_for_as_openai_describes_it(wire: Recorded) -> None:
    with opened(f"openai:{THINKS_BY_LEVEL}") as asked:

        @settings(max_examples=40)
        @given(requests())
        def check(request: Request) -> None:
            asked(request)
            assert not faults_of(wire.exchanges[-1], speaks_openai=True)

        check()


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("azure", "/openai/v1/chat/completions"),
        ("together", "/v1/chat/completions"),
        ("fireworks", "/inference/v1/chat/completions"),
        ("openrouter", "/api/v1/chat/completions"),
        ("ollama", "/v1/chat/completions"),
        ("vllm", "/v1/chat/completions"),
        ("llamacpp", "/v1/chat/completions"),
    ],
)
def test_others_are_asked_in_openai_s_words_but_for_fields_of_their_own(
    endpoint: str, path: str, wire: Recorded
) -> None:
    features = ("plain", "sampling", "schema", "choices", "functions", "image")
    ask(f"{endpoint}:some-model", *(FEATURES[feature] for feature in features))
    for exchange in wire.exchanges:
        assert exchange.path == path
        spoken = {key: value for key, value in exchange.body.items() if key not in OF_THEIR_OWN}
        spoken_to = Exchange("POST", "/v1/chat/completions", spoken, 200, exchange.answer)
        assert not faults_of(spoken_to, speaks_openai=True)


def test_a_batch_is_sought_submitted_followed_and_cancelled_as_openai_describes_it(
    wire: Recorded,
) -> None:
    api = openai_api()
    asked = tuple(FEATURES.values())
    assert api.find_batch("gpt-4o-mini", "label") is None
    job = api.submit_batch("gpt-4o-mini", asked, "label")
    assert api.poll_batch("gpt-4o-mini", job, asked).state == "running"
    api.cancel_batch(job)
    api.close()
    assert [fault for one in wire.exchanges for fault in faults_of(one, speaks_openai=True)] == []
    (upload,) = wire.bodies("/files")
    lines = [json.loads(line) for line in upload["file"].splitlines()]
    assert [line["custom_id"] for line in lines] == [str(place) for place in range(len(asked))]
    for line in lines:  # each is a call of its own, in a file
        assert line.keys() == {"custom_id", "method", "url", "body"}
        call = Exchange(line["method"], line["url"], line["body"], answer=COMPLETION)
        assert not faults_of(call, speaks_openai=True)
