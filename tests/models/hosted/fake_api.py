"""An `Api` that answers by function, with prefixes and batches, and counts what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from stepladder.catalogue import Catalogue, ModelFacts
from stepladder.core import Json, Message, Request, Response, Usage
from stepladder.cost import Prices, TokenPrice
from stepladder.models import ProviderSettings
from stepladder.models.hosted.api import BatchState, Failure, PrefixCache

__all__ = ["NAME", "BatchingApi", "Broken", "FakeApi", "Told", "ask", "settings_of", "text_of"]

NAME = "fake:model"
TODAY = date(2026, 11, 22)


class Broken(Exception):
    """What an SDK raises, with what it means."""

    def __init__(self, message: str, **meaning: Any) -> None:
        super().__init__(message)
        self.failure = Failure(message, **meaning)


class Told(list[str]):
    """What was told, in words."""

    def __call__(self, event: str, fields: Mapping[str, Json]) -> None:
        self.append(fields["text"])


def text_of(request: Request) -> str:
    return str(request.messages[-1].content)


def ask(text: str, *before: Message, **more: Any) -> Request:
    return Request((*before, Message("user", text)), **more)


@dataclass
class FakeApi:
    """`reply` gives the text or raises; input tokens are the words, cached those of the prefix."""

    reply: Callable[[Request], str] = lambda request: f"re: {text_of(request)}"
    sent: list[tuple[str, Request, PrefixCache | None]] = field(default_factory=list)
    written: list[tuple[Message, ...]] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    refuse_cache: Exception | None = None
    forgotten: bool = False  # a kept prefix is not there any more
    implicit: bool = False  # the service keeps all of it by itself

    def send(self, model: str, request: Request, cache: PrefixCache | None) -> Response:
        self.sent.append((model, request, cache))
        if cache is not None and self.forgotten:
            raise Broken("cached content not found")
        text = self.reply(request)
        words = sum(len(str(message.content).split()) for message in request.messages)
        cached = cache.tokens if cache else words * self.implicit
        usage = Usage(NAME, max(words, cached), 2, cached, thinking_tokens=0, audio_tokens=0)
        return Response(text, usage)

    def explain(self, error: Exception) -> Failure:
        if not isinstance(error, Broken):
            raise error
        return error.failure

    def write_cache(self, model: str, prefix: Sequence[Message], seconds: int) -> PrefixCache:
        if self.refuse_cache is not None:
            raise self.refuse_cache
        self.written.append(tuple(prefix))
        tokens = sum(len(str(message.content).split()) for message in prefix)
        return PrefixCache(f"caches/{len(self.written)}", len(prefix), tokens)

    def drop_cache(self, cache: PrefixCache) -> None:
        self.dropped.append(cache.name)

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class BatchingApi(FakeApi):
    """Also takes batches; `polls` looks pass before a job ends as `ends` says."""

    polls: int = 2
    ends: str = "succeeded"
    jobs: dict[str, tuple[str, list[Request]]] = field(default_factory=dict)
    looks: dict[str, int] = field(default_factory=dict)
    submit_errors: list[Exception] = field(default_factory=list)
    lost_answers: list[Exception] = field(default_factory=list)  # raised after the submission
    poll_errors: list[Exception] = field(default_factory=list)
    leave_out: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def find_batch(self, model: str, label: str) -> str | None:
        return next((name for name, (one, _) in self.jobs.items() if one == label), None)

    def submit_batch(self, model: str, requests: Sequence[Request], label: str) -> str:
        if self.submit_errors:
            raise self.submit_errors.pop(0)
        name = f"jobs/{len(self.jobs) + 1}"
        self.jobs[name] = (label, list(requests))
        if self.lost_answers:
            raise self.lost_answers.pop(0)
        return name

    def poll_batch(self, model: str, job: str, requests: Sequence[Request]) -> BatchState:
        if self.poll_errors:
            raise self.poll_errors.pop(0)
        assert list(requests) == self.jobs[job][1]
        self.looks[job] = self.looks.get(job, 0) + 1
        if self.looks[job] <= self.polls:
            return BatchState("running", self.looks[job], len(requests))
        if self.ends == "failed":
            return BatchState("failed", error="expired")
        answers = {
            place: self._answer(request)
            for place, request in enumerate(requests)
            if place not in self.leave_out
        }
        return BatchState("succeeded", len(answers), len(requests), answers)

    def cancel_batch(self, job: str) -> None:
        raise AssertionError("nothing cancels by itself")

    def _answer(self, request: Request) -> Response:
        usage = Usage(NAME, 5, 2, 0, thinking_tokens=0, audio_tokens=0)
        try:
            return Response(self.reply(request), usage)
        except Broken as error:
            return Response("", usage, "error", error=str(error))


def settings_of(jobs: Path, told: Told | None = None, **options: Any) -> ProviderSettings:
    """A provider of one model that keeps prefixes of 100 tokens and takes batches."""
    facts = ModelFacts(
        NAME, TODAY, "the test", context_tokens=9000, cache_least_tokens=100, batch=True
    )
    price = TokenPrice(NAME, 1.0, 4.0, TODAY, "the test", cached=0.1, batch=0.5, cache_hour=1.0)
    return ProviderSettings(
        "fake",
        jobs=jobs,
        options=options,
        catalogue=Catalogue(TODAY, (facts,)),
        prices=Prices(TODAY, (price,)),
        tell=told if told is not None else Told(),
    )
