"""One candidate of an answer: from what an engine makes of a sequence to events.

It knows how a sequence goes on when a function is to be called, and what it all took. Engines,
threads and loops are in `local.py`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ...core import Function, Json
from ...models.live import Made, Prompt
from ...models.local.functions import OPENING, calls_schema, parse_calls
from .. import End, Event, Piece, Refusal
from .text import Said, Speech, TextTokenizer

__all__ = ["Candidate", "Plan"]


@dataclass(frozen=True)
class Plan:
    """How candidates are made: the engine's prompt, and what is looked for in what it says.

    `calls` says whether the answer is a call from the start, may turn into one, or is only text.
    """

    name: str
    prompt: Prompt
    tokenizer: TextTokenizer
    stop: tuple[str, ...] = ()
    functions: tuple[Function, ...] = ()
    calls: Literal["never", "maybe", "always"] = "never"
    parallel: bool = True


class Candidate:
    """Candidate `index` of an answer as it is made; `prompt` is what the engine is to go on with.

    `take` gives the events of each thing that was made. Where it sets `again`, the sequence is to
    be ended and `prompt` started anew.
    """

    def __init__(self, plan: Plan, index: int) -> None:
        seed = plan.prompt.sampling.seed
        seeded = None if seed is None else seed + index
        sampling = replace(plan.prompt.sampling, seed=seeded)
        self.index = index
        self.prompt = replace(plan.prompt, sampling=sampling)
        self.over = False
        self.again = False
        self.output_tokens = 0
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
            raise _does_not_fit(self._plan.name, "the functions' parameters", error) from error
        yield Piece(self.index, calls=calls)
        yield End(self.index, "calls")


def _check(plan: Plan, text: str) -> None:
    """Raise Refusal where the engine let something through that was not to be said."""
    import jsonschema

    if plan.prompt.choices and text not in plan.prompt.choices:
        raise _does_not_fit(plan.name, "the choices", ValueError(f"it said {text!r}"))
    if plan.prompt.schema is None:
        return
    try:
        value: Json = json.loads(text)
        jsonschema.validate(value, plan.prompt.schema)
    except ValueError as error:
        raise _does_not_fit(plan.name, "the schema", error) from error
    except jsonschema.ValidationError as error:
        raise _does_not_fit(plan.name, "the schema", ValueError(error.message)) from error


def _does_not_fit(name: str, what: str, error: ValueError) -> Refusal:
    return Refusal(
        "internal",
        f"what {name!r} said does not fit {what}: {error}",
        hint="ask again, or with a simpler schema",
    )


def _failed(name: str, made: Made) -> Refusal:
    if made.finish == "cancelled":
        return Refusal("unavailable", f"{name!r} is being shut down", hint="ask again")
    return Refusal(
        "unavailable", f"{name!r} could not answer: {made.error}", hint="ask again, or for less"
    )


def total(values: Sequence[int | float | None]) -> float | None:
    """The sum of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None
