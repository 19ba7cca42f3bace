"""From an ask to its events: places, time, traffic, metrics, and callers who go away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import httpx2 as httpx
import pytest
from serving import FixedModels, fake_card

from stepladder.core import Message, Usage
from stepladder.serve import Ask, Caller, EmbedAsk, End, Event, ModelCard, Piece, Refusal, Totals
from stepladder.serve.answering import answer, embed, model_for, whole
from stepladder.serve.limits import Limits
from stepladder.serve.server import Server

pytestmark = pytest.mark.anyio

ME = Caller("me", "use")
HI = (Message("user", "hi there"),)


class Scripted:
    """A served model that does what the test says."""

    def __init__(self, events: Callable[[], AsyncIterator[Event]], card: ModelCard | None = None):
        self.card = card or fake_card()
        self.closed = asyncio.Event()
        self._events = events

    async def generate(self, ask: Ask) -> AsyncIterator[Event]:
        try:
            async for event in self._events():
                yield event
        finally:
            self.closed.set()

    async def count_tokens(self, ask: Ask) -> int:
        return 0


async def _good() -> AsyncIterator[Event]:
    yield Piece(0, "yes")
    yield End(0, "stop")
    yield Totals(Usage("fake", 3, 2, 1), ignored=("temperature",), dollars=0.5)


async def _forever() -> AsyncIterator[Event]:
    yield Piece(0, "a")
    await asyncio.Event().wait()


async def ask(server: Server, n: int = 1, caller: Caller = ME) -> object:
    return await answer(
        server, caller, Ask("fake", HI, n=n), protocol="openai", route="/r", body={"said": "hi"}
    )


def script(server: Server, events: Callable[[], AsyncIterator[Event]], **card: object) -> Scripted:
    model = Scripted(events, replace(fake_card(), **card))  # type: ignore[arg-type]
    server.models = FixedModels({"fake": model})  # type: ignore[dict-item]
    return model


async def test_a_whole_answer_and_its_record(server: Server) -> None:
    script(server, _good)
    begun = await ask(server)
    made = await whole(begun)
    assert [one.text for one in made.candidates] == ["yes"]
    assert begun.headers == {"x-request-id": begun.id, "x-stepladder-ignored": "temperature"}
    record = server.database.served(begun.id)
    assert record is not None
    assert (record.status, record.key, record.model, record.finish) == (200, "me", "fake", "stop")
    assert (record.input_tokens, record.output_tokens, record.cached_tokens) == (3, 2, 1)
    assert (record.request, record.answer, record.dollars) == (
        {"said": "hi"},
        [{"text": "yes"}],
        0.5,
    )
    assert server.limits.taken == 0


async def test_without_content_only_figures_are_kept(server: Server) -> None:
    server.settings = replace(server.settings, keep_content=False)
    script(server, _good)
    begun = await ask(server)
    await whole(begun)
    record = server.database.served(begun.id)
    assert record is not None
    assert (record.request, record.answer) == (None, None)
    assert record.output_tokens == 2


async def test_a_refused_call_is_recorded_too(server: Server) -> None:
    server.limits = Limits(1, 0)
    script(server, _forever)
    begun = await ask(server)
    with pytest.raises(Refusal) as refused:
        await ask(server)
    assert (refused.value.reason, refused.value.status) == ("busy", 429)
    assert refused.value.retry_after_seconds
    await begun.aclose()
    records = [server.database.served(each) for each in (begun.id,)]
    assert [record.status for record in records if record] == [499]
    script(server, _good)
    assert (await whole(await ask(server))).candidates


async def test_more_candidates_than_places_is_never_possible(server: Server) -> None:
    server.limits = Limits(2, 1)
    with pytest.raises(Refusal) as refused:
        await ask(server, n=4)
    assert refused.value.reason == "invalid"


async def test_an_answer_ends_when_its_time_is_up(server: Server) -> None:
    server.settings = replace(server.settings, request_seconds=0.02)
    model = script(server, _forever)
    begun = await ask(server)
    with pytest.raises(Refusal) as refused:
        await whole(begun)
    assert (refused.value.reason, refused.value.status) == ("timeout", 504)
    assert model.closed.is_set()
    assert server.limits.taken == 0
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_time_that_is_up_while_nobody_reads(server: Server) -> None:
    server.settings = replace(server.settings, request_seconds=0.02)
    model = script(server, _forever)
    begun = await ask(server)
    await asyncio.sleep(0.05)
    assert (await anext(begun)) == Piece(0, "a")  # it was there in time
    with pytest.raises(Refusal, match="longer"):
        await anext(begun)
    assert model.closed.is_set()


async def test_cancelling_frees_the_place(server: Server) -> None:
    model = script(server, _forever)
    begun = await ask(server)
    reading = asyncio.create_task(whole(begun))
    await asyncio.sleep(0)
    assert server.limits.taken == 1
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert model.closed.is_set()
    assert server.limits.taken == 0


async def test_a_bug_in_a_model_is_an_internal_refusal(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> AsyncIterator[Event]:
        yield Piece(0, "a")
        raise ZeroDivisionError("secret detail")

    script(server, broken)
    begun = await ask(server)
    with pytest.raises(Refusal) as refused:
        await whole(begun)
    assert refused.value.reason == "internal"
    assert "secret detail" not in str(refused.value)
    assert begun.id in str(refused.value)
    assert server.limits.taken == 0


async def test_an_answer_without_totals_is_not_passed_off_as_whole(server: Server) -> None:
    async def cut() -> AsyncIterator[Event]:
        yield Piece(0, "a")

    script(server, cut)
    with pytest.raises(Refusal, match="without saying"):
        await whole(await ask(server))


async def test_somebody_elses_tuned_model_is_not_there(server: Server) -> None:
    script(server, _good, owner="other")
    with pytest.raises(Refusal) as refused:
        await ask(server)
    assert refused.value.reason == "not_found"
    assert model_for(server, Caller("other", "use"), "fake")
    assert model_for(server, Caller("boss", "admin"), "fake")


async def test_embedding(server: Server) -> None:
    asked = EmbedAsk("fake-encoder", ["an oak", "io"], 2)
    found = await embed(server, ME, asked, protocol="openai", route="/e", body={})
    assert [list(vector) for vector in found.vectors] == [[2.0, 0.0], [0.0, 0.0]]
    with pytest.raises(Refusal) as refused:
        await embed(server, ME, EmbedAsk("fake", ["a"]), protocol="openai", route="/e", body={})
    assert refused.value.reason == "unsupported"
    assert "fake-encoder" in refused.value.hint


async def test_metrics_count_and_unknown_models_are_no_labels(server: Server) -> None:
    script(server, _good)
    await whole(await ask(server))
    with pytest.raises(Refusal):
        await answer(server, ME, Ask("made-up-name", HI), protocol="openai", route="/r", body=None)
    text = server.meters.text().decode()
    assert 'stepladder_calls_total{model="fake",status="200"} 1.0' in text
    assert 'stepladder_tokens_total{kind="output",model="fake"} 2.0' in text
    assert "made-up-name" not in text
    assert "stepladder_queue 0.0" in text
    assert "stepladder_dropped_traffic_rows 0.0" in text


async def test_over_http_the_id_is_that_of_the_record(
    app_client: httpx.AsyncClient, server: Server
) -> None:
    body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hello"}]}
    response = await app_client.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    record = server.database.served(response.headers["x-request-id"])
    assert record is not None
    assert (record.model, record.status, record.route) == ("fake", 200, "/v1/chat/completions")
