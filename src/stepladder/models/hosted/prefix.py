"""Turns that many requests share are kept at the service, when that is cheaper than sending them.

Decides by prices and writes, shares out and drops; how a service keeps a prefix is its `Api`'s.
Services also keep prefixes by themselves, for nothing: what answers showed of that counts against.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import cast

from ...core import Message, Request, Response
from ...cost import Prices, cache_saving
from ...errors import StepladderError
from .. import ProviderSettings
from .api import Api, PrefixCache, PrefixCacheApi
from .keys import redact
from .tokens import TokenEstimate

__all__ = ["Kept", "PrefixKeeper", "Shared", "saving", "shared_prefixes"]

KEPT_SECONDS = 3600  # what a crash left behind is gone by then
FIRST_GUESS_SECONDS = 1.0  # per call, before one was made
UNSURE = 1.1  # a count of tokens is an estimate: what is kept must be longer by so much
SPARE_SECONDS = 60.0  # before the service forgets a prefix, it is used no longer


@dataclass(frozen=True)
class Shared:
    """The first messages of several requests, and the places of those."""

    prefix: tuple[Message, ...]
    places: tuple[int, ...]


def shared_prefixes(requests: Sequence[Request]) -> list[Shared]:
    """What requests have in common from the start, each request in one group at most.

    Requests that differ in their last message alone go together first (one prompt over many
    inputs), then those with the same first message. Requests with functions stay out: a service
    keeps its prefix with the functions or not at all.
    """
    able = [
        place
        for place, request in enumerate(requests)
        if len(request.messages) > 1 and not request.functions
    ]
    same = _grouped(able, lambda place: _key(requests[place].messages[:-1]))
    alone = [places[0] for places in same if len(places) == 1]
    alike = _grouped(alone, lambda place: _key(requests[place].messages[:1]))
    return [
        Shared(_in_common([requests[place].messages[:-1] for place in places]), tuple(places))
        for places in (*same, *alike)
        if len(places) > 1
    ]


def _grouped(places: Iterable[int], key: Callable[[int], Hashable]) -> list[list[int]]:
    groups: dict[Hashable, list[int]] = {}
    for place in places:
        groups.setdefault(key(place), []).append(place)
    return list(groups.values())


def _key(messages: Sequence[Message]) -> Hashable:
    """Equal for equal messages; calls hold dictionaries, which have no hash."""
    return tuple((m.role, m.content, repr(m.calls), repr(m.result_of)) for m in messages)


def _in_common(turns: Sequence[tuple[Message, ...]]) -> tuple[Message, ...]:
    first, length = turns[0], min(len(one) for one in turns)
    while any(one[:length] != first[:length] for one in turns):
        length -= 1
    return first[:length]


def saving(
    model: str, tokens: int, calls: int, seconds: float, prices: Prices, *, implicit: float
) -> float:
    """Dollars saved by keeping `tokens` for `calls` over `seconds`; 0 where it is not known.

    `implicit` is the share of those tokens that would be read from the service's own cache anyway.
    """
    whole = cache_saving(model, tokens, calls, seconds / 3600, prices)
    nothing = cache_saving(model, tokens, 0, 0.0, prices)
    free = cache_saving(model, tokens, calls, 0.0, prices)
    if whole is None or nothing is None or free is None:
        return 0.0
    return whole - implicit * (free - nothing)


class PrefixKeeper:
    """Keeps for one model what its requests share, while they are asked."""

    def __init__(
        self,
        name: str,
        api: Api,
        settings: ProviderSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._api = api
        self._settings = settings
        self._clock = clock
        self._unpriced_told = False
        self._cached = self._input = 0  # what answers said without a prefix kept by us

    @contextmanager
    def keep(
        self, requests: Sequence[Request], tokens: TokenEstimate, seconds_per_call: float | None
    ) -> Iterator[dict[int, Kept]]:
        """What is kept for which request, by its place, where that pays; dropped at the end."""
        kept: list[tuple[Shared, Kept]] = []
        try:
            for shared in self._worth_it(requests, tokens, seconds_per_call):
                if (one := self._write(shared)) is not None:
                    kept.append((shared, one))
            yield {place: one for shared, one in kept for place in shared.places}
        finally:
            for _, one in kept:
                self._drop(one)

    def charge(self, response: Response, kept: Kept | None) -> Response:
        """The response with its share of what was kept for it; without, see what was implicit."""
        if kept is not None:
            return kept.charge(response)
        usage = response.usage
        if usage.cached_tokens is not None and usage.input_tokens:
            self._cached += usage.cached_tokens
            self._input += usage.input_tokens
        return response

    def _worth_it(
        self, requests: Sequence[Request], tokens: TokenEstimate, seconds_per_call: float | None
    ) -> Iterator[Shared]:
        facts = self._settings.catalogue.facts(self._name)
        least = facts.cache_least_tokens if facts else None
        if least is None or not hasattr(self._api, "write_cache"):
            return
        seconds = min(KEPT_SECONDS, len(requests) * (seconds_per_call or FIRST_GUESS_SECONDS))
        implicit = self._cached / self._input if self._input else 0.0
        for shared in shared_prefixes(requests):
            size, calls = tokens.count(shared.prefix), len(shared.places)
            prices = self._settings.prices
            if size < least * UNSURE:
                continue
            if cache_saving(self._name, size, calls, seconds / 3600, prices) is None:
                self._tell_unpriced()
            elif saving(self._name, size, calls, seconds, prices, implicit=implicit) > 0:
                yield shared

    def _tell_unpriced(self) -> None:
        """Once, and not for each block of requests."""
        if not self._unpriced_told:
            self._unpriced_told = True
            said = f"no price for keeping a prefix is known for {self._name!r}, so none is kept"
            self._settings.tell("note", {"text": said})

    def _write(self, shared: Shared) -> Kept | None:
        """None, and a note, when the service will not: then every call sends everything."""
        bare = self._name.partition(":")[2]
        try:
            cache = self._cache_api.write_cache(bare, shared.prefix, KEPT_SECONDS)
        except Exception as error:
            self._told(error, "kept no prefix, so each call sends the whole prompt")
            return None
        return Kept(cache, len(shared.places), self._clock, KEPT_SECONDS)

    def _drop(self, kept: Kept) -> None:
        try:
            self._cache_api.drop_cache(kept.cache)
        except Exception as error:
            self._told(error, "did not drop a kept prefix, which is paid for up to an hour")

    @property
    def _cache_api(self) -> PrefixCacheApi:
        return cast(PrefixCacheApi, self._api)

    def _told(self, error: Exception, outcome: str) -> None:
        """Tell what an error means; one that the service did not raise is raised again."""
        said = (
            error.message
            if isinstance(error, StepladderError)
            else self._api.explain(error).message
        )
        self._settings.tell("note", {"text": f"{self._name} {outcome}: {redact(said)}"})


@dataclass
class Kept:
    """A prefix that is kept, and how its price is shared out over the calls that use it.

    Writing is shared evenly; keeping it goes to each answer for the time since the one before, so
    that the shares add up to the whole time.
    """

    cache: PrefixCache
    calls: int
    clock: Callable[[], float]
    seconds: float  # how long the service keeps it
    gone: bool = False  # a call could not use it: the others do not try
    _written: float = field(init=False)
    _charged: float = field(init=False)

    def __post_init__(self) -> None:
        self._written = self._charged = self.clock()

    @property
    def usable(self) -> PrefixCache | None:
        """The cache for one more call, unless it is gone or may be before the call is there."""
        left = self._written + self.seconds - self.clock()
        return None if self.gone or left < SPARE_SECONDS else self.cache

    def charge(self, response: Response) -> Response:
        """The response with its share of what keeping the prefix costs."""
        now = min(self.clock(), self._written + self.seconds)
        hours = max(0.0, now - self._charged) / 3600
        self._charged = max(now, self._charged)
        usage = replace(
            response.usage,
            cache_write_tokens=self.cache.tokens / self.calls,
            cache_token_hours=self.cache.tokens * hours,
        )
        return replace(response, usage=usage)
