"""POST completions: text that is gone on with, without a chat template; one prompt or several."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ...core import Json, Usage
from .. import Ask, Caller, End, Event, Piece, Spoken, Totals
from ..answering import Answer, answer
from .bodies import As, answered, read_fields, server_of
from .fields import Fields
from .names import served_name
from .prompts import read_prompts
from .sampling import (
    COMMON,
    MOST_CANDIDATES,
    read_count,
    read_sampling,
    read_stop,
    read_usage,
)  # fmt: skip
from .streams import side_by_side, streamed
from .telling import sse, usage_body

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["ROUTE", "add_routes", "completion_body"]

ROUTE = "/v1/completions"
KNOWN = COMMON | {"prompt", "suffix", "echo", "best_of", "logprobs"}
DEFAULT_TOKENS = 16  # as documented


@dataclass(frozen=True, slots=True)
class _Completion:
    name: str
    asks: tuple[Ask, ...]
    echo: bool
    stream: bool
    usage: bool

    @property
    def n(self) -> int:
        return self.asks[0].n


def add_routes(router: APIRouter) -> None:
    """The route of plain completions."""
    router.add_api_route("/completions", _complete, methods=["POST"], response_model=None)


async def _complete(request: Request, caller: As) -> Response:
    server = server_of(request)
    body = await read_fields(request)
    running = _Running(server, caller, _read(server, caller, body), body)
    if not running.completion.stream:
        told = await running.told()
        return answered(told, running.answer.headers)
    await running.begin()
    return streamed(running.chunks(), running.answer.headers)


async def completion_body(server: Server, caller: Caller, body: Fields) -> dict[str, Json]:
    """The whole answer to a body that asks for no stream."""
    completion = _read(server, caller, body)
    if completion.stream:
        raise body.fault("stream", "has to be false here")
    return await _Running(server, caller, completion, body).told()


def _read(server: Server, caller: Caller, body: Fields) -> _Completion:
    body.known(KNOWN)
    name = body.needed_text("model")
    if body.text("suffix"):
        raise body.fault("suffix", "is not offered: the models here only go on with a text")
    n = body.whole("n", 1, MOST_CANDIDATES) or 1
    best_of = body.whole("best_of", 0, MOST_CANDIDATES)
    if best_of not in (None, 0, n):
        raise body.fault("best_of", f"has to be as large as 'n', {n}, or left out")
    body.text("user")
    logprobs, echo = body.whole("logprobs", 0, 5), body.flag("echo") is True
    if echo and logprobs is not None:
        raise body.fault("echo", "cannot go together with 'logprobs': a prompt has none here")
    stream = body.flag("stream") is True
    ask = partial(
        Ask,
        served_name(name),
        max_output_tokens=read_count(body, "max_tokens") or DEFAULT_TOKENS,
        sampling=read_sampling(body),
        n=n,
        stop=read_stop(body),
        top_logprobs=logprobs,
        given=frozenset(name for name, value in body.given.items() if value is not None),
    )
    usage = read_usage(body, stream=stream)
    prompts = read_prompts(server, caller, body, "prompt", name)
    return _Completion(name, tuple(ask(prompt=one) for one in prompts), echo, stream, usage)


@dataclass
class _Running:
    """A call under way; `answer` is the first of its answers, once there is one.

    `begin` waits for the first event, so that a refusal comes before anything was told.
    """

    server: Server
    caller: Caller
    completion: _Completion
    body: Fields
    _answers: list[Answer] = field(default_factory=list)
    _begun: list[tuple[int, Event]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._events = side_by_side([partial(self._start, ask) for ask in self.completion.asks])

    @property
    def answer(self) -> Answer:
        return self._answers[0]

    async def begin(self) -> None:
        self._begun.append(await anext(self._events))

    async def _all(self) -> AsyncGenerator[tuple[int, Event], None]:
        """What all prompts bring, each event with its prompt's place."""
        async with aclosing(self._events):
            for place, event in self._begun:
                yield place, event
            async for place, event in self._events:
                yield place, event

    async def _start(self, ask: Ask) -> Answer:
        given = dict(self.body.given)
        begun = await answer(
            self.server, self.caller, ask, protocol="openai", route=ROUTE, body=given
        )
        self._answers.append(begun)
        return begun

    def _head(self) -> dict[str, Json]:
        head: dict[str, Json] = {
            "id": f"cmpl-{self.answer.id}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": self.completion.name,
        }
        version = self.answer.card.version
        return {**head, "system_fingerprint": version} if version else head

    def _index(self, place: int, index: int) -> int:
        return place * self.completion.n + index

    def _opened(self) -> dict[int, _Choice]:
        """A choice for every candidate, which begins with its prompt if that is to be repeated."""
        asks, n = self.completion.asks, self.completion.n
        prompts = [ask.prompt or "" if self.completion.echo else "" for ask in asks]
        return {index: _Choice(prompts[index // n]) for index in range(n * len(asks))}

    async def told(self) -> dict[str, Json]:
        """The whole answer."""
        choices, usages = self._opened(), []
        async with aclosing(self._all()) as events:
            async for place, event in events:
                if isinstance(event, Totals):
                    usages.append(event.usage)
                elif isinstance(event, End):
                    choices[self._index(place, event.index)].finish = event.finish
                else:
                    choices[self._index(place, event.index)].add(event)
        asked = self.completion.asks[0].top_logprobs is not None
        return {
            **self._head(),
            "choices": [
                {
                    "index": index,
                    "text": one.text,
                    "logprobs": _logprobs(one.tokens, 0) if asked else None,
                    "finish_reason": one.finish,
                }
                for index, one in choices.items()
            ],
            "usage": usage_body(_sum(usages)),
        }

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """A chunk per piece; those of several prompts are mixed, told apart by their index."""
        head, choices = self._head(), self._opened()
        open_usage = {"usage": None} if self.completion.usage else {}
        usages: list[Usage] = []
        async with aclosing(self._all()) as events:
            async for place, event in events:
                if isinstance(event, Totals):
                    usages.append(event.usage)
                    continue
                index = self._index(place, event.index)
                choice = _chunk(choices[index], event, index)
                yield sse({**head, "choices": [choice], **open_usage})
        if self.completion.usage:
            yield sse({**head, "choices": [], "usage": usage_body(_sum(usages))})


@dataclass(slots=True)
class _Choice:
    """What a candidate said so far; in a stream `text` is what has not gone out yet."""

    text: str
    tokens: list[Spoken] = field(default_factory=list)
    finish: str = "stop"
    characters: int = 0  # of the tokens that went out

    def add(self, piece: Piece) -> None:
        self.text += piece.text
        self.tokens.extend(piece.tokens)


def _chunk(choice: _Choice, event: Piece | End, index: int) -> dict[str, Json]:
    text, told = choice.text, None
    choice.text = ""
    if isinstance(event, Piece):
        text += event.text
        if event.tokens:
            told = _logprobs(event.tokens, choice.characters)
            choice.characters += sum(len(one.text) for one in event.tokens)
    finish = event.finish if isinstance(event, End) else None
    return {"index": index, "text": text, "logprobs": told, "finish_reason": finish}


def _logprobs(tokens: Sequence[Spoken], offset: int) -> dict[str, Json]:
    """The older form: lists side by side."""
    offsets, at = [], offset
    for token in tokens:
        offsets.append(at)
        at += len(token.text)
    return {
        "tokens": [one.text for one in tokens],
        "token_logprobs": [max(one.logprob, -9999.0) for one in tokens],
        "top_logprobs": [
            {top.text: max(top.logprob, -9999.0) for top in reversed(one.top)} for one in tokens
        ],
        "text_offset": offsets,
    }


def _sum(usages: Sequence[Usage]) -> Usage:
    """What several prompts took together."""
    return Usage(
        usages[0].model,
        input_tokens=sum(one.input_tokens or 0 for one in usages),
        output_tokens=sum(one.output_tokens or 0 for one in usages),
        cached_tokens=sum(one.cached_tokens or 0 for one in usages),
        thinking_tokens=sum(one.thinking_tokens or 0 for one in usages),
    )
