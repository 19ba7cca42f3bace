"""From an `Ask` to its events: the one way to a served model, whichever protocol asks.

Stands between the protocols and the models with limits, budgets, metrics, traces and traffic.
Every call that gets here is recorded, the refused ones too. Nothing here knows a wire format.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anyio.to_thread import run_sync

from ..core import Call, Citation, Json
from . import (
    Ask,
    Caller,
    EmbedAsk,
    Embedded,
    End,
    Event,
    ModelCard,
    Refusal,
    ServedModel,
    Spoken,
    Totals,
)
from .calls import Recorded
from .log import LOGGER

if TYPE_CHECKING:
    from .server import Server

__all__ = ["Answer", "Candidate", "Whole", "answer", "embed", "model_for", "whole"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A whole answer: `finish` is "stop", "length" or "calls"."""

    text: str
    tokens: tuple[Spoken, ...]
    calls: tuple[Call, ...]
    finish: str
    citations: tuple[Citation, ...] = ()


@dataclass(frozen=True, slots=True)
class Whole:
    """All candidates of an answer, in order, and what they took."""

    candidates: tuple[Candidate, ...]
    totals: Totals


class Answer:
    """The events of an answer as they are made; closing it frees its place in the engine.

    `headers` go with the response; those about the whole answer are there once it is whole.
    Raises Refusal where the answer cannot be finished: in the middle too.
    """

    def __init__(self, call: Recorded, events: AsyncIterator[Event], deadline: float) -> None:
        self.id = call.id
        self.headers: dict[str, str] = {"x-request-id": call.id}
        self._call = call
        self._events = events
        self._first: Event | None = None
        self._reader: asyncio.Task[Any] | None = None
        self._late = False
        # one timer for the whole answer: a timeout around each event costs more than the event
        self._timer = asyncio.get_running_loop().call_at(deadline, self._expire)

    @property
    def card(self) -> ModelCard:
        """The model that answers."""
        assert self._call.card is not None
        return self._call.card

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> Event:
        if (event := self._first) is not None:
            self._first = None
            return event
        if self._call.over:
            raise StopAsyncIteration
        return await self._next()

    async def begin(self) -> None:
        """Wait for the first event, so that a refusal comes before anything was told."""
        self._first = await self._next()

    async def aclose(self) -> None:
        """End the answer early; nothing if it is over."""
        if not self._call.over:
            self._end(499, error="the caller went away")
            await _close(self._events)

    async def _next(self) -> Event:
        if self._late:  # the time was up while the caller was busy with what it had
            await _close(self._events)
            raise self._too_late()
        self._reader = asyncio.current_task()
        try:
            event = await anext(self._events)
        except Refusal as refusal:
            self._refuse(refusal)
            raise
        except asyncio.CancelledError as error:
            if self._late and self._reader is not None and not self._reader.uncancel():
                raise self._too_late() from error
            self._end(499, error="the caller went away")
            raise
        except StopAsyncIteration:
            raise self._broken("the model ended without saying what the answer took") from None
        except Exception as error:  # a bug of a model or a plugin is told as one, in any protocol
            raise self._broken("the model failed") from error
        finally:
            self._reader = None
        self._call.note(event)
        if isinstance(event, Totals):
            if event.ignored:
                self.headers["x-stepladder-ignored"] = ", ".join(event.ignored)
            if event.failure:
                self.headers["x-stepladder-failure"] = event.failure
            self._end(200)
            await _close(self._events)
        return event

    def _expire(self) -> None:
        self._late = True
        if self._reader is not None:
            self._reader.cancel()

    def _too_late(self) -> Refusal:
        seconds = self._call.server.settings.request_seconds
        refusal = Refusal(
            "timeout",
            f"the answer took longer than the server's {seconds:g} seconds",
            hint="ask for fewer output tokens, or stream the answer",
        )
        self._refuse(refusal)
        return refusal

    def _broken(self, message: str) -> Refusal:
        LOGGER.exception("%s: request %s", message, self.id)
        refusal = Refusal("internal", f"{message}; the server's log has it under {self.id}")
        self._refuse(refusal)
        return refusal

    def _refuse(self, refusal: Refusal) -> None:
        self._timer.cancel()
        self._call.refuse(refusal)

    def _end(self, status: int, *, error: str | None = None) -> None:
        self._timer.cancel()
        self._call.end(status, error=error)


