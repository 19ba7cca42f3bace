"""Chats through the official SDK: whole, streamed, with calls, forms, log-probabilities, usage."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx2 as httpx
import pytest
from openai import (
    APIError,
    AsyncOpenAI,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    RateLimitError,
)

from stepladder.fake_live import FakeEngine, FakeTokenizer
from stepladder.models.live import Prompt
from stepladder.serve import Refusal
from stepladder.serve.server import Server

pytestmark = pytest.mark.anyio

HI: Any = [{"role": "user", "content": "hallo wörld"}]
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
TOOL: Any = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}


def saying(engine: FakeEngine, text: str) -> None:
    engine.reply = lambda prompt: FakeTokenizer().encode(text)


async def test_a_chat_is_answered_with_usage_that_adds_up(sdk: AsyncOpenAI) -> None:
    raw = await sdk.chat.completions.with_raw_response.create(model="fake", messages=HI)
    answer = raw.parse()
    (choice,) = answer.choices
    assert choice.message.content == "hallo wörld"
    assert (choice.message.role, choice.finish_reason) == ("assistant", "stop")
    assert answer.model == "fake"
    assert answer.system_fingerprint == "1"
    assert answer.id == f"chatcmpl-{raw.headers['x-request-id']}"
    usage = answer.usage
    assert usage is not None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == 0


async def test_an_alias_is_answered_under_its_own_name(sdk: AsyncOpenAI) -> None:
    answer = await sdk.chat.completions.create(model="gpt-5-mini", messages=HI)
    assert answer.model == "gpt-5-mini"


async def test_what_was_read_before_is_told_as_cached(sdk: AsyncOpenAI) -> None:
    long: Any = [{"role": "user", "content": "x" * 100}]
    await sdk.chat.completions.create(model="fake", messages=long)
    again = await sdk.chat.completions.create(model="fake", messages=long)
    assert again.usage is not None
    assert again.usage.prompt_tokens_details is not None
    cached = again.usage.prompt_tokens_details.cached_tokens
    assert cached is not None
    assert 0 < cached <= again.usage.prompt_tokens


async def test_how_tokens_are_drawn_reaches_the_engine(
    sdk: AsyncOpenAI, engine: FakeEngine
) -> None:
    await sdk.chat.completions.create(
        model="fake", messages=HI, n=2, seed=7, temperature=0.5, top_p=0.5, max_tokens=3,
        presence_penalty=1, frequency_penalty=-1, extra_body={"top_k": 4},
    )  # fmt: skip
    first, second = engine.seen
    assert (first.sampling.seed, second.sampling.seed) == (7, 8)
    drawn = first.sampling
    assert (drawn.temperature, drawn.top_p, drawn.top_k) == (0.5, 0.5, 4)
    assert (drawn.presence_penalty, drawn.frequency_penalty) == (1.0, -1.0)
    assert first.max_output_tokens == 3


async def test_n_candidates_and_where_they_end(sdk: AsyncOpenAI) -> None:
    answer = await sdk.chat.completions.create(model="fake", messages=HI, n=3, max_tokens=4)
    assert [one.index for one in answer.choices] == [0, 1, 2]
    assert {one.message.content for one in answer.choices} == {"hall"}
    assert {one.finish_reason for one in answer.choices} == {"length"}
    stopped = await sdk.chat.completions.create(model="fake", messages=HI, stop=["o w", "zz"])
    assert stopped.choices[0].message.content == "hall"
    assert stopped.choices[0].finish_reason == "stop"


async def test_log_probabilities_of_the_tokens_and_of_others(sdk: AsyncOpenAI) -> None:
    answer = await sdk.chat.completions.create(
        model="fake", messages=[{"role": "user", "content": "ü"}], logprobs=True, top_logprobs=2
    )
    told = answer.choices[0].logprobs
    assert told is not None
    assert told.content is not None
    assert bytes(byte for token in told.content for byte in token.bytes or ()) == "ü".encode()
    for token in told.content:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 2
        assert token.top_logprobs[0].logprob == token.logprob
        assert token.top_logprobs[0].logprob >= token.top_logprobs[1].logprob


@pytest.mark.parametrize("stream", [False, True])
async def test_a_schema_is_kept_to(sdk: AsyncOpenAI, engine: FakeEngine, stream: bool) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
    asked: Any = {"model": "fake", "messages": HI, "response_format": form}
    if stream:
        chunks = [one async for one in await sdk.chat.completions.create(stream=True, **asked)]
        text = "".join(one.choices[0].delta.content or "" for one in chunks)
    else:
        text = (await sdk.chat.completions.create(**asked)).choices[0].message.content or ""
    assert json.loads(text).keys() == {"a"}
    assert engine.seen[0].schema == SCHEMA


async def test_a_few_texts_are_kept_to(sdk: AsyncOpenAI, engine: FakeEngine) -> None:
    outputs = {"structured_outputs": {"choice": ["yes", "no"]}}
    answer = await sdk.chat.completions.create(model="fake", messages=HI, extra_body=outputs)
    assert answer.choices[0].message.content in ("yes", "no")
    assert engine.seen[0].choices == ("yes", "no")


async def test_a_call_and_its_result_go_round(sdk: AsyncOpenAI) -> None:
    answer = await sdk.chat.completions.create(
        model="fake", messages=HI, tools=[TOOL], tool_choice="required"
    )
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls or ()
    assert call.type == "function"
    assert call.function.name == "f"
    assert json.loads(call.function.arguments).keys() == {"a"}
    turns = [
        *HI,
        choice.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "done"},
        {"role": "user", "content": "and?"},
    ]
    again = await sdk.chat.completions.create(model="fake", messages=turns, tools=[TOOL])
    assert again.choices[0].message.content


async def test_a_streamed_call_comes_whole_with_its_id(sdk: AsyncOpenAI) -> None:
    stream = await sdk.chat.completions.create(
        model="fake", messages=HI, tools=[TOOL], tool_choice="required", stream=True
    )
    chunks = [chunk async for chunk in stream]
    calls = [call for one in chunks for call in one.choices[0].delta.tool_calls or ()]
    assert [(call.index, call.type) for call in calls] == [(0, "function")]
    assert calls[0].id
    assert calls[0].function is not None
    assert calls[0].function.name == "f"
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("stream", [False, True])
async def test_the_older_functions_are_answered_in_their_own_form(
    http: httpx.AsyncClient, stream: bool
) -> None:
    body = {
        "model": "fake", "messages": HI, "functions": [TOOL["function"]],
        "function_call": {"name": "f"}, "stream": stream,
    }  # fmt: skip
    response = await http.post("/v1/chat/completions", json=body)
    assert response.status_code == 200
    assert '"function_call":{"name":"f","arguments":' in response.text
    assert '"finish_reason":"function_call"' in response.text
    assert "tool_calls" not in response.text


async def test_a_stream_says_the_same_as_the_whole(sdk: AsyncOpenAI) -> None:
    asked: Any = {"model": "fake", "messages": HI, "n": 2, "logprobs": True, "top_logprobs": 1}
    whole = await sdk.chat.completions.create(**asked)
    stream = await sdk.chat.completions.create(
        stream=True, stream_options={"include_usage": True}, **asked
    )
    *chunks, last = [chunk async for chunk in stream]
    assert last.choices == []
    assert last.usage is not None
    assert whole.usage is not None
    assert last.usage.completion_tokens == whole.usage.completion_tokens
    assert {chunk.usage for chunk in chunks} == {None}
    for index in (0, 1):
        mine = [one.choices[0] for one in chunks if one.choices[0].index == index]
        assert mine[0].delta.role == "assistant"
        assert [one.delta.role for one in mine[1:]] == [None] * (len(mine) - 1)
        assert "".join(one.delta.content or "" for one in mine) == "hallo wörld"
        assert [one.finish_reason for one in mine[-2:]] == [None, "stop"]
        tokens = [token for one in mine if one.logprobs for token in one.logprobs.content or ()]
        told = whole.choices[index].logprobs
        assert told is not None
        assert [one.token for one in tokens] == [one.token for one in told.content or ()]
    assert len({chunk.id for chunk in [*chunks, last]}) == 1


async def test_without_being_asked_a_stream_tells_no_usage(sdk: AsyncOpenAI) -> None:
    stream = await sdk.chat.completions.create(model="fake", messages=HI, stream=True)
    chunks = [chunk async for chunk in stream]
    assert all(chunk.choices for chunk in chunks)
    assert {chunk.usage for chunk in chunks} == {None}


async def test_an_empty_answer_still_begins_and_ends(sdk: AsyncOpenAI, engine: FakeEngine) -> None:
    saying(engine, "")
    whole = await sdk.chat.completions.create(model="fake", messages=HI)
    assert whole.choices[0].message.content == ""
    stream = await sdk.chat.completions.create(model="fake", messages=HI, stream=True)
    chunks = [chunk.choices[0] async for chunk in stream]
    assert chunks[0].delta.role == "assistant"
    assert chunks[-1].finish_reason == "stop"


async def test_a_file_of_text_is_read_into_the_turn(sdk: AsyncOpenAI, engine: FakeEngine) -> None:
    file = await sdk.files.create(file=("note.txt", b"of the file"), purpose="user_data")
    content: Any = [
        {"type": "text", "text": "read: "},
        {"type": "file", "file": {"file_id": file.id}},
        {"type": "file", "file": {"filename": "b.md", "file_data": "IGFuZCBkYXRh"}},
        {"type": "file", "file": {"file_data": "data:text/plain;base64,IQ=="}},
    ]
    turns: Any = [{"role": "user", "content": content}]
    answer = await sdk.chat.completions.create(model="fake", messages=turns)
    assert answer.choices[0].message.content == "read: of the file and data!"


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}}, "url"),
        ({"type": "image_url", "image_url": {"url": "https://localhost/x.png"}}, "url"),
        ({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}, "url"),
        ({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}, "input_audio"),
        ({"type": "file", "file": {"file_data": "data:text/plain;base64,/w=="}}, "file_data"),
        ({"type": "file", "file": {"file_data": "data:text/plain;base64,?"}}, "file_data"),
        ({"type": "file", "file": {"filename": "a.pdf", "file_data": "AA=="}}, "file_data"),
        ({"type": "file", "file": {"file_id": "file-123"}}, "file_id"),
    ],
)
def test_what_no_model_here_can_read_is_refused_by_its_place(
    call: Any, part: dict[str, Any], param: str
) -> None:
    body = {"model": "fake", "messages": [{"role": "user", "content": [part]}]}
    response = call.post("/v1/chat/completions", body)
    assert response.status_code in (400, 403, 404)
    assert response.json()["error"]["param"].startswith("messages[0].content[0].")
    assert response.json()["error"]["param"].endswith(param)


async def test_what_is_wrong_is_told_with_the_field(sdk: AsyncOpenAI) -> None:
    with pytest.raises(BadRequestError) as told:
        await sdk.chat.completions.create(model="fake", messages=HI, temperature=9)
    assert (told.value.param, told.value.type) == ("temperature", "invalid_request_error")
    with pytest.raises(NotFoundError) as unknown:
        await sdk.chat.completions.create(model="nope", messages=HI)
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    assert "'fake'" in unknown.value.message or "fake" in unknown.value.message


async def test_a_prompt_that_is_too_long_has_openai_s_code(sdk: AsyncOpenAI) -> None:
    long: Any = [{"role": "user", "content": "x" * 9000}]
    with pytest.raises(BadRequestError) as told:
        await sdk.chat.completions.create(model="fake", messages=long)
    assert told.value.code == "context_length_exceeded"
    assert told.value.param == "messages"


async def test_a_spent_budget_has_openai_s_code(sdk: AsyncOpenAI, server: Server) -> None:
    async def spent(caller: Any) -> None:
        raise Refusal("rate_limited", "spent", retry_after_seconds=60.5, detail="budget")

    server.keyring.check_budget = spent  # type: ignore[method-assign]
    with pytest.raises(RateLimitError) as told:
        await sdk.chat.completions.create(model="fake", messages=HI)
    assert told.value.code == "insufficient_quota"
    assert told.value.response.headers["retry-after"] == "61"


async def test_a_wrong_key_has_openai_s_code(sdk: AsyncOpenAI, server: Server) -> None:
    server.keyring.closed = True
    with pytest.raises(AuthenticationError) as told:
        await sdk.chat.completions.create(model="fake", messages=HI)
    assert told.value.code == "invalid_api_key"


async def test_a_full_server_says_when_to_come_again(sdk: AsyncOpenAI, server: Server) -> None:
    server.limits.take(server.limits.places)
    with pytest.raises(RateLimitError) as told:
        await sdk.chat.completions.create(model="fake", messages=HI)
    assert int(told.value.response.headers["retry-after"]) >= 1
    server.limits.give_back(server.limits.places)


async def test_a_failure_in_the_middle_of_a_stream_is_an_event(
    sdk: AsyncOpenAI, server: Server
) -> None:
    model = server.models.get("fake")
    answering = model.generate

    async def breaking(ask: Any) -> Any:
        async for event in answering(ask):
            yield event
            raise RuntimeError("the engine is gone")

    model.generate = breaking
    stream = await sdk.chat.completions.create(model="fake", messages=HI, stream=True)
    await anext(stream)
    with pytest.raises(APIError) as told:
        _ = [chunk async for chunk in stream]
    assert told.value.type == "server_error"
    assert "the engine is gone" not in told.value.message


async def test_a_failure_of_the_engine_is_no_answer(sdk: AsyncOpenAI, engine: FakeEngine) -> None:
    def fail(prompt: Prompt) -> Sequence[int]:
        raise RuntimeError("broken")

    engine.reply = fail
    with pytest.raises(APIError) as told:
        await sdk.chat.completions.create(model="fake", messages=HI, stream=True)
    assert told.value.type == "server_error"


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b'"x"', b'{"model": NaN}', b'{"model": "\\ud800"}', b"\xff"]
)
def test_a_body_that_is_no_json_object_is_refused(call: Any, raw: bytes) -> None:
    for path in ("chat/completions", "completions", "embeddings", "batches", "fine_tuning/jobs"):
        response = call("POST", f"/v1/{path}", content=raw)
        assert response.status_code == 400
        assert response.json()["error"]["type"] == "invalid_request_error"


def test_a_path_that_is_not_there_is_told_as_openai_tells_it(call: Any) -> None:
    for method, path, status in (
        ("POST", "/v1/no_such_thing", 404),
        ("DELETE", "/v1/chat/completions", 405),
    ):
        response = call(method, path)
        assert response.status_code == status
        assert response.json()["error"].keys() == {"message", "type", "param", "code"}
