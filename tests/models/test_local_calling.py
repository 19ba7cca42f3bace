"""Functions of a local model when it is measured: the same calls as when it is served."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stepladder.core import Call, Function, Message, Request
from stepladder.fake_live import FakeEngine, FakeTokenizer
from stepladder.models.local import LocalModel
from stepladder.models.local.functions import OPENING
from stepladder.models.local.openvino_engine import Generated
from stepladder.serve import Ask, ModelCard, Piece
from stepladder.serve.served.local import LocalServed

PARAMETERS = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
COUNT = Function("count", "counts", PARAMETERS)
ASKED = (Message("user", "how many?"),)
CALL = json.dumps([{"name": "count", "arguments": {"n": 3}}])


class Batch:
    """An engine for batches that says `text`, and under a schema `call`."""

    def __init__(self, text: str, call: str = CALL) -> None:
        self.text = text
        self.call = call
        self.asked: list[tuple[Sequence[int], Request]] = []

    def run(
        self, prompts: Sequence[Sequence[int]], requests: Sequence[Request]
    ) -> Iterator[tuple[int, Generated]]:
        for index, (prompt, request) in enumerate(zip(prompts, requests, strict=True)):
            self.asked.append((prompt, request))
            said = (self.text if request.schema is None else self.call).encode()
            ids = tuple(said[: request.max_output_tokens])
            finish = "stop" if len(ids) == len(said) else "length"
            yield index, Generated(ids, None, finish, 1.0, 0.5)


class Provider:
    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def engine(self, model: LocalModel) -> Any:
        return self.batch


def measured(batch: Batch) -> LocalModel:
    model = LocalModel("local:fake", Path(), Provider(batch))  # type: ignore[arg-type]
    model._tokenizer = FakeTokenizer()  # type: ignore[assignment]
    return model


def test_a_call_is_made_under_the_schema_and_costs_both_parts() -> None:
    batch = Batch(f"I count. {OPENING}nonsense")
    plain = Request(ASKED)
    answers = dict(measured(batch).generate([plain, Request(ASKED, functions=(COUNT,))]))
    assert answers[0].text == batch.text, "without functions nothing is a call"
    response = answers[1]
    assert (response.text, response.finish) == ("I count. ", "stop")
    assert response.calls == (Call("count", {"n": 3}, "call_0"),)
    opened = len(f"I count. {OPENING}")
    assert response.usage.output_tokens == opened + len(CALL) + 1
    assert (response.usage.seconds, response.usage.compute_seconds) == (2.0, 1.0)
    prompt, request = batch.asked[-1]
    assert FakeTokenizer().decode(prompt).endswith(OPENING)
    assert request.max_output_tokens == 256 - opened
    assert response.usage.input_tokens == len(prompt) - opened


def test_the_served_model_makes_the_same_of_it() -> None:
    def reply(prompt: Any) -> bytes:
        return (f"I count. {OPENING}nonsense" if prompt.schema is None else CALL).encode()

    engine = FakeEngine(reply)  # type: ignore[arg-type]
    card = ModelCard("fake", "base", datetime.now(UTC))
    model = LocalServed(card, engine, FakeTokenizer())

    async def serve() -> list[Any]:
        asked = Ask("fake", ASKED, max_output_tokens=256, functions=(COUNT,))
        return [event async for event in model.generate(asked)]

    events = asyncio.run(serve())
    engine.close()
    batch = Batch(f"I count. {OPENING}nonsense")
    ((_, response),) = measured(batch).generate([Request(ASKED, functions=(COUNT,))])
    assert [tuple(prompt.ids) for prompt in engine.seen] == [tuple(ids) for ids, _ in batch.asked]
    assert [prompt.schema for prompt in engine.seen] == [one.schema for _, one in batch.asked]
    pieces = [event for event in events if isinstance(event, Piece)]
    assert "".join(piece.text for piece in pieces) == response.text
    served = [(call.name, call.arguments) for piece in pieces for call in piece.calls]
    assert served == [(call.name, call.arguments) for call in response.calls]
    assert events[-1].usage.output_tokens == response.usage.output_tokens


@pytest.mark.parametrize(
    ("call", "room", "check"),
    [
        (CALL, 30, lambda answer: answer.finish == "length" and not answer.calls),
        ('[{"name": "count", "arguments": {"n": "x"}}]', 256, lambda a: "not of type" in a.error),
    ],
)
def test_half_a_call_or_a_wrong_one_is_none(
    call: str, room: int, check: Callable[[Any], bool]
) -> None:
    request = Request(ASKED, functions=(COUNT,), max_output_tokens=room)
    ((_, answer),) = measured(Batch(f"Well {OPENING}", call)).generate([request])
    assert check(answer)
    assert answer.text.startswith("Well ")
