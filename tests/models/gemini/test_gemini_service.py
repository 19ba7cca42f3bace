"""The providers as steps use them, against a service in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from gemini_calls import clean
from hosted_service import Service

from stepladder.catalogue import Catalogue, load_catalogue
from stepladder.core import Call, Function, Message, Request, Response
from stepladder.cost import load_prices
from stepladder.errors import ModelError
from stepladder.models import Provider, ProviderSettings
from stepladder.models.gemini import open_gemini, open_vertex
from stepladder.storage import open_bucket
from stepladder.testing import check_model

TODAY = date(2026, 11, 22)
LABELS = ("card_lost", "top_up", "refund")
SYSTEM = Message("system", "Sort the message.\n\nLabels:\n" + "\n".join(f"- {x}" for x in LABELS))
MODEL = "gemini:gemini-3.1-flash-lite"


def catalogue() -> Catalogue:
    return load_catalogue(today=TODAY)


def settings(name: str, jobs: Path, **options: Any) -> ProviderSettings:
    options = {"deadline_seconds": 20, **options}
    prices = load_prices(None, today=TODAY)
    return ProviderSettings(name, jobs=jobs, options=options, catalogue=catalogue(), prices=prices)


@pytest.fixture(autouse=True)
def _keys(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    clean(monkeypatch)
    monkeypatch.setenv("GEMINI_API_KEY", "key-of-gemini-0123456789")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", service.url)
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", service.url)
    monkeypatch.setenv("GOOGLE_OAUTH_ACCESS_TOKEN", "token-of-vertex-0123456789")


@pytest.fixture
def gemini(tmp_path: Path) -> Iterator[Provider]:
    provider = open_gemini(settings("gemini", tmp_path))
    yield provider
    provider.close()


@pytest.fixture
def vertex(tmp_path: Path) -> Iterator[Provider]:
    options = {"project": "p-1", "location": "us-central1"}
    provider = open_vertex(settings("vertex", tmp_path, **options))
    yield provider
    provider.close()


def asked(text: str, **how: Any) -> Request:
    return Request((SYSTEM, Message("user", text)), **{"max_output_tokens": 32, **how})


def answers(provider: Provider, name: str, *requests: Request) -> list[Response]:
    found = dict(provider.model(name).generate(requests))
    return [found[place] for place in range(len(requests))]


def test_both_providers_keep_the_contract_of_a_model(gemini: Provider, vertex: Provider) -> None:
    check_model(gemini.model(MODEL))
    check_model(vertex.model("vertex:gemini-3.5-flash"))


@pytest.mark.parametrize("name", [MODEL, "vertex:gemini-3.5-flash"])
def test_what_is_asked_is_answered_in_its_form(
    name: str, gemini: Provider, vertex: Provider
) -> None:
    provider = gemini if name == MODEL else vertex
    free, chosen, formed = answers(
        provider,
        name,
        asked("I have lost my card"),
        asked("How do I add money, top up?", choices=LABELS),
        asked("my card is lost", schema={"type": "object", "properties": {"x": {"enum": LABELS}}}),
    )
    assert free.text == "card_lost"
    assert chosen.text == "top_up"
    assert formed.text.startswith("{")
    for one in (free, chosen, formed):
        assert one.error is None
        assert one.usage.model == name
        assert (one.usage.input_tokens or 0) > 0
        assert one.usage.seconds is not None


def test_a_function_is_called_and_its_result_read(gemini: Provider) -> None:
    look = Function(
        "look_up", "find the card of a customer",
        {"type": "object", "properties": {"card": {"type": "string"}}, "required": ["card"]},
    )  # fmt: skip
    question = Message("user", "look up the card of Ana")
    [first] = answers(gemini, MODEL, Request((question,), functions=(look,)))
    assert [call.name for call in first.calls] == ["look_up"]
    turns = (
        question, Message("assistant", calls=first.calls),
        Message("function", '{"found": true}', result_of=first.calls[0]),
    )  # fmt: skip
    [second] = answers(gemini, MODEL, Request(turns, functions=(look,)))
    assert second.error is None
    assert isinstance(first.calls[0], Call)


@pytest.mark.parametrize("kind", ["429", "500", "503", "drop", "cut", "truncated", "slow"])
def test_what_goes_wrong_once_is_asked_again_and_answered(
    kind: str, service: Service, gemini: Provider
) -> None:
    service.faults({"kinds": [kind], "times": 2, "wait_seconds": 0.01, "seconds": 0.2})
    found = answers(gemini, MODEL, *[asked(f"lost card {number}") for number in range(6)])
    assert [one.error for one in found] == [None] * 6
    assert set(service.answered(":generateContent").values()) == {1}


@pytest.mark.parametrize(
    ("kind", "hint"),
    [("expired", "GEMINI_API_KEY"), ("denied", "GEMINI_API_KEY"), ("quota", "tomorrow")],
)
def test_what_every_call_would_meet_ends_the_run_with_a_hint(
    kind: str, hint: str, service: Service, gemini: Provider
) -> None:
    service.faults({"kinds": [kind], "echo_key": True})
    with pytest.raises(ModelError) as caught:
        answers(gemini, MODEL, *[asked(f"lost card {number}") for number in range(50)])
    assert hint in caught.value.hint
    assert "key-of-gemini" not in str(caught.value)
    assert len(service.requests()) < 50


def test_no_error_holds_the_token_of_vertex(service: Service, vertex: Provider) -> None:
    service.faults({"kinds": ["expired"], "echo_key": True})
    with pytest.raises(ModelError) as caught:
        answers(vertex, "vertex:gemini-3.5-flash", asked("lost"))
    assert "token-of-vertex" not in str(caught.value)
    assert "gcloud auth" in caught.value.hint


@pytest.mark.parametrize("kind", ["blocked", "empty"])
def test_an_answer_that_was_withheld_is_a_failure_of_its_row(
    kind: str, service: Service, gemini: Provider
) -> None:
    service.faults({"kinds": [kind], "times": 1})
    found = answers(gemini, MODEL, *[asked(f"lost card {number}") for number in range(3)])
    assert sum(one.error is not None for one in found) == 1


def test_a_model_that_is_not_there_ends_the_run(gemini: Provider) -> None:
    with pytest.raises(ModelError, match="404") as caught:
        answers(gemini, "gemini:no-such-model", asked("lost"))
    assert "stepladder models" in caught.value.hint


@pytest.mark.parametrize("kind", ["gemini", "vertex"])
def test_a_long_prefix_is_kept_while_it_pays_and_dropped(
    kind: str, service: Service, tmp_path: Path
) -> None:
    place = {"project": "p-1", "location": "us-central1"} if kind == "vertex" else {}
    open_provider = open_vertex if kind == "vertex" else open_gemini
    provider = open_provider(settings(kind, tmp_path, **place))
    long = Message("system", f"{SYSTEM.content}\n\n" + "Mind what the customer wants. " * 4000)
    requests = [Request((long, Message("user", f"lost card {n}"))) for n in range(60)]
    found = answers(provider, f"{kind}:gemini-3.1-flash-lite", *requests)
    provider.close()
    assert [one.error for one in found] == [None] * 60
    calls = service.requests()
    verbs = [(call.method, "cachedContents" in call.path) for call in calls]
    assert (verbs[0], verbs[-1]) == (("POST", True), ("DELETE", True))
    asked_of = [call for call in calls if call.path.endswith(":generateContent")]
    assert all("cachedContent" in call.body for call in asked_of)
    assert all((one.usage.cached_tokens or 0) > 4096 for one in found)
    written = sum(one.usage.cache_write_tokens for one in found)
    assert written == pytest.approx(found[0].usage.cached_tokens)


def test_no_proxy_sees_a_key_that_stays_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # where nobody is
    provider = open_gemini(settings("gemini", tmp_path, attempts=1))
    [found] = answers(provider, MODEL, asked("I have lost my card"))
    assert found.text == "card_lost"
    provider.close()


def test_a_batch_answers_as_single_calls_do(service: Service, tmp_path: Path) -> None:
    service.settings(polls=1)
    requests = [asked(f"lost card {number}") for number in range(5)]
    single = open_gemini(settings("gemini", tmp_path / "a"))
    waiting = open_gemini(settings("gemini", tmp_path / "b", batch=True))
    alone = answers(single, MODEL, *requests)
    together = answers(waiting, MODEL, *requests)
    assert [one.text for one in together] == [one.text for one in alone]
    assert {one.usage.tier for one in together} == {"batch"}
    assert len(service.requests(":batchGenerateContent")) == 1
    single.close()
    waiting.close()


def test_a_batch_of_vertex_goes_through_a_bucket(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", service.storage_url)
    service.settings(polls=1, fail_batch_rows=0.3)
    with closing(open_bucket("b-1", "p-1")) as bucket:
        bucket.client.create_bucket("b-1")
    place = {"project": "p-1", "location": "us-central1"}
    name = "vertex:gemini-3.1-flash-lite"
    requests = [asked(f"lost card {number}", choices=LABELS) for number in range(8)]
    single = open_vertex(settings("vertex", tmp_path / "a", **place))
    waiting = open_vertex(settings("vertex", tmp_path / "b", batch=True, bucket="b-1", **place))
    alone = answers(single, name, *requests)
    together = answers(waiting, name, *requests)
    failed = [one for one in together if one.error]
    assert 0 < len(failed) < 8
    for one, other in zip(alone, together, strict=True):
        assert other.error or (one.text, one.usage.input_tokens) == (
            other.text, other.usage.input_tokens,
        )  # fmt: skip
    assert {one.usage.tier for one in together} == {"batch"}
    single.close()
    waiting.close()


def test_a_batch_of_vertex_needs_a_bucket(tmp_path: Path) -> None:
    options = {"project": "p-1", "location": "us-central1", "batch": True}
    with pytest.raises(ModelError, match="bucket") as caught:  # before anything is asked
        open_vertex(settings("vertex", tmp_path, **options))
    assert "bucket" in caught.value.hint
