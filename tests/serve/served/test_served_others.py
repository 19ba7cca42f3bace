"""The encoder and hosted models behind the server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from served_models import ask, calls_of, ends_of, events_of, text_of, totals_of

from stepladder.catalogue import Catalogue
from stepladder.core import Call, Function, Request, Response, Usage
from stepladder.embeddings import DIMENSIONS
from stepladder.errors import MissingExtra, ModelError
from stepladder.models.live import Sampling
from stepladder.serve import Ask, EmbedAsk, Refusal
from stepladder.serve.served.encoder import MOST_AT_ONCE, EncoderServed
from stepladder.serve.served.hosted import HostedServed
from stepladder.testing import FakeModel, check_served_model


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


LONGEST = 9


class Encoder:
    """Puts the length of a text first; `go` lets the first batch through."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.go = threading.Event()

    def __call__(self, texts: Sequence[str]) -> tuple[Any, list[tuple[int, bool]]]:
        self.batches.append(len(texts))
        self.go.wait(10)
        if "bad" in texts:
            raise ModelError("the weights are damaged")
        vectors = np.zeros((len(texts), DIMENSIONS), np.float32)
        vectors[:, 0] = [len(text) for text in texts]
        return vectors, [(min(len(text), LONGEST), len(text) > LONGEST) for text in texts]


def texts_of(*texts: str, dimensions: int | None = None, cut_long: bool = True) -> EmbedAsk:
    return EmbedAsk("all-minilm-l6-v2", texts, dimensions, cut_long)


def test_callers_at_the_same_time_are_embedded_together(threads: ThreadPoolExecutor) -> None:
    encoder = Encoder()
    model = EncoderServed(threads, encoder)

    async def run() -> list[Any]:
        first = asyncio.ensure_future(model.embed(texts_of("a")))
        while not encoder.batches:
            await asyncio.sleep(0.001)
        others = [
            asyncio.ensure_future(model.embed(texts_of(*["b" * n] * n, dimensions=DIMENSIONS)))
            for n in (2, 3)
        ]
        gone = asyncio.ensure_future(model.embed(texts_of("left")))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        encoder.go.set()
        return await asyncio.gather(first, *others)

    one, two, three = asyncio.run(run())
    assert encoder.batches == [1, 5]
    assert [vector[0] for vector in two.vectors] == [2.0, 2.0]
    assert (one.tokens, three.tokens) == ([1], [3, 3, 3])
    assert len(one.vectors[0]) == DIMENSIONS


def test_whoever_has_many_texts_takes_turns_with_the_others(threads: ThreadPoolExecutor) -> None:
    encoder = Encoder()
    encoder.go.set()
    model = EncoderServed(threads, encoder)
    ended: list[int] = []

    async def one(size: int) -> None:
        found = await model.embed(texts_of(*("x" * (n % 9) for n in range(size))))
        assert [vector[0] for vector in found.vectors] == [n % 9 for n in range(size)]
        ended.append(size)

    async def run() -> None:
        await asyncio.gather(*map(one, (10 * MOST_AT_ONCE, 3, MOST_AT_ONCE)))

    asyncio.run(run())
    assert ended == [3, MOST_AT_ONCE, 10 * MOST_AT_ONCE]
    assert max(encoder.batches) <= MOST_AT_ONCE


def test_a_text_that_is_too_long_is_cut_and_told_or_refused(threads: ThreadPoolExecutor) -> None:
    encoder = Encoder()
    encoder.go.set()
    model = EncoderServed(threads, encoder)
    texts = ["x"] * (MOST_AT_ONCE + 1) + ["x" * (LONGEST + 1)] + ["x"] * MOST_AT_ONCE
    found = asyncio.run(model.embed(texts_of(*texts)))
    assert [place for place, cut in enumerate(found.cut) if cut] == [MOST_AT_ONCE + 1]
    assert found.tokens[MOST_AT_ONCE + 1] == LONGEST
    encoder.batches.clear()
    with pytest.raises(Refusal, match=f"the text number {MOST_AT_ONCE + 2} has more") as caught:
        asyncio.run(model.embed(texts_of(*texts, cut_long=False)))
    assert (caught.value.param, caught.value.detail) == ("input", "context_length")
    assert sum(encoder.batches) < len(texts), "nobody waits for the rest of a refused call"


