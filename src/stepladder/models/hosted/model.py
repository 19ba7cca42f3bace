"""A `Model` over an `Api`: what all hosted models share. What one service is like is its `Api`'s.

Calls run through the pool, or with `batch` as a job at a lower price; failures come back as
responses with an error. `seconds` is the latency of the attempt that succeeded, as a user of the
service would see it: waits between attempts and in our own queue are not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from ...core import Json, Message, Request, Response, Usage
from ...errors import ModelError
from .. import ProviderSettings
from .api import Api, Failure
from .batches import Batches
from .keys import redact
from .options import read_options
from .pool import Pool, Timing
from .prefix import Kept, PrefixKeeper
from .tokens import open_estimate

__all__ = ["HostedModel"]

Answers = Iterator[tuple[int, Response]]


class HostedModel:
    """The model called `name`, at a service.

    The provider has checked the names of its options (`read_options`); their values are read here.
    """

    hosted = True  # its answers cost money: two processes at once share them, see `claims.py`
    scores_choices = False  # so that no search spends calls on asking for it

    def __init__(
        self, name: str, api: Api, settings: ProviderSettings, timing: Timing | None = None
    ) -> None:
        self.name = name
        self._api = api
        self._settings = settings
        self._timing = timing or Timing()
        options = read_options(settings, also=tuple(settings.options))
        self._pool = Pool(options.limits, self._explain, self._tell, self._timing)
        self._tokens = open_estimate(name, settings.jobs)
        self._prefixes = (
            PrefixKeeper(name, api, settings, self._timing.clock)
            if options.cache == "auto"
            else None
        )
        self._batches = Batches(name, api, settings, self._timing) if options.batch else None
        self._latencies = (0.0, 0)  # their sum, and of how many calls

    @property
    def context_tokens(self) -> int | None:
        """The most input tokens; None where the catalogue does not know."""
        facts = self._settings.catalogue.facts(self.name)
        return None if facts is None else facts.context_tokens

    @property
    def batching(self) -> bool:
        """Whether each `generate` waits for batch jobs, so that few large ones are wanted."""
        return self._batches is not None and self._batches.possible()

    @property
    def seconds_per_call(self) -> float | None:
        """At the rate seen so far, with as many calls at once as the service takes; for estimates.

        None before the first answer.
        """
        total, calls = self._latencies
        return total / calls / max(1.0, self._pool.pace.limit) if calls else None

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """An estimate without a call; what is paid is told by the usage of answers."""
        return self._tokens.count(messages)

    def generate(self, requests: Sequence[Request]) -> Answers:
        """Each answer as it finishes, with the index of its request.

        Raises:
            ModelError: no call succeeded, for a reason that every call shares.
        """
        sent = []
        for index, request in enumerate(requests):
            if request.score_choices:
                yield index, self._refused("a hosted model does not score given answers")
            else:
                sent.append(index)
        chosen = [requests[index] for index in sent]
        ask = self._batches.run if self._batches and self.batching else self._ask
        for place, response in ask(chosen) if chosen else ():
            self._tokens.learn(chosen[place], response.usage)
            self._timed(response.usage.seconds)
            yield sent[place], response

    def stop(self) -> None:
        """Begin no more calls; `generate` still yields those under way."""
        self._pool.stop()
        if self._batches is not None:
            self._batches.stop()

    def _timed(self, seconds: float | None) -> None:
        if seconds is not None:
            total, calls = self._latencies
            self._latencies = (total + seconds, calls + 1)

    def _ask(self, requests: Sequence[Request]) -> Answers:
        if self._prefixes is None:
            yield from self._call_all(requests, {})
            return
        with self._prefixes.keep(requests, self._tokens, self.seconds_per_call) as kept:
            yield from self._call_all(requests, kept)

    def _call_all(self, requests: Sequence[Request], kept: dict[int, Kept]) -> Answers:
        calls = (self._call(request, kept.get(place)) for place, request in enumerate(requests))
        alike: list[tuple[int, Failure]] = []  # failed as every call would: kept to the end
        answered = False
        for place, outcome in self._pool.run(calls):
            if isinstance(outcome, Failure) and outcome.fatal and not answered:
                alike.append((place, outcome))
                continue
            answered = True
            response = self._response(outcome)
            if self._prefixes is not None:
                response = self._prefixes.charge(response, kept.get(place))
            yield place, response
        if alike and not answered:
            raise _unusable(self.name, alike[0][1])
        for place, failure in alike:
            yield place, self._response(failure)

    def _call(self, request: Request, kept: Kept | None) -> Callable[[], Response]:
        def send() -> Response:
            return self._send(request, kept)

        return send

    def _send(self, request: Request, kept: Kept | None) -> Response:
        """One call; if what was kept is gone, the whole request is sent instead."""
        bare, cache = self.name.partition(":")[2], kept.usable if kept else None
        began = self._timing.clock()
        try:
            response = self._api.send(bare, request, cache)
        except Exception as error:
            if kept is None or cache is None or not _is_about_this_call(self._explain(error)):
                raise
            began = self._timing.clock()
            response = self._api.send(bare, request, None)
            kept.gone = True
        seconds = self._timing.clock() - began
        return replace(response, usage=replace(response.usage, seconds=seconds))

    def _tell(self, event: str, fields: Mapping[str, Json]) -> None:
        """What the pool has to say, with the model it is about."""
        self._settings.tell(event, {**fields, "text": f"{self.name}: {fields['text']}"})

    def _explain(self, error: Exception) -> Failure:
        failure = self._api.explain(error)
        return replace(failure, message=redact(failure.message), hint=redact(failure.hint))

    def _response(self, outcome: Response | Failure) -> Response:
        """An answer as it is; of a failure what it says and its cure, which may end the climb.

        What may be billed has unknown usage.
        """
        if isinstance(outcome, Response):
            error = outcome.error
            return outcome if error is None else replace(outcome, error=redact(error))
        usage = Usage(self.name) if outcome.maybe_billed else self._nothing_used()
        return Response("", usage, "error", error=_with_cure(outcome))

    def _refused(self, reason: str) -> Response:
        return Response("", self._nothing_used(), "error", error=f"{self.name}: {reason}")

    def _nothing_used(self) -> Usage:
        return Usage(self.name, 0, 0, 0, thinking_tokens=0, audio_tokens=0)


def _is_about_this_call(failure: Failure) -> bool:
    return not (failure.retry or failure.fatal)


def _with_cure(failure: Failure) -> str:
    """On one line: an answer's error is a row's, and whoever gives up on many shows one of them."""
    cure = " ".join(failure.hint.split())
    return f"{failure.message} ({cure})" if cure else failure.message


def _unusable(name: str, failure: Failure) -> ModelError:
    return ModelError(
        f"{name!r} cannot be used: {failure.message}",
        hint=failure.hint
        or "mend what the message names and run the same command again; finished calls are kept",
    )
