"""A hosted model keeps the contract of models, whatever its service does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_api import NAME, Broken, FakeApi, Told, ask, settings_of, text_of
from simulated import SimulatedTime

from stepladder.core import Message, Request, Response, Usage
from stepladder.errors import ModelError
from stepladder.models.hosted.keys import key
from stepladder.models.hosted.model import HostedModel
from stepladder.solvers.prompt import PromptSolver, calibrate
from stepladder.testing import check_model, fake_workshop


def model_of(
    api: FakeApi, folder: Path, told: Told | None = None, name: str = NAME, **options: Any
) -> HostedModel:
    return HostedModel(name, api, settings_of(folder, told, **options), SimulatedTime().timing)


def test_it_keeps_the_contract_of_models(tmp_path: Path) -> None:
    check_model(model_of(FakeApi(), tmp_path))


def test_the_service_is_given_the_name_without_its_provider(tmp_path: Path) -> None:
    api = FakeApi()
    name = "fake:model@projects/p/endpoints/5"
    list(model_of(api, tmp_path, name=name).generate([ask("x")]))
    assert [sent[0] for sent in api.sent] == ["model@projects/p/endpoints/5"]


def test_a_failed_call_is_a_response_with_its_reason_and_the_rest_go_on(tmp_path: Path) -> None:
    def reply(request: Request) -> str:
        if text_of(request) == "bad":
            raise Broken("400: too long")
        if text_of(request) == "lost":
            raise Broken("broke off", maybe_billed=True)
        return "yes"

    found = dict(model_of(FakeApi(reply), tmp_path).generate([ask("bad"), ask("x"), ask("lost")]))
    assert found[1].text == "yes"
    assert found[0].error == "400: too long"
    nothing = Usage(NAME, 0, 0, 0, thinking_tokens=0, audio_tokens=0)
    assert found[0].usage == nothing, "what was refused cost nothing"
    assert found[2].usage == Usage(NAME), "of what broke off the cost is unknown"


def test_the_cure_of_a_failed_call_is_with_its_reason(tmp_path: Path) -> None:
    def reply(request: Request) -> str:
        raise Broken("404: no such region", hint="set `location`\n  of the provider")

    found = dict(model_of(FakeApi(reply), tmp_path).generate([ask("x")]))
    assert found[0].error == "404: no such region (set `location` of the provider)"


def test_what_fails_for_all_is_one_error_with_its_cure(tmp_path: Path) -> None:
    def reply(request: Request) -> str:
        raise Broken("401: not allowed", fatal=True, hint="set the key")

    api = FakeApi(reply)
    with pytest.raises(ModelError, match="401: not allowed") as failed:
        list(model_of(api, tmp_path, concurrency=2).generate([ask(str(n)) for n in range(50)]))
    assert failed.value.hint == "set the key"
    assert len(api.sent) <= 2


def test_what_fails_for_all_after_some_were_answered_fails_the_others(tmp_path: Path) -> None:
    def reply(request: Request) -> str:
        if int(text_of(request)) >= 3:
            raise Broken("429: quota of the day", fatal=True)
        return "yes"

    requests = [ask(str(n)) for n in range(20)]
    found = dict(model_of(FakeApi(reply), tmp_path, concurrency=1).generate(requests))
    assert [found[n].error for n in range(3)] == [None] * 3
    assert {found[n].error for n in range(3, 20)} == {"429: quota of the day"}


def test_no_key_is_in_what_the_service_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_KEY", "value-of-the-key")
    secret = key("fake", ("FAKE_KEY",))

    def reply(request: Request) -> str:
        raise Broken(f"denied to {secret}", fatal=text_of(request) == "fatal", hint=f"at {secret}")

    ((_, response),) = model_of(FakeApi(reply), tmp_path).generate([ask("x")])
    assert response.error == "denied to [key] (at [key])"
    with pytest.raises(ModelError) as failed:
        list(model_of(FakeApi(reply), tmp_path).generate([ask("fatal")]))
    assert secret not in str(failed.value)
    cut = Response("", Usage(NAME, 1, 0), "error", error=f"blocked for {secret}")
    api = FakeApi()
    api.send = lambda model, request, cache: cut  # type: ignore[method-assign]
    ((_, response),) = model_of(api, tmp_path).generate([ask("x")])
    assert response.error == "blocked for [key]"


def test_seconds_are_those_of_the_attempt_that_succeeded(tmp_path: Path) -> None:
    time = SimulatedTime()
    failures = [Broken("500", retry=True)] * 2

    def reply(request: Request) -> str:
        time.pass_time(3.0)
        if failures:
            raise failures.pop()
        return "yes"

    model = HostedModel(NAME, FakeApi(reply), settings_of(tmp_path), time.timing)
    ((_, response),) = model.generate([ask("x")])
    assert response.usage.seconds == pytest.approx(3.0)


def test_scores_of_given_answers_are_refused_so_that_steps_leave_them_out(tmp_path: Path) -> None:
    api = FakeApi()
    model = model_of(api, tmp_path)
    ((_, refused),) = model.generate([ask("x", choices=("a", "b"), score_choices=True)])
    assert "does not score" in str(refused.error)
    assert not api.sent
    solver = PromptSolver(NAME, "Sort.", "classification", labels=("a", "b"), output_format="label")
    with pytest.raises(ModelError, match="does not score"):
        calibrate(solver, fake_workshop(model, tmp_path))


def test_the_context_is_that_of_the_catalogue(tmp_path: Path) -> None:
    assert model_of(FakeApi(), tmp_path).context_tokens == 9000
    assert model_of(FakeApi(), tmp_path, name="fake:other").context_tokens is None


def test_after_stop_what_is_under_way_is_yielded_and_the_next_run_is_whole(tmp_path: Path) -> None:
    model = model_of(FakeApi(), tmp_path, concurrency=1)
    answers = model.generate([ask(str(n)) for n in range(5000)])
    next(answers)
    model.stop()
    assert len(list(answers)) < 4000
    assert len(list(model.generate([ask(str(n)) for n in range(30)]))) == 30


LONG = tuple(
    Message("system" if n == 0 else ("user", "assistant")[n % 2], "word " * 60) for n in range(3)
)


def long_requests(count: int, *before: Message) -> list[Request]:
    return [ask(f"input {n}", *(before or LONG)) for n in range(count)]


def test_a_prefix_that_pays_is_kept_used_dropped_and_charged(tmp_path: Path) -> None:
    time, api = SimulatedTime(), FakeApi()
    api.reply = lambda request: time.pass_time(2.0) or "yes"
    settings = settings_of(tmp_path, concurrency=1)
    found = dict(HostedModel(NAME, api, settings, time.timing).generate(long_requests(30)))
    assert api.written == [LONG]
    assert all(cache is not None for _, _, cache in api.sent)
    assert api.dropped == ["caches/1"]
    used = [response.usage for response in found.values()]
    assert sum(usage.cache_write_tokens for usage in used) == pytest.approx(180)
    assert sum(usage.cache_token_hours for usage in used) == pytest.approx(180 * 60 / 3600)
    assert all(usage.cached_tokens == 180 for usage in used)


@pytest.mark.parametrize("why", ["short", "off", "alone", "unknown", "implicit"])
def test_a_prefix_that_does_not_pay_is_not_kept(why: str, tmp_path: Path) -> None:
    api = FakeApi()
    options = {"cache": "off"} if why == "off" else {}
    name = "fake:unknown" if why == "unknown" else NAME
    model = model_of(api, tmp_path, name=name, **options)
    requests = long_requests(1 if why == "alone" else 30)
    if why == "short":
        requests = long_requests(30, Message("system", "word " * 20))
    if why == "implicit":
        api.implicit = True
        list(model.generate(requests[:1]))
    list(model.generate(requests))
    assert not api.written


def test_a_prefix_whose_price_is_unknown_is_not_kept_and_that_is_said_once(tmp_path: Path) -> None:
    told, api = Told(), FakeApi()
    settings = settings_of(tmp_path, told)
    free = tuple(replace(each, cache_hour=None) for each in settings.prices.tokens)
    settings = replace(settings, prices=replace(settings.prices, tokens=free))
    model = HostedModel(NAME, api, settings)
    list(model.generate([ask("x"), ask("y")]))
    assert not told, "there was nothing to keep"
    for _ in range(2):
        list(model.generate(long_requests(30)))
    assert not api.written
    assert told == [f"no price for keeping a prefix is known for {NAME!r}, so none is kept"]


def test_when_the_service_keeps_nothing_the_calls_go_whole_and_it_is_said(tmp_path: Path) -> None:
    told = Told()
    api = FakeApi(refuse_cache=Broken("503: no room"))
    found = dict(model_of(api, tmp_path, told).generate(long_requests(5)))
    assert all(response.error is None for response in found.values())
    assert len(told) == 1
    assert "503: no room" in told[0]


def test_when_a_kept_prefix_is_gone_the_whole_request_is_sent(tmp_path: Path) -> None:
    api = FakeApi(forgotten=True)
    found = dict(model_of(api, tmp_path, concurrency=1).generate(long_requests(5)))
    assert all(response.error is None for response in found.values())
    assert len(api.sent) == 6, "the others do not try what the first one missed"


def test_the_prefix_is_dropped_when_nobody_wants_more_answers(tmp_path: Path) -> None:
    api = FakeApi()
    answers = model_of(api, tmp_path).generate(long_requests(1000))
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert api.dropped == ["caches/1"]