def test_what_the_encoder_cannot_do_is_refused(threads: ThreadPoolExecutor) -> None:
    encoder = Encoder()
    encoder.go.set()
    model = EncoderServed(threads, encoder)
    with pytest.raises(Refusal, match="384 dimensions and cannot be cut to 64") as caught:
        asyncio.run(model.embed(texts_of("x", dimensions=64)))
    assert (caught.value.reason, caught.value.param) == ("invalid", "dimensions")
    with pytest.raises(Refusal, match="damaged"):
        asyncio.run(model.embed(texts_of("bad")))
    assert asyncio.run(model.embed(texts_of("fine"))).tokens == [4], "it goes on afterwards"
    with pytest.raises(Refusal, match="embeds texts") as caught:
        events_of(model, ask())
    assert caught.value.reason == "unsupported"
    assert asyncio.run(model.count_tokens(ask("four"))) == 4


def hosted(model: Any, threads: ThreadPoolExecutor) -> HostedServed:
    return HostedServed(model, Catalogue(), threads)


def test_a_hosted_model_is_asked_at_its_service(threads: ThreadPoolExecutor) -> None:
    fake = FakeModel(lambda request: f"seed {request.seed}", name="gemini:flash")
    asked = ask(
        "hi", n=2, stop=("x",), schema={"type": "string"}, max_output_tokens=7,
        sampling=Sampling(0.5, seed=3),
    )  # fmt: skip
    events = events_of(hosted(fake, threads), asked)
    assert [text_of(events, 0), text_of(events, 1)] == ["seed 3", "seed 4"]
    assert ends_of(events) == {0: "stop", 1: "stop"}
    totals = totals_of(events)
    assert (totals.usage.model, totals.usage.input_tokens, totals.usage.output_tokens) == (
        "gemini:flash", 1, 4,
    )  # fmt: skip
    assert len(totals.calls) == 2, "each call is paid"
    sent = fake.seen[0]
    assert (sent.stop, sent.schema, sent.max_output_tokens, sent.temperature) == (
        ("x",), {"type": "string"}, 7, 0.5,
    )  # fmt: skip
    assert hosted(fake, threads).card.name == "flash"
    assert asyncio.run(hosted(fake, threads).count_tokens(ask("two words"))) == 2


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        (Ask("m", prompt="x"), "prompt"),
        (ask(top_logprobs=1), "top_logprobs"),
        (ask(sampling=Sampling(1.0, top_p=0.5), given=frozenset({"topP"})), "top_p"),
        (
            ask(
                sampling=Sampling(1.0, frequency_penalty=0.5),
                given=frozenset({"frequency_penalty"}),
            ),
            "penalty",
        ),
        (ask(functions=(Function("f"),), function_choice="required"), "required function"),
        (ask(functions=(Function("f"),), parallel_calls=False), "parallel_tool_calls"),
    ],
)
def test_what_cannot_be_passed_on_is_refused(
    asked: Ask, what: str, threads: ThreadPoolExecutor
) -> None:
    fake = FakeModel(name="gemini:flash")
    with pytest.raises(Refusal, match=what) as caught:
        events_of(hosted(fake, threads), asked)
    assert caught.value.status == 400
    assert not fake.seen


def test_a_protocols_own_defaults_are_left_to_the_service(threads: ThreadPoolExecutor) -> None:
    fake = FakeModel(lambda request: "yes", name="gemini:flash")
    asked = ask(sampling=Sampling(1.0, top_p=0.95, top_k=64), given=frozenset({"temperature"}))
    assert text_of(events_of(hosted(fake, threads), asked)) == "yes"


def test_it_is_a_served_model(threads: ThreadPoolExecutor) -> None:
    fake = FakeModel(lambda request: "yes", name="gemini:flash")
    check_served_model(hosted(fake, threads), ask("a few words", n=2))


def test_calls_cuts_and_failures_of_a_service_are_told(threads: ThreadPoolExecutor) -> None:
    class Service(FakeModel):
        given: Any = None

        def generate(self, requests: Sequence[Request]) -> Any:
            if isinstance(self.given, Exception):
                raise self.given
            yield 0, self.given

    service = Service(name="openai:gpt")
    model = hosted(service, threads)
    service.given = Response("", Usage("openai:gpt", 1, 1), calls=(Call("f", {"a": 1}, "c1"),))
    events = events_of(model, ask(functions=(Function("f"),)))
    assert (calls_of(events), ends_of(events)) == ([Call("f", {"a": 1}, "c1")], {0: "calls"})
    service.given = Response("cut", Usage("openai:gpt", 1, 1), "length")
    assert ends_of(events_of(model, ask())) == {0: "length"}
    for failure in (
        Response("", Usage("openai:gpt"), "error", error="overloaded"),
        ModelError("overloaded"),
        MissingExtra("overloaded"),
    ):
        service.given = failure
        with pytest.raises(Refusal, match="overloaded") as caught:
            events_of(model, ask())
        assert caught.value.status == 503