async def answer(
    server: Server, caller: Caller, ask: Ask, *, protocol: str, route: str, body: Json
) -> Answer:
    """Begin to answer; the first event is there when this returns.

    `route` is the protocol's own name of the call, the same for all models; `body` is what is kept
    of the request where content is kept.

    Raises:
        Refusal: the model is unknown, cannot do it or is busy; the key's budget is spent.
    """  # fmt: skip
    call = Recorded(server, caller, ask.model, protocol, route, body)
    try:
        model = await _model(server, caller, ask.model)
        await call.admit(model.card, _made(model.card, ask))
    except BaseException as error:
        call.fail(error)
        raise
    loop = asyncio.get_running_loop()
    begun = Answer(call, model.generate(ask), loop.time() + server.settings.request_seconds)
    call.holds(begun)
    await begun.begin()
    return begun


async def whole(answer: Answer) -> Whole:
    """Wait for all of it; raises Refusal where it cannot be finished."""
    parts: dict[int, _Parts] = {}
    async for event in answer:
        if isinstance(event, Totals):
            ordered = sorted(parts)
            return Whole(tuple(parts[index].candidate() for index in ordered), event)
        found = parts.setdefault(event.index, _Parts([], [], []))
        if isinstance(event, End):
            found.finish, found.citations = event.finish, event.citations
        else:
            found.text.append(event.text)
            found.tokens.extend(event.tokens)
            found.calls.extend(event.calls)
    raise Refusal("internal", "the answer was over before it was read")


@dataclass(slots=True)
class _Parts:
    text: list[str]
    tokens: list[Spoken]
    calls: list[Call]
    finish: str = "stop"
    citations: tuple[Citation, ...] = ()

    def candidate(self) -> Candidate:
        text = "".join(self.text)
        return Candidate(text, (*self.tokens,), (*self.calls,), self.finish, self.citations)


async def embed(
    server: Server, caller: Caller, ask: EmbedAsk, *, protocol: str, route: str, body: Json
) -> Embedded:
    """The vectors of the texts.

    Raises:
        Refusal: as `answer`; unsupported by a model that does not embed.
    """
    call = Recorded(server, caller, ask.model, protocol, route, body)
    try:
        found: Any = await _model(server, caller, ask.model)
        if not hasattr(found, "embed"):
            raise Refusal(
                "unsupported",
                f"the model {ask.model!r} does not embed",
                hint=f"those that do: {_encoders(server, caller)}",
                param="model",
            )
        await call.admit(found.card, 1)
        async with asyncio.timeout(server.settings.request_seconds):
            embedded: Embedded = await found.embed(ask)
    except TimeoutError as error:
        late = Refusal("timeout", "embedding took longer than the server allows")
        call.refuse(late)
        raise late from error
    except BaseException as error:
        call.fail(error)
        raise
    call.embedded(sum(embedded.tokens))
    return embedded


def _made(card: ModelCard, ask: Ask) -> int:
    """How many answers are made: those of a bundle are one, told several times."""
    return 1 if card.kind == "bundle" else ask.n


def model_for(server: Server, caller: Caller, name: str) -> ServedModel:
    """The served model of that name; raises Refusal (not_found) where it is not the caller's."""
    model: ServedModel = server.models.get(name)
    owner = model.card.owner
    if owner is not None and caller.role != "admin" and owner != caller.id:
        raise Refusal("not_found", f"no model is called {name!r}", param="model")
    return model


async def _model(server: Server, caller: Caller, name: str) -> ServedModel:
    """As `model_for`; a tuned model, whose name is a number, is looked up beside the loop."""
    if server.models.resolve(name).isdigit():
        return await run_sync(model_for, server, caller, name)
    return model_for(server, caller, name)


def _encoders(server: Server, caller: Caller) -> str:
    cards = server.models.list(caller)
    return ", ".join(repr(card.name) for card in cards if card.kind == "encoder") or "none"


async def _close(events: AsyncIterator[Event]) -> None:
    close = getattr(events, "aclose", None)
    if close is not None:
        await close()
