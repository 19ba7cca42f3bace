"""One candidate of an answer: from what an engine makes of a sequence to events.

It knows how a sequence goes on when a function is to be called, and what it all took. Engines,
threads and loops are in `local.py`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from ...core import Usage
from ...models.live import Made
from ...models.local.functions import OPENING, calls_schema, parse_calls
from ...strict_json import read_strictly
from .. import End, Event, Piece, Refusal
from .planning import Plan
from .text import Said, Speech

__all__ = ["Candidate", "usage_of"]


class Candidate:
    """Candidate `index` of an answer as it is made; `prompt` is what the engine is to go on with.

    `seed_offset` is added to the seed; by default candidates have seeds that follow each other.
    `take` gives the events of each thing that was made. Where it sets `again`, the sequence is to
    be ended and `prompt` started anew.
    """

    def __init__(self, plan: Plan, index: int, seed_offset: int | None = None) -> None:
        seed = plan.prompt.sampling.seed
        offset = index if seed_offset is None else seed_offset
        seeded = None if seed is None else seed + offset
        sampling = replace(plan.prompt.sampling, seed=seeded)
        self.index = index
        self.prompt = replace(plan.prompt, sampling=sampling)
        self.over = False
        self.again = False
        self.input_tokens = len(plan.prompt.ids)
        self.output_tokens = 0
        self.logprob = 0.0  # of all tokens together, where they were asked for
        self.seconds = 0.0
        self.compute_seconds: float | None = None
        self.cached_tokens: int | None = None
        self._plan = plan
        self._calling = plan.calls == "always"
        self._ids: list[int] = []
        self._seconds = self._compute_seconds = 0.0  # of what was before this sequence
        self._speech = self._listen()

    def take(self, made: Made) -> Iterator[Event]:
        """The events of what was made; raises Refusal where the engine could not make it."""
        self.again = False
        self._count(made)
        said = self._speech.push(made.tokens)
        stopped = self._speech.stopped
        if stopped is None and made.finish is None:
            yield from self._piece(said)
            return
        if stopped is None and made.finish in ("cancelled", "error"):
            raise _failed(self._plan.name, made)
        yield from self._piece(said)
        if stopped == OPENING and not self._calling and made.finish != "length":
            self._turn_to_call()
            return
        yield from self._piece(self._speech.close())
        self.over = True
        length = made.finish == "length" and stopped in (None, OPENING)
        yield from self._end("length" if length else "stop", cut=stopped is not None)

    def _count(self, made: Made) -> None:
        self._ids.extend(token.id for token in made.tokens)
        # the token that ends a sequence was made as well
        self.output_tokens += len(made.tokens) + (made.finish == "stop")
        self.logprob += sum(token.logprob or 0.0 for token in made.tokens)
        self.logprob += made.end_logprob or 0.0
        if self.cached_tokens is None:
            self.cached_tokens = made.cached_tokens
        self.seconds = self._seconds + made.seconds
        if made.compute_seconds is not None:
            self.compute_seconds = self._compute_seconds + made.compute_seconds

    def _listen(self) -> Speech:
        plan = self._plan
        stops = () if self._calling else plan.stop
        if plan.calls == "maybe" and not self._calling:
            stops = (*stops, OPENING)
        wanted = plan.prompt.top_logprobs is not None and not self._calling
        return Speech(plan.tokenizer, stops, tokens=wanted)

    def _piece(self, said: Said) -> Iterator[Event]:
        if (said.text or said.tokens) and not self._calling:
            yield Piece(self.index, said.text, said.tokens)

    def _turn_to_call(self) -> None:
        """Go on behind the opening of a call, under the schema of calls."""
        plan, prompt = self._plan, self.prompt
        said = plan.tokenizer.decode(self._ids)
        if said.endswith(OPENING):
            ids = tuple(self._ids)
        else:  # the opening ended within a token
            ids = tuple(plan.tokenizer.encode(self._speech.text + OPENING))
        room = prompt.max_output_tokens - len(self._ids)
        self._seconds, self._compute_seconds = self.seconds, self.compute_seconds or 0.0
        self._calling = self.again = True
        self._ids = []
        self._speech = self._listen()
        self.prompt = replace(
            prompt,
            ids=prompt.ids + ids,
            max_output_tokens=max(1, room),
            schema=calls_schema(plan.functions, parallel=plan.parallel),
            top_logprobs=None,
        )

    def _end(self, finish: Literal["stop", "length"], *, cut: bool) -> Iterator[Event]:
        text = self._speech.text
        if self._calling:
            yield from self._calls(text, finish)
            return
        if finish == "stop" and not cut:
            _check(self._plan, text)
        yield End(self.index, finish)

    def _calls(self, text: str, finish: Literal["stop", "length"]) -> Iterator[Event]:
        if finish == "length":  # half a call is nothing to act on; it is told as what it is
            yield Piece(self.index, text)
            yield End(self.index, "length")
            return
        try:
            calls = parse_calls(
                text, self._plan.functions, lambda place: f"call_{secrets.token_hex(12)}"
            )
        except ValueError as error:
            raise _does_not_fit(self._plan.name, "the functions' parameters", "tools", error) from (
                error
            )
        yield Piece(self.index, calls=calls)
        yield End(self.index, "calls")


def _check(plan: Plan, text: str) -> None:
    """Raise Refusal where the engine let something through that was not to be said."""
    if plan.check is None:
        return
    try:
        plan.check(read_strictly(text))
    except ValueError as error:
        raise _does_not_fit(plan.name, "the schema", "response_format", error) from error


def _does_not_fit(name: str, what: str, param: str, error: ValueError) -> Refusal:
    """The caller's to mend: asked in another form, the same model would have answered."""
    return Refusal(
        "invalid",
        f"what {name!r} said does not fit {what}, of which the engine does not enforce all: "
        f"{error}",
        hint="ask again, or leave out what the answer went against, and check it yourself",
        param=param,
    )


def _failed(name: str, made: Made) -> Refusal:
    if made.refused:
        return Refusal("invalid", f"{name!r} cannot answer this: {made.error}")
    if made.finish == "cancelled":
        return Refusal("unavailable", f"{name!r} is being shut down", hint="ask again")
    return Refusal(
        "unavailable", f"{name!r} could not answer: {made.error}", hint="ask again, or for less"
    )


def usage_of(name: str, candidates: Sequence[Candidate]) -> Usage:
    """What candidates of one prompt took together; the prompt counts once."""
    cached = [one.cached_tokens for one in candidates if one.cached_tokens is not None]
    computed = [one.compute_seconds for one in candidates if one.compute_seconds is not None]
    return Usage(
        name,
        input_tokens=candidates[0].input_tokens,
        output_tokens=sum(one.output_tokens for one in candidates),
        cached_tokens=min(cached) if cached else None,
        seconds=max(one.seconds for one in candidates),
        compute_seconds=sum(computed) if computed else None,
    )
