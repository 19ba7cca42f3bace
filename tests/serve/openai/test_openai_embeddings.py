"""Embeddings through the official SDK, as numbers and as base64."""

from __future__ import annotations

from typing import Any

import httpx2 as httpx
import pytest
from openai import AsyncOpenAI

pytestmark = pytest.mark.anyio


async def test_vectors_come_in_the_texts_order(sdk: AsyncOpenAI) -> None:
    texts = ["a e i o", "aa", "ooo"]
    answer = await sdk.embeddings.create(model="fake-encoder", input=texts)
    assert [one.index for one in answer.data] == [0, 1, 2]
    assert [one.embedding for one in answer.data] == [
        [1.0, 1.0, 1.0, 1.0], [2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 3.0]
    ]  # fmt: skip
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 6


async def test_both_encodings_say_the_same(http: httpx.AsyncClient, sdk: AsyncOpenAI) -> None:
    told = await http.post(
        "/v1/embeddings",
        json={"model": "fake-encoder", "input": "aei", "encoding_format": "float"},
    )
    plain = told.json()["data"][0]["embedding"]
    assert plain == [1.0, 1.0, 1.0, 0.0]
    packed = await sdk.embeddings.create(model="fake-encoder", input="aei")  # asks for base64
    assert packed.data[0].embedding == plain


async def test_fewer_dimensions(sdk: AsyncOpenAI) -> None:
    answer = await sdk.embeddings.create(model="fake-encoder", input="a", dimensions=2)
    assert answer.data[0].embedding == [1.0, 0.0]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": []}, "input"),
        ({"input": {"a": 1}}, "input"),
        ({"input": [1, 2]}, "input"),  # an encoder that takes text only
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "size": 2}, "size"),
        ({"input": "a", "model": "fake"}, "model"),
    ],
)
def test_every_fault_is_told_by_its_field(call: Any, body: dict[str, Any], param: str) -> None:
    response = call.post("/v1/embeddings", {"model": "fake-encoder", **body})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


def test_a_text_longer_than_the_model_reads_is_refused_as_at_the_service(call: Any) -> None:
    response = call.post("/v1/embeddings", {"model": "fake-encoder", "input": ["a", "a " * 101]})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"
