"""A base model over a live engine: pieces, ends, usage, and what is refused before anything."""

from __future__ import annotations

import asyncio
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from served_models import ask, ends_of, events_of, served, text_of, tokens_of, totals_of, until

from stepladder.core import Message, Part
from stepladder.fake_live import FakeEngine, FakeTokenizer
from stepladder.models.live import Prompt, Sampling
from stepladder.serve import Ask, Refusal
from stepladder.serve.served import PromptTooLong
from stepladder.serve.served.local import OUTPUT_TOKENS
from stepladder.testing import check_served_model


@pytest.fixture
def engine():  # type: ignore[no-untyped-def]
    engine = FakeEngine()
    yield engine
    engine.close()


@given(text=st.text(max_size=30), n=st.integers(1, 3))
def test_candidates_say_what_the_engine_made_and_usage_adds_up(text: str, n: int) -> None:
    engine = FakeEngine()
    try:
        events = events_of(served(engine), ask(text, n=n, top_logprobs=0))
    finally:
        engine.close()
    size = len(text.encode())
    assert [text_of(events, index) for index in range(n)] == [text] * n
    assert ends_of(events) == dict.fromkeys(range(n), "stop")
    assert all(len(tokens_of(events, index)) == size for index in range(n))
    usage = totals_of(events).usage
    assert usage.input_tokens == size + 3, "the prompt counts once: its text, the turn, the opening"
    assert usage.output_tokens == n * (size + 1), "the token that ends a candidate is made as well"
    assert totals_of(events).calls == (usage,)


def test_an_answer_ends_for_want_of_room(engine: FakeEngine) -> None:
    events = events_of(served(engine), ask("hello", max_output_tokens=3))
    assert (text_of(events), ends_of(events)) == ("hel", {0: "length"})
    assert totals_of(events).usage.output_tokens == 3


def test_room_is_what_is_left_of_the_context(engine: FakeEngine) -> None:
    model = served(engine, FakeTokenizer(context_tokens=10))
    events = events_of(model, ask("hello", max_output_tokens=100))
    assert (text_of(events), ends_of(events)) == ("he", {0: "length"})
    events_of(served(engine), ask("hello"))
    assert engine.seen[-1].max_output_tokens == OUTPUT_TOKENS


def test_a_prompt_that_leaves_no_room_is_refused_with_the_numbers(engine: FakeEngine) -> None:
    with pytest.raises(PromptTooLong, match=r"8 tokens.*at most 8") as caught:
        events_of(served(engine, FakeTokenizer(context_tokens=8)), ask("hello"))
    assert (caught.value.reason, caught.value.detail) == ("invalid", "context_length")
    assert (caught.value.tokens, caught.value.context_tokens) == (8, 8)
    assert caught.value.param == "messages"
    assert not engine.seen


