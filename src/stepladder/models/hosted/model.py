"""A `Model` over an `Api`: what all hosted models share. What one service is like is its `Api`'s.

Calls run through the pool, or with `batch` as a job at a lower price; failures come back as
responses with an error. `seconds` is the latency of the attempt that succeeded, as a user of the
service would see it: waits between attempts and in our own queue are not in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ...core import Message, Request, Response, Usage
from ...errors import ModelError
from .. import ProviderSettings
from .api import Api, Failure, PrefixCache
from .keys import redact
from .options import read_options
from .pool import Pool, Timing
from .tokens import TokenEstimate

__all__ = ["HostedModel"]


class HostedModel:
    """The model called `name`, at a service."""

    hosted = True  # its answers cost money: two processes at once share them, see `claims.py`

    def __init__(
        self, name: str, api: Api, settings: ProviderSettings, timing: Timing | None = None
    ) -> None:
        self.name = name
        self._api = api
        self._settings = settings
        self._options = read_options(settings, also=tuple(settings.options))  # names were checked
        self._pool = Pool(self._options.limits, api.explain, settings.tell, timing)
        self._tokens = TokenEstimate()

    @property
    def context_tokens(self) -> int | None:
        """The most input tokens; None where the catalogue does not know."""
        facts = self._settings.catalogue.facts(self.name)
        return None if facts is None else facts.context_tokens

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """An estimate without a call; what is paid is told by the usage of answers."""
        return self._tokens.count(messages)

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Response]]:
        """Each answer as it finishes, with the index of its request.

        Raises:
            ModelError: no call succeeded, for a reason that every call shares.
        """
        sent = []
        for index, request in enumerate(requests):
            if request.score_choices:
                yield index, self._refused("hosted models do not score given answers")
            else:
                sent.append(index)
        for place, response in self._ask([requests[index] for index in sent]):
            yield sent[place], response

    def stop(self) -> None:
        """Begin no more calls; `generate` still yields those under way."""
        self._pool.stop()

    def _ask(self, requests: Sequence[Request]) -> Iterator[tuple[int, Response]]:
        calls = (self._call(request, None) for request in requests)
        alike: list[tuple[int, Failure]] = []  # failed as every call would: kept to the end
        answered = False
        for place, outcome in self._pool.run(calls):
            if isinstance(outcome, Failure) and outcome.fatal and not answered:
                alike.append((place, outcome))
                continue
            answered = True
            yield place, self._response(outcome)
        if alike and not answered:
            failure = alike[0][1]
            raise ModelError(
                f"{self.name!r} cannot be used: {redact(failure.message)}",
                hint=redact(failure.hint)
                or "mend what the message names and run it again; finished calls are kept",
            )
        for place, failure in alike:
            yield place, self._response(failure)

    def _call(self, request: Request, cache: PrefixCache | None) -> Callable[[], Response]:
        bare = self.name.partition(":")[2]

        def call() -> Response:
            began = time.perf_counter()
            response = self._api.send(bare, request, cache)
            seconds = time.perf_counter() - began
            self._tokens.learn(request, response.usage)
            return replace(response, usage=replace(response.usage, seconds=seconds))

        return call

    def _response(self, outcome: Response | Failure) -> Response:
        """An answer as it is; of a failure its message. What may be billed has unknown usage."""
        if isinstance(outcome, Response):
            error = outcome.error
            return outcome if error is None else replace(outcome, error=redact(error))
        usage = Usage(self.name) if outcome.maybe_billed else self._nothing_used()
        return Response("", usage, "error", error=redact(outcome.message))

    def _refused(self, reason: str) -> Response:
        return Response("", self._nothing_used(), "error", error=f"{self.name}: {reason}")

    def _nothing_used(self) -> Usage:
        return Usage(self.name, 0, 0, 0, thinking_tokens=0, audio_tokens=0)
