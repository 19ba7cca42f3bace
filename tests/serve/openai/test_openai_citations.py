"""What an answer from documents cites, in OpenAI's own place for it, whole and streamed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import AsyncOpenAI
from serving import FixedModels, fake_card

from stepladder.core import Citation, Usage
from stepladder.serve import Ask, End, Event, Piece, Totals
from stepladder.serve.citing import passage_at
from stepladder.serve.server import Server

pytestmark = pytest.mark.anyio
CITED = (
    Citation("hand book#2", "rules/hand book.pdf", "Pay day is the last.", "Hand book"),
    Citation("b#0", "b.md", "Leave."),
)
HI: Any = [{"role": "user", "content": "when is pay day?"}]


class Cites:
    """Answers with the same words and citations."""

    card = fake_card()

    async def generate(self, ask: Ask) -> AsyncIterator[Event]:
        yield Piece(0, "The last ")
        yield Piece(0, "day.")
        yield End(0, "stop", CITED)
        yield Totals(Usage("fake", 3, 4))

    async def count_tokens(self, ask: Ask) -> int:
        return 3


@pytest.fixture(autouse=True)
def _citing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "models", FixedModels({"fake": Cites()}, None))  # type: ignore[dict-item]


async def test_a_message_is_annotated_with_the_passages(sdk: AsyncOpenAI) -> None:
    answer = await sdk.chat.completions.create(model="fake", messages=HI)
    (choice,) = answer.choices
    assert choice.message.annotations is not None
    first, second = (one.url_citation for one in choice.message.annotations)
    text = choice.message.content or ""
    assert (first.start_index, text[first.end_index]) == (0, ".")
    assert first.title == "Hand book"
    assert first.url == "rules/hand%20book.pdf#hand%20book%232"
    assert [passage_at(one.url) for one in (first, second)] == ["hand book#2", "b#0"]


async def test_a_stream_has_no_place_for_them(sdk: AsyncOpenAI) -> None:
    """The document allows no further field in a delta; the client's fixture holds us to it."""
    stream = await sdk.chat.completions.create(model="fake", messages=HI, stream=True)
    told = [chunk.choices[0].delta async for chunk in stream if chunk.choices]
    assert "".join(one.content or "" for one in told) == "The last day."
    assert all("annotations" not in one.model_dump() for one in told)
