"""Plain completions through the official SDK: one prompt or several, whole or streamed."""

from __future__ import annotations

from typing import Any

import httpx2 as httpx
import pytest
from openai import AsyncOpenAI, BadRequestError

from stepladder.fake_live import FakeEngine
from stepladder.serve.server import Server

pytestmark = pytest.mark.anyio


async def test_a_text_is_gone_on_with(sdk: AsyncOpenAI, engine: FakeEngine) -> None:
    answer = await sdk.completions.create(model="fake", prompt="abc", seed=3, temperature=0)
    assert [one.text for one in answer.choices] == ["abc"]
    assert answer.object == "text_completion"
    assert answer.id.startswith("cmpl-")
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 3
    (prompt,) = engine.seen
    assert prompt.max_output_tokens == 16
    assert prompt.sampling.seed == 3


async def test_the_prompt_is_repeated_where_that_is_asked(sdk: AsyncOpenAI) -> None:
    answer = await sdk.completions.create(model="fake", prompt="abc", echo=True, max_tokens=2)
    assert answer.choices[0].text == "abcab"
    stream = await sdk.completions.create(model="fake", prompt="abc", echo=True, stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == "abcabc"


async def test_several_prompts_keep_their_order_and_add_up(sdk: AsyncOpenAI) -> None:
    prompts = [f"text {number}" for number in range(20)]
    answer = await sdk.completions.create(model="fake", prompt=prompts, n=2)
    assert [one.index for one in answer.choices] == list(range(40))
    assert [one.text for one in answer.choices] == [one for one in prompts for _ in range(2)]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == sum(map(len, prompts))


async def test_several_prompts_are_streamed_side_by_side(sdk: AsyncOpenAI) -> None:
    stream = await sdk.completions.create(
        model="fake", prompt=["ab", "cde"], stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = [chunk async for chunk in stream]
    texts = {0: "", 1: ""}
    finishes: dict[int, list[str]] = {0: [], 1: []}
    for chunk in chunks:
        (choice,) = chunk.choices
        texts[choice.index] += choice.text
        finishes[choice.index] += [choice.finish_reason] if choice.finish_reason else []
    assert texts == {0: "ab", 1: "cde"}
    assert finishes == {0: ["stop"], 1: ["stop"]}
    assert last.usage is not None
    assert last.usage.prompt_tokens == 5


async def test_token_ids_are_the_text_they_stand_for(sdk: AsyncOpenAI) -> None:
    one = await sdk.completions.create(model="fake", prompt=[97, 98])
    assert one.choices[0].text == "ab"
    two = await sdk.completions.create(model="fake", prompt=[[97], [98, 99]])
    assert [choice.text for choice in two.choices] == ["a", "bc"]


@pytest.mark.parametrize("stream", [False, True])
async def test_log_probabilities_stand_beside_their_tokens(
    http: httpx.AsyncClient, stream: bool
) -> None:
    body = {"model": "fake", "prompt": "abc", "logprobs": 2, "stream": stream}
    response = await http.post("/v1/completions", json=body)
    if stream:
        assert '"text_offset":[2]' in response.text
        return
    told = response.json()["choices"][0]["logprobs"]
    assert told["tokens"] == ["a", "b", "c"]
    assert told["text_offset"] == [0, 1, 2]
    for token, logprob, top in zip(
        told["tokens"], told["token_logprobs"], told["top_logprobs"], strict=True
    ):
        assert len(top) == 2
        assert top[token] == logprob


async def test_one_refused_prompt_refuses_the_call(sdk: AsyncOpenAI, server: Server) -> None:
    with pytest.raises(BadRequestError) as told:
        await sdk.completions.create(model="fake", prompt=["short", "x" * 9000])
    assert told.value.code == "context_length_exceeded"
    assert server.limits.taken == 0


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": ["a", 5]}, "prompt[1]"),
        ({"prompt": [5, "a"]}, "prompt[1]"),
        ({"prompt": [[5], [-1]]}, "prompt[1][0]"),
        ({"prompt": [[]]}, "prompt[0]"),
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"echo": True, "logprobs": 1}, "echo"),
        ({"messages": []}, "messages"),
        ({"stream_options": {}}, "stream_options"),
    ],
)
def test_every_fault_is_told_by_its_field(call: Any, body: dict[str, Any], param: str) -> None:
    response = call.post("/v1/completions", {"model": "fake", "prompt": "x", **body})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
