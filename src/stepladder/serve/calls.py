"""A call to a model from its arrival to its end: its place, its record, its metrics, its trace.

Whatever way it ends, it ends once. Content is noted only where the server keeps it.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..core import Json
from ..database import new_id
from ..database.records import Served
from ..errors import StoreError
from . import Caller, End, Event, ModelCard, Piece, Refusal, Totals
from .visits import VISIT, Open

if TYPE_CHECKING:
    from .server import Server

__all__ = ["Recorded"]


class Recorded:
    """A call under way; `end` or `refuse` is what makes its record."""

    def __init__(
        self, server: Server, caller: Caller, model: str, protocol: str, route: str, body: Json
    ) -> None:
        self.server = server
        self.card: ModelCard | None = None
        self.over = False
        self._visit = VISIT.get()
        self.id = (
            self._visit.id if self._visit is not None and not self._visit.recorded else new_id()
        )
        self._caller = caller
        self._model = model
        self._protocol = protocol
        self._route = route
        self._body = body if server.settings.keep_content else None
        self._at = datetime.now(UTC)
        self._started = time.perf_counter()
        self._first: float | None = None
        self._places = 0
        self._totals: Totals | None = None
        self._finish: str | None = None
        self._said: dict[int, list[Json]] = {}
        if self._visit is not None:
            self._visit.model = model
            self._visit.recorded = True
            self._visit.answering += 1
        self._span = server.tracer.begin(
            route, model, protocol, self._visit.traceparent if self._visit is not None else None
        )

    async def admit(self, card: ModelCard, candidates: int) -> None:
        """Take its places; raises Refusal when there are none, or no money."""
        self.card = card
        await self.server.keyring.check_budget(self._caller)
        self.server.limits.take(candidates)
        self._places = candidates

    def holds(self, opened: Open) -> None:
        """Close `opened` at the end of the request, whatever became of its reader."""
        if self._visit is not None:
            self._visit.open.append(opened)

    def note(self, event: Event) -> None:
        """Take from an event what the record will say."""
        if isinstance(event, Totals):
            self._totals = event
        elif isinstance(event, End):
            self._finish = self._finish or event.finish
        else:
            if self._first is None:
                self._first = time.perf_counter() - self._started
            if self.server.settings.keep_content:
                self._keep(event)

    def embedded(self, tokens: int) -> None:
        """The end of a call that embedded texts of so many tokens."""
        self._finish = "stop"
        self.end(200, input_tokens=tokens)

    def refuse(self, refusal: Refusal) -> None:
        """The end of a call that is not answered, or not to its end."""
        self.server.meters.refused.labels(refusal.reason).inc()
        self.end(refusal.status, error=refusal.message)

    def fail(self, error: BaseException) -> None:
        """The end of a call that something else than a model or a reader broke."""
        if isinstance(error, Refusal):
            self.refuse(error)
        elif isinstance(error, asyncio.CancelledError):
            self.end(499, error="the caller went away")
        else:
            self.end(503 if isinstance(error, StoreError) else 500, error=type(error).__name__)

    def end(
        self, status: int, *, error: str | None = None, input_tokens: int | None = None
    ) -> None:
        """Give the places back and write the record; nothing the second time."""
        if self.over:
            return
        self.over = True
        if self._places:
            self.server.limits.give_back(self._places)
        if self._visit is not None:
            self._visit.answering -= 1
            self._visit.error = error or self._visit.error
        record = self._record(status, error, input_tokens)
        if record.dollars is not None:
            self.server.keyring.spend(self._caller.id, record.dollars)
        self.server.meters.count(record, self.card)
        self.server.tracer.end(self._span, record)
        self.server.database.record(record)

    def _record(self, status: int, error: str | None, input_tokens: int | None) -> Served:
        usage = self._totals.usage if self._totals is not None else None
        return Served(
            id=self.id,
            at=self._at,
            key=self._caller.id,
            protocol=self._protocol,
            route=self._route,
            model=self.card.name if self.card is not None else self._model[:200],
            version=self.card.version if self.card is not None else "",
            status=status,
            seconds=time.perf_counter() - self._started,
            first_seconds=self._first,
            input_tokens=usage.input_tokens if usage is not None else input_tokens,
            output_tokens=usage.output_tokens if usage is not None else None,
            cached_tokens=usage.cached_tokens if usage is not None else None,
            dollars=self._dollars(),
            finish=self._finish,
            error=error,
            trace=self._span.trace,
            request=self._body,
            answer=[self._candidate(index) for index in sorted(self._said)] or None,
        )

    def _dollars(self) -> float | None:
        totals = self._totals
        if totals is None:
            return None
        if totals.dollars is not None:
            return totals.dollars
        return self.server.dollars(totals.calls or (totals.usage,))

    def _keep(self, piece: Piece) -> None:
        said = self._said.setdefault(piece.index, [])
        if piece.text:
            said.append(piece.text)
        said.extend({"name": one.name, "arguments": dict(one.arguments)} for one in piece.calls)

    def _candidate(self, index: int) -> Json:
        said = self._said[index]
        calls = [one for one in said if not isinstance(one, str)]
        text = "".join(one for one in said if isinstance(one, str))
        return {"text": text, "calls": calls} if calls else {"text": text}
