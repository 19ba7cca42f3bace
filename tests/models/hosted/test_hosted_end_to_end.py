"""Hosted models through the real SDK against a service in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hosted_service import Service

pytest.importorskip("google.genai")

from stepladder.answers import Answers, CachedModel
from stepladder.catalogue import load_catalogue
from stepladder.core import Message, Request
from stepladder.cost import load_prices
from stepladder.models import ProviderSettings
from stepladder.models.gemini import GeminiProvider, open_gemini

TODAY = date(2026, 11, 22)
NAME = "gemini:gemini-3.1-flash-lite"
SYSTEM = Message("system", "Sort the message.\n\nLabels:\n- card_lost\n- top_up\n- refund")
FAULTS = ["429", "500", "503", "drop", "cut", "truncated"]


@pytest.fixture(autouse=True)
def _keys(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "key-of-gemini-0123456789")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", service.url)
    # a wait of milliseconds instead of seconds: what is tested is that there is one
    monkeypatch.setattr("stepladder.models.hosted.pace.FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr("stepladder.models.hosted.batches.FIRST_SECONDS", 0.01)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def provider(tmp_path: Path, told: list[str]) -> Iterator[GeminiProvider]:
    with closing(open_gemini(settings(tmp_path, told))) as opened:
        yield opened


def settings(folder: Path, told: list[str], **options: Any) -> ProviderSettings:
    return ProviderSettings(
        "gemini",
        jobs=folder / "jobs",
        options=options,
        catalogue=load_catalogue(today=TODAY),
        prices=load_prices(today=TODAY),
        tell=lambda event, fields: told.append(fields["text"]),
    )


def ask(text: str, *before: Message) -> Request:
    return Request((*(before or (SYSTEM,)), Message("user", text)), max_output_tokens=10)


def test_no_answer_is_lost_or_doubled_when_a_fifth_of_the_calls_go_wrong(
    service: Service, provider: GeminiProvider, tmp_path: Path, told: list[str]
) -> None:
    service.faults({"kinds": FAULTS, "share": 0.2, "seed": 5, "wait_seconds": 0.01})
    answers = Answers(tmp_path / "answers.sqlite")
    model = CachedModel(provider.model(NAME), answers)
    found = dict(model.generate([ask(f"I lost card {n}") for n in range(150)]))
    answers.close()
    assert sorted(found) == list(range(150))
    assert [response.error for response in found.values() if response.error] == []
    seen = [call for call in service.requests(bodies=False) if "generateContent" in call.path]
    assert {call.fault for call in seen} >= {*FAULTS}
    answered = service.answered("generateContent")
    assert len(answered) == 150
    assert set(answered.values()) == {1}
    unsure = sum(call.fault in ("drop", "cut", "truncated") for call in seen)
    assert told[-1].endswith(
        f"{unsure} calls broke off after being sent; the service may have billed them"
    )


def test_the_services_limit_on_calls_at_once_is_found(
    service: Service, provider: GeminiProvider
) -> None:
    service.settings(concurrency=3, latency=0.02, wait_seconds=None)
    found = dict(provider.model(NAME).generate([ask(f"I lost card {n}") for n in range(200)]))
    assert [response.error for response in found.values() if response.error] == []
    seen = [call for call in service.requests(bodies=False) if "generateContent" in call.path]
    late = seen[-100:]  # real timing: how close it gets is shown by simulation in test_pace.py
    refused = sum(call.fault == "limit" for call in late) / len(late)
    assert refused < 0.25, "sixteen at once would have four in five turned away"
    assert max(call.under_way for call in late) <= 8


def test_a_long_prefix_is_kept_at_the_service_while_it_is_used(
    service: Service, provider: GeminiProvider
) -> None:
    long = Message("system", f"{SYSTEM.content}\n\n" + "Mind the rules of the bank. " * 1000)
    demos = (Message("user", "my card is gone"), Message("assistant", "card_lost"))
    found = dict(
        provider.model(NAME).generate([ask(f"refund {n}", long, *demos) for n in range(12)])
    )
    assert [response.error for response in found.values() if response.error] == []
    paths = [(call.method, "cachedContents" in call.path) for call in service.requests()]
    assert paths[0] == ("POST", True)
    assert paths[-1] == ("DELETE", True)
    asked = service.requests("generateContent")
    assert len(asked) == 12
    assert all(call.body["cachedContent"] for call in asked)
    assert all(len(str(call.body)) < 1000 for call in asked), "the prefix itself is not sent again"
    usage = found[0].usage
    assert (usage.cached_tokens or 0) > 4096
    assert sum(one.usage.cache_write_tokens for one in found.values()) > 4096


def test_a_batch_is_one_job_and_is_not_submitted_again(
    service: Service, tmp_path: Path, told: list[str]
) -> None:
    requests = [ask(f"I lost card {n}") for n in range(10)]
    service.settings(fail_batch_rows=0.2)
    with closing(open_gemini(settings(tmp_path, told, batch=True))) as provider:
        answers = provider.model(NAME).generate(requests)
        first = next(answers)
        answers.close()  # type: ignore[attr-defined]
        found = dict(provider.model(NAME).generate(requests))
    assert sorted(found) == list(range(10))
    assert found[first[0]] == first[1]
    assert {response.usage.tier for response in found.values()} == {"batch"}
    submitted = [call for call in service.requests() if ":batchGenerateContent" in call.path]
    assert len(submitted) == 1
    assert not service.requests(":generateContent")
