"""Candidates side by side in an engine, followed from an event loop or from a thread.

What an engine's own thread makes is handed over here; what it means is for `candidate.py`.
"""

from __future__ import annotations

import asyncio
import queue
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from ...errors import ModelError
from ...models.live import LiveEngine, Made, Ticket
from .. import Event, Refusal
from .candidate import Candidate
from .leaving import Leaving

__all__ = ["Sequences", "follow", "follow_in_thread"]

_Box = list[Ticket]  # the ticket of a sequence, once it has one
_Put = Callable[[tuple[_Box, Made]], None]


@dataclass
class Sequences:
    """The sequences of candidates in an engine; `put` takes what is made, from any thread."""

    engine: LiveEngine
    put: _Put
    running: dict[Ticket, Candidate] = field(default_factory=dict)

    def start(self, candidate: Candidate) -> None:
        """Begin or go on with a candidate; raises Refusal when the engine is closed."""
        box: _Box = []
        try:
            ticket = self.engine.start(candidate.prompt, lambda made: self.put((box, made)))
        except (ModelError, RuntimeError) as error:
            raise Refusal("unavailable", f"the model is not running: {error}") from error
        box.append(ticket)
        self.running[ticket] = candidate

    def take(self, box: _Box, made: Made) -> Iterator[tuple[Candidate, Event]]:
        """The events of what was made; starts anew what is to go on otherwise."""
        (ticket,) = box
        if ticket not in self.running:
            return  # ended already: what was on its way is not part of the answer
        candidate = self.running[ticket]
        for event in candidate.take(made):
            yield candidate, event
        if candidate.over or candidate.again:
            del self.running[ticket]
            self.engine.cancel(ticket)
        if candidate.again:
            self.start(candidate)

    def drop(self, box: _Box) -> Candidate:
        """End one that failed."""
        self.engine.cancel(box[0])
        return self.running.pop(box[0])

    def end(self) -> None:
        """Free the places of those that still run."""
        for ticket in tuple(self.running):
            self.engine.cancel(ticket)


async def follow(
    engine: LiveEngine, candidates: Sequence[Candidate]
) -> AsyncGenerator[Event, None]:
    """The events of candidates as they are made, on this event loop.

    Whatever ends it early, a failure of one or the caller's leaving, ends all the sequences.
    """
    inbox = _Inbox()
    sequences = Sequences(engine, inbox.put)
    try:
        for candidate in candidates:
            sequences.start(candidate)
        while sequences.running:
            for box, made in await inbox.take():
                for _, event in sequences.take(box, made):
                    yield event
    finally:
        sequences.end()


def follow_in_thread(
    engine: LiveEngine, candidates: Sequence[Candidate], leaving: Leaving
) -> Generator[tuple[Candidate, Event | Refusal], None, None]:
    """The events of candidates as they are made, in this thread; a Refusal ends one candidate.

    All end when the caller leaves.
    """
    inbox: queue.SimpleQueue[tuple[_Box, Made]] = queue.SimpleQueue()
    sequences = Sequences(engine, inbox.put)
    try:
        for candidate in candidates:
            sequences.start(candidate)
        with leaving.ending(sequences.end):
            while sequences.running:
                box, made = inbox.get()
                try:
                    yield from sequences.take(box, made)
                except Refusal as refusal:
                    yield sequences.drop(box), refusal
    finally:
        sequences.end()


class _Inbox:
    """What an engine's thread makes, handed to the loop that made the inbox."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._made: deque[tuple[_Box, Made]] = deque()
        self._ready = asyncio.Event()
        self._told = False

    def put(self, made: tuple[_Box, Made]) -> None:
        """Called from any thread."""
        self._made.append(made)
        if not self._told:  # one call wakes the loop for all that comes until it looks
            self._told = True
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._ready.set)

    async def take(self) -> list[tuple[_Box, Made]]:
        """All that was made since the last time; waits for something."""
        while not self._made:
            await self._ready.wait()
            self._ready.clear()
            self._told = False
        taken = []
        while self._made:
            taken.append(self._made.popleft())
        return taken
