"""For tests, ours and yours: a fake model, and checks that any plugin can run against its seam."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .core import (
    Estimate,
    Example,
    Input,
    Message,
    Metric,
    Model,
    Output,
    Request,
    Response,
    Solver,
    Step,
    Task,
    Usage,
    Workshop,
)
from .fake_live import FakeEngine, FakeTokenizer
from .models.live import LiveEngine, Made, Prompt, Sampling, Token
from .serve import Ask, End, Event, ServedModel, Totals
from .solvers import content_hash, solver_from_record, solver_record

__all__ = [
    "FakeEngine", "FakeModel", "FakeTokenizer", "check_live_engine", "check_metric", "check_model",
    "check_served_model", "check_solver", "check_step", "fake_workshop",
]  # fmt: skip


@dataclass
class FakeModel:
    """Answers by function: `reply(request)` gives the text, or raises to make the call fail.

    With `score_choices`, `score(request)` gives the log-probabilities. Tokens are words. The
    requests that were made are kept in `seen`.
    """

    reply: Callable[[Request], str] = lambda request: ""
    score: Callable[[Request], tuple[float, ...]] | None = None
    name: str = "fake:model"
    seconds: float = 0.0
    seen: list[Request] = field(default_factory=list)

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Response]]:
        for index, request in enumerate(requests):
            self.seen.append(request)
            yield index, self._respond(request)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(_text(message).split()) for message in messages)

    def _respond(self, request: Request) -> Response:
        tokens = self.count_tokens(request.messages)
        try:
            if request.score_choices:
                if self.score is None:
                    raise ValueError("this FakeModel was given no `score` function")
                scores = self.score(request)
                return Response("", self._usage(tokens, 0), choice_logprobs=scores)
            text = self.reply(request)
        except Exception as error:  # a fake of a failing service: whatever it raises is its failure
            return Response("", self._usage(tokens, 0), finish="error", error=repr(error))
        return Response(text, self._usage(tokens, len(text.split())))

    def _usage(self, input_tokens: int, output_tokens: int) -> Usage:
        return Usage(self.name, input_tokens, output_tokens, 0, self.seconds, self.seconds)


def fake_workshop(model: Model, artifacts: Path) -> Workshop:
    """A workshop in which every model name means `model` and progress goes nowhere.

    As in a real one, answers are kept: what was asked before is not asked again.
    """
    kept = _Kept(model)
    return Workshop(lambda name: kept, artifacts, lambda event, fields: None)


class _Kept:
    """A model whose answers are kept in memory."""

    def __init__(self, model: Model) -> None:
        self.name = model.name
        self._model = model
        self._answers: dict[str, Response] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return self._model.count_tokens(messages)

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Response]]:
        fresh = [index for index, one in enumerate(requests) if repr(one) not in self._answers]
        for place, response in self._model.generate([requests[index] for index in fresh]):
            if response.error is None:
                self._answers[repr(requests[fresh[place]])] = response
            else:
                yield fresh[place], response
        for index, request in enumerate(requests):
            if repr(request) in self._answers:
                yield index, self._answers[repr(request)]


def check_model(model: Any) -> None:
    """Assert the contract of `Model`: one tagged answer per request, failures as data."""
    messages = (Message("user", "Say yes."),)
    requests = [Request(messages, max_output_tokens=4), Request(messages, max_output_tokens=1)]
    answers = dict(model.generate(requests))
    assert sorted(answers) == [0, 1], "each request is answered exactly once, by its index"
    assert all(isinstance(answer, Response) for answer in answers.values())
    assert all(a.error or a.usage.model == model.name for a in answers.values())
    assert list(model.generate([])) == []
    assert model.count_tokens(messages) > 0
    assert isinstance(model.name, str)
    assert ":" in model.name
    assert pickle.loads(pickle.dumps(answers)) == answers  # our own bytes, made a line above


def check_live_engine(engine: LiveEngine, prompt: Prompt) -> None:
    """Assert the contract of `LiveEngine` with a prompt that it answers, and close the engine.

    Every sequence ends exactly once, with its last news, on a thread of the engine's own; what is
    made keeps to the prompt, says the same beside others as alone, and costs no more places after
    its end or its cancelling; what cannot be run is an end, not an exception.
    """
    assert isinstance(engine, LiveEngine)
    plain = replace(prompt, top_logprobs=None)
    alone = _Heard(engine, plain).end()
    assert alone.finish in ("stop", "length"), alone.error
    assert (len(alone.ids) == plain.max_output_tokens) or alone.finish == "stop"
    assert len(alone.ids) <= plain.max_output_tokens
    drawn = replace(plain, sampling=Sampling(temperature=1.0, seed=7))
    again = [_Heard(engine, one) for one in (plain, drawn, plain, drawn, plain)]
    ends = [heard.end() for heard in again]
    assert [ends[place].ids for place in (0, 2, 4)] == [alone.ids] * 3
    assert ends[1].ids == ends[3].ids, "the same seed draws the same"
    chosen = _Heard(engine, replace(plain, top_logprobs=0)).end()
    assert all(token.logprob is not None and token.logprob <= 1e-6 for token in chosen.tokens)
    assert (chosen.news[-1].end_logprob is None) == (chosen.finish != "stop")
    assert _Heard(engine, replace(plain, ids=())).end().finish == "error"
    _check_ending(engine, plain)


def _check_ending(engine: LiveEngine, prompt: Prompt) -> None:
    heard = [_Heard(engine, prompt) for _ in range(3)]
    engine.cancel(heard[1].ticket)
    engine.cancel(heard[1].ticket)
    assert heard[1].end().finish in ("cancelled", "stop", "length")
    assert {heard[0].end().finish, heard[2].end().finish} <= {"stop", "length"}
    engine.cancel(heard[0].ticket)  # it is over: nothing happens
    assert engine.load().waiting == 0
    last = _Heard(engine, prompt)
    engine.close()
    assert last.end().finish in ("cancelled", "stop", "length")
    assert all(threading.get_ident() not in one.threads for one in (*heard, last))
    try:
        engine.start(prompt, lambda made: None)
    except RuntimeError:
        return
    raise AssertionError("a closed engine starts nothing")


class _Heard:
    """What an engine says of one sequence."""

    def __init__(self, engine: LiveEngine, prompt: Prompt) -> None:
        self.news: list[Made] = []
        self.threads: set[int] = set()
        self._over = threading.Event()
        self.ticket = engine.start(prompt, self._hear)

    def _hear(self, made: Made) -> None:
        assert not self._over.is_set(), "nothing comes after the end"
        self.news.append(made)
        self.threads.add(threading.get_ident())
        if made.finish is not None:
            self._over.set()

    def end(self) -> _Heard:
        """Itself, once the sequence is over."""
        assert self._over.wait(60), "every sequence ends"
        return self

    @property
    def finish(self) -> str | None:
        return self.news[-1].finish

    @property
    def error(self) -> str | None:
        return self.news[-1].error

    @property
    def tokens(self) -> list[Token]:
        return [token for made in self.news for token in made.tokens]

    @property
    def ids(self) -> list[int]:
        return [token.id for token in self.tokens]


def check_served_model(model: ServedModel, ask: Ask) -> None:
    """Assert the contract of `ServedModel` with an ask that it answers in at least one piece.

    Each candidate has its pieces, then one end; what all took comes last and once; whoever leaves
    early leaves the model as it was; counting tokens tells a number and makes nothing.
    """
    asyncio.run(_check_served(model, ask))


async def _check_served(model: ServedModel, ask: Ask) -> None:
    assert isinstance(model, ServedModel)
    assert model.card.name
    assert model.card.created_at.tzinfo is not None
    assert await model.count_tokens(ask) > 0
    events = [event async for event in model.generate(ask)]
    *candidates, totals = events
    assert isinstance(totals, Totals), "what all candidates took comes last"
    ended: set[int] = set()
    for event in candidates:
        assert not isinstance(event, Totals), "it comes once"
        assert event.index in range(ask.n)
        assert event.index not in ended, "nothing comes after a candidate's end"
        if isinstance(event, End):
            ended.add(event.index)
        else:
            assert event.text or event.tokens or event.calls, "a piece brings something"
            assert ask.top_logprobs is not None or not event.tokens
    assert ended == set(range(ask.n))
    assert (totals.usage.output_tokens or 0) >= 0
    assert all(isinstance(usage, Usage) for usage in totals.calls)
    async with aclosing(_closing(model.generate(ask))) as leaving:
        async for _ in leaving:
            break
    again = [event async for event in model.generate(ask)]
    assert isinstance(again[-1], Totals), "it answers after somebody left"


async def _closing(events: AsyncIterator[Event]) -> AsyncGenerator[Event, None]:
    """The same events; closing it closes them, where they can be."""
    try:
        async for event in events:
            yield event
    finally:
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()


def check_metric(metric: Metric, examples: Sequence[Example]) -> None:
    """Assert the contract of `Metric` on examples that it can score, with no answer and the best.

    Every numerator lies between 0 and its denominator, a failed answer gets nothing out of
    something, the expected answer gets at least as much, a right/wrong metric gives 0 or 1 out of
    1, the same answer gets the same counts, and neither example nor metric is changed.
    """
    assert metric.scale in ("binary", "bounded", "ratio")
    assert isinstance(metric.name, str)
    copied = pickle.loads(pickle.dumps(metric))  # our own bytes, made in this line
    for example in examples:
        before = pickle.dumps(example)
        best = metric.score(example, Output(example.expected))
        for failed in (Output(None), Output(example.expected, error="the call failed")):
            nothing = metric.score(example, failed)
            assert sum(numerator for _, numerator, _ in nothing) == 0
            assert sum(denominator for _, _, denominator in nothing) > 0, "failing is never free"
        assert all(0 <= numerator <= denominator for _, numerator, denominator in best)
        if metric.scale == "binary":
            assert [(top in (0, 1), bottom) for _, top, bottom in best] == [(True, 1)]
        if metric.scale == "bounded":
            assert [bottom for _, _, bottom in best] == [1]
        assert copied.score(example, Output(example.expected)) == best
        assert pickle.dumps(example) == before


def check_solver(solver: Solver, inputs: Sequence[Input], workshop: Workshop) -> None:
    """Assert the contract of `Solver`: data that comes back from JSON, one answer per input.

    It pickles, loads from its record as its equal, answers each input once under its index, says
    the same again, answers nothing to nobody, and changes neither itself nor the inputs.
    """
    assert isinstance(solver, Solver)
    before = pickle.dumps((solver, inputs))
    record = json.loads(json.dumps(solver_record(solver), allow_nan=False))
    loaded = solver_from_record(record)
    assert loaded == solver, "a solver loads from its record"
    assert content_hash(loaded) == content_hash(solver)
    assert pickle.loads(before)[0] == solver  # our own bytes, made above
    answers = list(solver.answer(inputs, workshop))
    assert sorted(index for index, _ in answers) == list(range(len(inputs)))
    assert all(isinstance(output, Output) for _, output in answers)
    again = {index: output.value for index, output in loaded.answer(inputs, workshop)}
    assert again == {index: output.value for index, output in answers}, "same solver, same answers"
    assert list(solver.answer([], workshop)) == []
    assert pickle.dumps((solver, inputs)) == before, "answering changes nothing"


def check_step(step: Step, task: Task, train: Sequence[Example], workshop: Workshop) -> None:
    """Assert the contract of `Step` on a task that it applies to.

    It pickles, estimates without calling a model, keeps within half as much again as the calls it
    estimated, proposes the same solvers again, and changes neither task nor train. Its solvers pass
    the data half of `check_solver`, and its candidates carry its name and names of their own.
    """
    assert isinstance(step, Step)
    assert pickle.loads(pickle.dumps(step)).name == step.name  # our own bytes, made in this line
    before = pickle.dumps((task, train))
    estimate = step.estimate(task, train, _no_calls(workshop))
    assert isinstance(estimate, Estimate)
    candidates = list(step.propose(task, train, None, workshop))
    assert candidates, "a step with nothing to offer raises NotApplicable"
    assert all(candidate.step == step.name for candidate in candidates)
    names = [candidate.name for candidate in candidates]
    assert len(set(names)) == len(names), "candidates of a step are told apart by name"
    assert max(candidate.build_calls for candidate in candidates) <= 1.5 * estimate.calls
    for candidate in candidates:
        record = json.loads(json.dumps(solver_record(candidate.solver), allow_nan=False))
        assert solver_from_record(record) == candidate.solver
    again = step.propose(task, train, None, workshop)
    assert [content_hash(one.solver) for one in again] == [
        content_hash(one.solver) for one in candidates
    ], "same seed, same candidates"
    assert pickle.dumps((task, train)) == before, "proposing changes nothing"


def _no_calls(workshop: Workshop) -> Workshop:
    """The workshop with models that count tokens and refuse to answer."""
    return replace(workshop, model=lambda name: _OnlyCounts(workshop.model(name)))


class _OnlyCounts:
    def __init__(self, model: Model) -> None:
        self.name = model.name
        self.count_tokens = model.count_tokens

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Response]]:
        raise AssertionError("estimating must not call a model")


def _text(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content
    return " ".join(part.text for part in message.content)
