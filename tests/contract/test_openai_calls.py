"""What our code sends through the `openai` SDK, against OpenAI's own document."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings

from contract.asking import FEATURES, requests
from contract.recording import Recorded, faults_of, recording
from contract.specs import Json
from stepladder.catalogue import load_catalogue
from stepladder.core import Request
from stepladder.models.openai import connect, find_endpoint
from stepladder.models.openai.api import OpenAIApi

pytest.importorskip("openai")

KNOWN = load_catalogue(today=date(2026, 11, 22))
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
OF_THEIR_OWN = {"structured_outputs", "chat_template_kwargs", "reasoning"}
THINKS_BY_LEVEL = "gpt-5-mini"


def answer(method: str, path: str, body: Json) -> Json:
    return COMPLETION


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    for name in ("OPENAI", "TOGETHER", "FIREWORKS", "OPENROUTER", "AZURE_OPENAI"):
        monkeypatch.setenv(f"{name}_API_KEY", "made-up-key")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://ours.openai.azure.com")
    with recording(monkeypatch, answer) as recorded:
        yield recorded


def ask(endpoint: str, model: str, request: Request) -> None:
    known = find_endpoint(endpoint)
    api = OpenAIApi(known, connect(known), KNOWN.facts)
    try:
        api.send(model, request, None)
    finally:
        api.close()


@pytest.mark.parametrize("model", ["gpt-4o-mini", THINKS_BY_LEVEL])
@pytest.mark.parametrize("feature", FEATURES)
def test_every_feature_is_asked_for_as_openai_describes_it(
    feature: str, model: str, wire: Recorded
) -> None:
    if model == THINKS_BY_LEVEL and FEATURES[feature].temperature not in (0, 1):
        pytest.skip("such a model takes no temperature, and we refuse to send one")
    ask("openai", model, FEATURES[feature])
    assert wire.calls() == [("POST", "/v1/chat/completions")]
    assert wire.hosts == ["api.openai.com"]
    assert not faults_of(wire.exchanges[0], speaks_openai=True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(request=requests())
def test_any_mixture_is_asked_for_as_openai_describes_it(request: Request, wire: Recorded) -> None:
    ask("openai", THINKS_BY_LEVEL, request)
    assert not faults_of(wire.exchanges[-1], speaks_openai=True)


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
    for feature in ("plain", "sampling", "schema", "choices", "functions", "image"):
        ask(endpoint, "some-model", FEATURES[feature])
        exchange = wire.exchanges[-1]
        assert exchange.path == path
        spoken = {key: value for key, value in exchange.body.items() if key not in OF_THEIR_OWN}
        spoken_to = type(exchange)("POST", "/v1/chat/completions", spoken, 200, exchange.answer)
        assert not faults_of(spoken_to, speaks_openai=True)
