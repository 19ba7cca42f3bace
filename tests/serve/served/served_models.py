"""Served models over the fake engine, and what they say, for the tests of this folder."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from stepladder.core import Call, Message
from stepladder.fake_live import FakeEngine, FakeTokenizer
from stepladder.serve import Ask, End, Event, ModelCard, Piece, ServedModel, Totals
from stepladder.serve.served.local import LocalServed

__all__ = [
    "ask", "calls_of", "card", "ends_of", "events_of", "served", "text_of", "tokens_of",
    "totals_of", "until",
]  # fmt: skip


def card(name: str = "fake") -> ModelCard:
    return ModelCard(name, "base", datetime(2026, 1, 1, tzinfo=UTC))


def served(engine: FakeEngine, tokenizer: FakeTokenizer | None = None) -> LocalServed:
    return LocalServed(card(), engine, tokenizer or FakeTokenizer())


def ask(text: str = "hello", **fields: Any) -> Ask:
    return Ask("fake", (Message("user", text),), **fields)


def events_of(model: ServedModel, asked: Ask) -> list[Event]:
    async def run() -> list[Event]:
        return [event async for event in model.generate(asked)]

    return asyncio.run(run())


def text_of(events: Iterable[Event], index: int = 0) -> str:
    return "".join(one.text for one in events if isinstance(one, Piece) and one.index == index)


def tokens_of(events: Iterable[Event], index: int = 0) -> list[Any]:
    pieces = [one for one in events if isinstance(one, Piece) and one.index == index]
    return [token for piece in pieces for token in piece.tokens]


def calls_of(events: Iterable[Event]) -> list[Call]:
    return [call for one in events if isinstance(one, Piece) for call in one.calls]


def ends_of(events: Iterable[Event]) -> dict[int, str]:
    return {one.index: one.finish for one in events if isinstance(one, End)}


def totals_of(events: Sequence[Event]) -> Totals:
    assert isinstance(events[-1], Totals)
    return events[-1]


def until(happened: Callable[[], bool]) -> None:
    """Wait for another thread, ten seconds at most."""
    pause = threading.Event()
    for _ in range(10_000):
        if happened():
            return
        pause.wait(0.001)
    raise AssertionError("it did not happen")
