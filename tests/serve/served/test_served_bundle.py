"""A bundle behind the server: what its solver answers, batched by a live engine, and refuses."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from served_bundles import NAME, PLAIN, Says, Scorer, base, bundle, opened
from served_models import ask, ends_of, events_of, text_of, totals_of, until

from stepladder.bundles.bundle import BundledModel
from stepladder.core import (
    Message,
    Output,
    Part,
    Request,
    Usage,
)
from stepladder.errors import ModelError
from stepladder.fake_live import FakeEngine, FakeTokenizer
from stepladder.models.live import Prompt
from stepladder.serve import Ask, Refusal
from stepladder.serve.served.bases import Bases, Measured
from stepladder.serve.served.bundle import BundleServed, open_bundle
from stepladder.serve.served.leaving import Leaving
from stepladder.serve.served.live_model import LiveModel
from stepladder.serve.served.scoring import Scores
from stepladder.solvers.prompt import PromptSolver
from stepladder.testing import check_model, check_served_model


def test_the_solver_answers_what_the_caller_sends(
    tmp_path: Path, engine: FakeEngine, threads: ThreadPoolExecutor
) -> None:
    served = opened(PLAIN, tmp_path, engine, threads)
    events = events_of(served, ask("what a day"))
    assert (text_of(events), ends_of(events)) == ("what a day", {0: "stop"})
    assert FakeTokenizer().decode(engine.seen[-1].ids).startswith("Say it."), "its own prompt"
    totals = totals_of(events)
    assert totals.usage.input_tokens == len(engine.seen[-1].ids)
    assert totals.usage.output_tokens == len("what a day") + 1
    assert [call.model for call in totals.calls] == [NAME]
    assert (served.card.kind, served.card.name, served.card.version) == (
        "bundle", "colours", "a" * 64,
    )  # fmt: skip
    served.retire()


def test_what_it_says_is_what_it_says_when_measured(
    tmp_path: Path, engine: FakeEngine, threads: ThreadPoolExecutor
) -> None:
    """With the tiny fake both ways: the confidence includes the end of the answer."""
    model = LiveModel(NAME, base(engine), Scores(lambda: Scorer()), "f" * 16)
    ((_, response),) = model.generate([Request((Message("user", "ab"),), logprob=True)])
    assert response.text == "ab"
    assert response.logprob == pytest.approx(3 * -0.10536, abs=1e-4)
    assert response.usage.output_tokens == 3


def test_callers_are_batched_by_the_engine(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    engine = FakeEngine.saying("x" * 20, tokens_per_second=200)
    most = 0

    async def ask_many(served: BundleServed) -> list[str]:
        async def one(number: int) -> str:
            return text_of([event async for event in served.generate(ask(f"n{number}"))])

        tasks = [asyncio.ensure_future(one(number)) for number in range(6)]
        nonlocal most
        while not all(task.done() for task in tasks):
            most = max(most, engine.load().running)
            await asyncio.sleep(0.005)
        return [task.result() for task in tasks]

    served = opened(PLAIN, tmp_path, engine, threads)
    assert asyncio.run(ask_many(served)) == ["x" * 20] * 6
    assert most == 6
    served.retire()
    engine.close()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Ask("c", (Message("system", "be rude"), Message("user", "x"))), "own instructions"),
        (ask(schema={"type": "object"}), "own form of answer"),
        (ask(choices=("a",)), "own form of answer"),
        (ask(functions=(object(),)), "own functions"),
        (
            Ask("c", (Message("user", "x"), Message("assistant", "y"), Message("user", "z"))),
            "3 turns",
        ),
        (Ask("c", (Message("assistant", "x"),)), "1 turns"),
    ],
)
def test_what_is_not_an_input_is_refused(
    asked: Ask, message: str, tmp_path: Path, engine: FakeEngine, threads: ThreadPoolExecutor
) -> None:
    served = opened(PLAIN, tmp_path, engine, threads)
    with pytest.raises(Refusal, match=message) as caught:
        events_of(served, asked)
    assert caught.value.status == 400
    assert not engine.seen
    served.retire()


def test_sampling_is_not_used_and_said_so(
    tmp_path: Path, engine: FakeEngine, threads: ThreadPoolExecutor
) -> None:
    served = opened(PLAIN, tmp_path, engine, threads)
    given = frozenset({"model", "messages", "temperature", "generationConfig.topP", "max_tokens"})
    events = events_of(served, ask(given=given))
    assert totals_of(events).ignored == ("generationConfig.topP", "max_tokens", "temperature")
    served.retire()


def test_named_fields_come_as_an_object(
    tmp_path: Path, engine: FakeEngine, threads: ThreadPoolExecutor
) -> None:
    shape = {"kind": "fields", "fields": ["title", "text"], "required": ["title", "text"]}
    served = opened(PLAIN, tmp_path, engine, threads, inputs=shape)
    events_of(served, ask(json.dumps({"text": "b", "title": "a"})))
    assert FakeTokenizer().last_text(engine.seen[-1].ids) == "title: a\ntext: b"
    half = '{"title": "a", "text": "\\ud800"}'
    for wrong in (
        "plain",
        "[" * 5000,
        half,
        '{"title": "a"}',
        '{"title": "a", "text": "b", "more": 1}',
    ):
        with pytest.raises(Refusal, match="fields 'title', 'text'"):
            events_of(served, ask(wrong))
    served.retire()


def test_a_conversation_is_an_input_where_the_task_has_conversations(
    tmp_path: Path, engine: FakeEngine, threads: ThreadPoolExecutor
) -> None:
    served = opened(PLAIN, tmp_path, engine, threads, inputs={"kind": "turns"})
    turns = (Message("user", "one"), Message("assistant", "two"), Message("user", "three"))
    assert text_of(events_of(served, Ask("c", turns))) == "three"
    assert FakeTokenizer().decode(engine.seen[-1].ids) == "Say it.onetwothree"
    served.retire()


def test_values_are_said_as_they_are_and_failures_are_told(
    tmp_path: Path, engine: FakeEngine, threads: ThreadPoolExecutor
) -> None:
    def said(output: Output) -> Any:
        served = opened(Says(output), tmp_path, engine, threads)
        try:
            return events_of(served, ask())
        finally:
            served.retire()

    assert text_of(said(Output("blue", "Blue."))) == "blue"
    assert json.loads(text_of(said(Output({"a": ["é"]}, "...")))) == {"a": ["é"]}
    unread = said(Output(None, "no colour at all"))
    assert (text_of(unread), totals_of(unread).failure) == ("no colour at all", "unparsed")
    with pytest.raises(Refusal, match="the model fell over") as caught:
        said(Output(None, error="the model fell over"))
    assert caught.value.status == 503
    paid = said(Output("x", usage=(Usage("a:b", 10, 2), Usage("a:b", 5, None))))
    assert (totals_of(paid).usage.input_tokens, totals_of(paid).usage.output_tokens) == (15, None)
    assert totals_of(paid).usage.model == "colours"


def test_whoever_leaves_frees_the_engine(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    engine = FakeEngine.saying("x" * 10_000, tokens_per_second=5)
    served = opened(PLAIN, tmp_path, engine, threads)

    async def leave() -> None:
        async def all_of() -> None:
            async for _ in served.generate(ask()):
                pass

        task = asyncio.ensure_future(all_of())
        while not engine.load().running:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while engine.load().running:
            await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(leave(), 10))
    served.retire()
    engine.close()


def test_a_retired_bundle_finishes_what_it_began(
    tmp_path: Path, threads: ThreadPoolExecutor
) -> None:
    engine = FakeEngine.saying("x" * 40, tokens_per_second=200)
    served = opened(PLAIN, tmp_path, engine, threads)

    async def retire_in_the_middle() -> str:
        async def all_of() -> str:
            return text_of([event async for event in served.generate(ask())])

        task = asyncio.ensure_future(all_of())
        while not engine.load().running:
            await asyncio.sleep(0.001)
        served.retire()
        return await task

    assert asyncio.run(retire_in_the_middle()) == "x" * 40
    with pytest.raises(RuntimeError, match="closed"):
        engine.start(Prompt((1,), 1), lambda made: None)


def test_another_model_than_the_measured_one_is_refused_at_the_start(
    tmp_path: Path, engine: FakeEngine, threads: ThreadPoolExecutor
) -> None:
    other = bundle(PLAIN, tmp_path, BundledModel(NAME, NAME, fingerprint="0" * 16))
    with pytest.raises(ModelError, match="not the one that was measured"):
        open_bundle(other, Bases(lambda name, _: base(engine)), threads)
    with pytest.raises(RuntimeError, match="closed"):
        engine.start(Prompt((1,), 1), lambda made: None)


def test_a_tuned_model_is_its_adapter_on_the_engine_of_its_base(
    tmp_path: Path, engine: FakeEngine, threads: ThreadPoolExecutor
) -> None:
    tuned = BundledModel(
        "local:tuned/abc", NAME, "b" * 64, "c" * 16,
        inside="artifacts/abc/model", adapter="artifacts/abc/adapter",
    )  # fmt: skip
    solver = replace(PLAIN, model="local:tuned/abc")
    bases = Bases(lambda name, _: base(engine), lambda name, _: Measured("c" * 16, Scorer))
    served = open_bundle(bundle(solver, tmp_path, tuned), bases, threads)
    assert text_of(events_of(served, ask("hi"))) == "hi"
    assert engine.seen[-1].adapter == tmp_path / "artifacts/abc/adapter"
    served.retire()
    strange = bundle(solver, tmp_path, replace(tuned, sha256="d" * 64))
    with pytest.raises(ModelError, match="not the one that 'local:tuned/abc' was tuned from"):
        open_bundle(strange, bases, threads)


def test_scores_of_callers_that_wait_are_computed_together() -> None:
    scorer = Scorer()
    scores = Scores(lambda: scorer)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(scores.score, [[1]], [[[7], [3]]])
        until(lambda: bool(scorer.batches))
        others = [pool.submit(scores.score, [[2]], [[[place]]]) for place in range(3)]
        until(lambda: len(scores._waiting) == 3)
        scorer.go.set()
        assert first.result() == [((-7.0, -3.0), 0.1)]
        assert [one.result()[0][0] for one in others] == [(-0.0,), (-1.0,), (-2.0,)]
    assert scorer.batches == [1, 3]


def test_a_scorer_that_cannot_is_told_to_everyone() -> None:
    def none() -> Any:
        raise ModelError("this model does not score")

    with pytest.raises(ModelError, match="does not score"):
        Scores(none).score([[1]], [[[1]]])


def test_labels_are_scored_through_the_server_as_in_a_climb(
    tmp_path: Path, engine: FakeEngine, threads: ThreadPoolExecutor
) -> None:
    scorer = Scorer()
    scorer.go.set()
    solver = PromptSolver(
        NAME, "Which?", "classification", ("red", "blue"), output_format="label", scoring="labels"
    )
    bases = Bases(lambda name, _: base(engine, scorer))
    served = open_bundle(bundle(solver, tmp_path), bases, threads)
    assert text_of(events_of(served, ask("paint"))) == "blue", "its first byte is the smaller"
    served.retire()


def test_the_live_model_is_a_model(engine: FakeEngine) -> None:
    model = LiveModel(NAME, base(engine), Scores(lambda: Scorer()), "f" * 16)
    check_model(model)
    long = Request((Message("user", "x" * 9000),))
    ((_, refused),) = model.generate([long])
    assert refused.error is not None
    assert "reads 8192" in refused.error
    leaving = Leaving()
    leaving.leave()
    with pytest.raises(Refusal, match="left"):
        list(model.within(leaving).generate([long]))


def test_it_is_a_served_model(
    tmp_path: Path, engine: FakeEngine, threads: ThreadPoolExecutor
) -> None:
    served = opened(PLAIN, tmp_path, engine, threads)
    check_served_model(served, ask("a few words"))
    served.retire()


def test_an_image_goes_to_the_solver_as_it_is(
    tmp_path: Path, engine: FakeEngine, threads: ThreadPoolExecutor
) -> None:
    seen: list[Any] = []

    @dataclass(frozen=True)
    class Looks(Says):
        def answer(self, inputs: Any, workshop: Any) -> Any:
            seen.extend(inputs)
            yield from super().answer(inputs, workshop)

    served = opened(Looks(Output("a cat")), tmp_path, engine, threads)
    turn = Message("user", (Part("text", "what?"), Part("image", uri="data:image/png;base64,")))
    assert text_of(events_of(served, Ask("c", (turn,)))) == "a cat"
    assert seen == [(turn,)]
    served.retire()