def test_a_prompt_that_is_far_too_long_is_not_made_into_tokens(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = FakeTokenizer(context_tokens=8)
    monkeypatch.setattr(FakeTokenizer, "chat_ids", None)
    monkeypatch.setattr(FakeTokenizer, "encode", None)
    model, huge = served(engine, tokenizer), ask("x" * 128 * 9)
    with pytest.raises(PromptTooLong, match="at least 9 tokens"):
        events_of(model, huge)
    with pytest.raises(PromptTooLong, match="at least 9 tokens"):
        asyncio.run(model.tokens(huge))


def test_a_stop_string_ends_the_sequence_and_is_not_said() -> None:
    engine = FakeEngine.saying("one END two " * 1000, tokens_per_second=500)
    try:
        events = events_of(served(engine), ask(stop=("END",), max_output_tokens=8000))
        assert _becomes_idle(engine), "it is not made any more"
        assert (text_of(events), ends_of(events)) == ("one ", {0: "stop"})
        assert totals_of(events).usage.output_tokens == len("one END")
        assert totals_of(events).usage.seconds, "what it took is told, though it was cut short"
    finally:
        engine.close()


def test_candidates_have_seeds_that_follow_each_other(engine: FakeEngine) -> None:
    events_of(served(engine), ask(n=3, sampling=Sampling(1.0, seed=7)))
    assert sorted(prompt.sampling.seed or 0 for prompt in engine.seen) == [7, 8, 9]
    events_of(served(engine), ask(n=2, sampling=Sampling(1.0)))
    assert [prompt.sampling.seed for prompt in list(engine.seen)[3:]] == [None, None]


def test_log_probabilities_are_told_with_the_most_probable_others(engine: FakeEngine) -> None:
    events = events_of(served(engine), ask("ab", top_logprobs=2))
    first, second = tokens_of(events)
    assert (first.text, second.text) == ("a", "b")
    assert first.logprob == pytest.approx(math.log(0.9))
    assert [one.text for one in first.top] == ["a", "b"]
    assert not tokens_of(events_of(served(engine), ask("ab")))


def test_a_plain_completion_has_no_template(engine: FakeEngine) -> None:
    events = events_of(served(engine), Ask("fake", prompt="once upon"))
    assert bytes(engine.seen[-1].ids) == b"once upon"
    assert totals_of(events).usage.input_tokens == 9
    assert text_of(events) == "once upon"


def test_json_is_what_the_schema_says_and_any_json_an_object(engine: FakeEngine) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    assert json.loads(text_of(events_of(served(engine), ask(schema=schema)))) == {"a": 0}
    assert json.loads(text_of(events_of(served(engine), ask(any_json=True)))) == {}
    assert text_of(events_of(served(engine), ask(choices=("red", "blue")))) == "red"


def test_an_answer_outside_of_its_schema_is_not_given() -> None:
    engine = FakeEngine.saying("2.5")  # within what the engine enforces, not within the bounds
    try:
        with pytest.raises(Refusal, match=r"maximum of 2.*|2.5 is greater") as caught:
            events_of(served(engine), ask(schema={"type": "number", "maximum": 2}))
        assert caught.value.reason == "invalid"
        cut = events_of(
            served(engine), ask(schema={"type": "number", "maximum": 2}, max_output_tokens=1)
        )
        assert (text_of(cut), ends_of(cut)) == ("2", {0: "length"})
    finally:
        engine.close()


def test_a_schema_that_would_not_be_enforced_is_refused_by_its_keyword(engine: FakeEngine) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
    with pytest.raises(Refusal, match="/properties/a: 'uniqueItems' is not enforced") as caught:
        events_of(served(engine), ask(schema=schema))
    assert (caught.value.reason, caught.value.param) == ("invalid", "response_format")
    with pytest.raises(Refusal, match="nonsense"):
        events_of(served(engine), ask(schema={"type": "nonsense"}))


def test_a_message_that_is_not_text_is_refused(engine: FakeEngine) -> None:
    from stepladder.errors import ModelError

    class Reads(FakeTokenizer):
        def chat_ids(self, messages, *, add_generation_prompt=True):  # type: ignore[no-untyped-def]
            raise ModelError("a local text model cannot read 'image' parts", hint="give text")

    asked = Ask("fake", (Message("user", (Part("image", uri="data:,x"),)),))
    with pytest.raises(Refusal, match="image") as caught:
        events_of(served(engine, Reads()), asked)
    assert caught.value.reason == "invalid"


def test_a_failing_engine_is_told_and_frees_the_other_candidates() -> None:
    def reply(prompt: Prompt) -> list[int]:
        if prompt.sampling.seed == 1:
            raise ValueError("the step failed")
        return list(b"x" * 10_000)

    engine = FakeEngine(reply, tokens_per_second=100)
    try:
        with pytest.raises(Refusal, match="the step failed") as caught:
            events_of(served(engine), ask(n=2, sampling=Sampling(1.0, seed=0)))
        assert caught.value.reason == "unavailable"
        assert _becomes_idle(engine)
    finally:
        engine.close()


def test_leaving_frees_the_places() -> None:
    engine = FakeEngine.saying("x" * 10_000, tokens_per_second=100)

    async def leave() -> None:
        answering = served(engine).generate(ask(n=3))
        async for _ in answering:
            break
        await answering.aclose()  # type: ignore[attr-defined]

    async def be_cancelled() -> None:
        task = asyncio.ensure_future(_all(engine))
        while not engine.load().running:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    try:
        for go in (leave, be_cancelled):
            asyncio.run(go())
            assert _becomes_idle(engine)
    finally:
        engine.close()


def test_a_closed_engine_is_not_running(engine: FakeEngine) -> None:
    engine.close()
    with pytest.raises(Refusal, match="not running") as caught:
        events_of(served(engine), ask())
    assert caught.value.reason == "unavailable"


def test_counting_and_tokens_agree_with_what_is_sent(engine: FakeEngine) -> None:
    model = served(engine)
    count = asyncio.run(model.count_tokens(ask("héllo")))
    assert count == totals_of(events_of(model, ask("héllo"))).usage.input_tokens
    assert asyncio.run(model.tokens(ask("hé"))) == [(104, b"h"), (195, b"\xc3"), (169, b"\xa9")]


def test_a_kept_beginning_is_found_by_what_follows_it(engine: FakeEngine) -> None:
    model = served(engine)
    beginning = (Message("system", "be short " * 20), Message("user", "hi"))
    asyncio.run(model.keep(beginning))
    events = events_of(model, Ask("fake", (*beginning, Message("user", "go on"))))
    cached = totals_of(events).usage.cached_tokens
    assert cached is not None
    assert cached > 150


def test_it_is_a_served_model(engine: FakeEngine) -> None:
    check_served_model(served(engine), ask("a few words", n=2, top_logprobs=1))
    check_served_model(served(engine), Ask("fake", prompt="once"))


def test_thinking_and_verbosity_are_named_as_not_used(engine: FakeEngine) -> None:
    given = frozenset({"reasoning_effort", "temperature", "verbosity"})
    events = events_of(served(engine), ask(given=given))
    assert totals_of(events).ignored == ("reasoning_effort", "verbosity")


async def _all(engine: FakeEngine) -> None:
    async for _ in served(engine).generate(ask(n=2)):
        pass


def _becomes_idle(engine: FakeEngine) -> bool:
    until(lambda: engine.load().running + engine.load().waiting == 0)
    return True
