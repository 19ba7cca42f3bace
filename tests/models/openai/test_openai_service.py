"""A whole model over real sockets: the SDK, the pool, and a server that goes wrong at times."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hosted_service import Service

from stepladder.catalogue import load_catalogue
from stepladder.core import Function, Message, Model, Request
from stepladder.errors import ModelError
from stepladder.models import Provider, ProviderSettings
from stepladder.models.openai import open_provider
from stepladder.testing import check_model

KEY = "sk-of-a-test-0123456789"
LABELS = ("refund", "delivery")
CATALOGUE = load_catalogue(None, today=date(2026, 11, 22))


def request(text: str = "Where is my parcel?", **more: Any) -> Request:
    told = "Is it about a refund or a delivery?\nLabels:\n- refund\n- delivery"
    return Request((Message("system", told), Message("user", text)), **more)


@pytest.fixture
def at_service(service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    for name in ("OPENAI_CUSTOM_HEADERS", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("OPENAI", "TOGETHER", "VLLM", "OLLAMA"):
        monkeypatch.setenv(f"{name}_BASE_URL", service.openai_url)
        monkeypatch.setenv(f"{name}_API_KEY", KEY)
    return service


@pytest.fixture
def opened(at_service: Service, tmp_path: Path) -> Iterator[Any]:
    """Opens models by name, with options of their provider, and closes them."""
    providers: list[Provider] = []

    def open_(name: str, **options: Any) -> Model:
        provider = name.partition(":")[0]
        settings = ProviderSettings(
            provider, jobs=tmp_path / "jobs", options=options, catalogue=CATALOGUE
        )
        providers.append(open_provider(settings))
        return providers[-1].model(name)

    yield open_
    for provider in providers:
        provider.close()


@pytest.mark.parametrize(
    "name",
    ["openai:gpt-4o-mini", "together:meta-llama/Llama-3.3-70B-Instruct-Turbo", "vllm:qwen3",
     "ollama:qwen3"],
)  # fmt: skip
def test_the_contract_of_models(name: str, opened: Any) -> None:
    check_model(opened(name))


@pytest.mark.parametrize("name", ["openai:gpt-4o-mini", "vllm:qwen3"])
def test_an_answer_held_to_choices_is_one_of_them(name: str, opened: Any) -> None:
    (_, answer), = opened(name).generate([request(choices=LABELS, logprob=True)])  # fmt: skip
    assert answer.error is None
    assert answer.text in LABELS
    assert answer.logprob is not None
    assert answer.logprob <= 0
    assert answer.usage.seconds > 0
    assert answer.usage.audio_tokens == 0


def test_a_schema_and_a_function_are_kept_to(opened: Any) -> None:
    schema = {
        "type": "object",
        "properties": {"label": {"enum": list(LABELS)}},
        "required": ["label"],
        "additionalProperties": False,
    }
    function = Function("track", "Tracks a parcel.", schema)
    answers = dict(
        opened("openai:gpt-4o-mini").generate(
            [request(schema=schema), request(functions=(function,))]
        )
    )
    assert json.loads(answers[0].text)["label"] in LABELS
    assert answers[1].error is None
    assert answers[1].calls or answers[1].text


def test_less_thinking_is_fewer_tokens(opened: Any) -> None:
    model = opened("openai:gpt-5.4-mini")
    none, some = (
        next(iter(model.generate([request(thinking_tokens=tokens)])))[1] for tokens in (0, 2048)
    )
    assert none.usage.thinking_tokens == 0
    assert some.usage.thinking_tokens > 0
    assert some.usage.output_tokens > some.usage.thinking_tokens


def test_what_is_meant_for_this_machine_goes_through_no_proxy(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    (_, answer), = opened("vllm:qwen3", attempts=1).generate([request()])  # fmt: skip
    assert answer.error is None


def test_under_faults_every_answer_comes_once(opened: Any, at_service: Service) -> None:
    kinds = ["429", "500", "503", "drop", "cut", "truncated"]
    at_service.faults({"kinds": kinds, "share": 0.3, "seed": 5, "wait_seconds": 0.01})
    asked = [request(f"Where is parcel {number}?", choices=LABELS) for number in range(40)]
    answers = list(opened("openai:gpt-4o-mini").generate(asked))
    assert sorted(index for index, _ in answers) == list(range(40))
    assert [answer.error for _, answer in answers] == [None] * 40
    assert set(at_service.answered("/chat/completions").values()) == {1}


@pytest.mark.parametrize("kind", ["expired", "denied", "quota"])
def test_what_every_call_would_share_ends_the_run_without_naming_the_key(
    kind: str, opened: Any, at_service: Service
) -> None:
    at_service.faults({"kinds": [kind], "echo_key": True})
    with pytest.raises(ModelError) as caught:
        list(opened("openai:gpt-4o-mini").generate([request(str(n)) for n in range(20)]))
    assert KEY not in str(caught.value)
    assert len(at_service.requests("/chat/completions", bodies=False)) < 20


def test_a_model_that_is_not_there_is_said_so(opened: Any) -> None:
    with pytest.raises(ModelError, match="cannot be used"):
        list(opened("openai:no-such-model").generate([request()]))


@pytest.mark.parametrize("kind", ["blocked", "empty"])
def test_an_answer_that_is_withheld_fails_alone(
    kind: str, opened: Any, at_service: Service
) -> None:
    at_service.faults({"kinds": [kind], "times": 1})
    answers = dict(opened("openai:gpt-4o-mini", concurrency=1).generate([request(), request("b")]))
    assert answers[0].error is not None
    assert answers[0].usage.input_tokens > 0
    assert answers[1].error is None


def test_what_cannot_be_asked_fails_without_a_call(opened: Any, at_service: Service) -> None:
    (_, answer), = opened("ollama:qwen3").generate([request(logprob=True)])  # fmt: skip
    assert "logprobs" in answer.error
    assert not at_service.requests("/chat/completions", bodies=False)


def test_a_batch_answers_at_half_the_price(
    opened: Any, at_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepladder.models.hosted.batches.FIRST_SECONDS", 0.01)
    asked = [request(f"Where is parcel {number}?", choices=LABELS) for number in range(5)]
    answers = dict(opened("openai:gpt-4o-mini", batch=True).generate(asked))
    assert [answers[n].text in LABELS for n in range(5)] == [True] * 5
    assert {answer.usage.tier for answer in answers.values()} == {"batch"}
    assert not at_service.requests("/chat/completions", bodies=False)
    assert len([one for one in at_service.requests("/batches") if one.method == "POST"]) == 1
