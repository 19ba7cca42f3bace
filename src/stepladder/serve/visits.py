"""One HTTP request on its way through the server, and what is to be told of it at its end.

`app.py` begins and ends it; `answering.py` finds it without every route handing it on.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["VISIT", "Open", "Visit"]


class Open(Protocol):
    """What holds a place of the server until it is closed."""

    async def aclose(self) -> None:
        """Give the place back; nothing if it was."""
        ...


@dataclass(slots=True)
class Visit:
    """A request: `id` is told to the caller as x-request-id, and is the id of its record."""

    id: str
    protocol: str
    started: float  # by time.perf_counter
    key: str = ""
    model: str = ""
    route: str = ""
    error: str | None = None
    traceparent: str | None = None
    answering: int = 0  # answers under way, which end when the caller goes away
    recorded: bool = False
    open: list[Open] = field(default_factory=list)


VISIT: ContextVar[Visit | None] = ContextVar("stepladder_visit", default=None)
