"""The official client against the server on a port: what only shows on a real connection."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import Any

import pytest
from openai import APIStatusError, OpenAI

pytestmark = pytest.mark.network

HI: Any = [{"role": "user", "content": "hallo"}]
LONG: Any = [{"role": "user", "content": "x" * 1000}]


@pytest.fixture
def client(running_server: Any) -> Iterator[OpenAI]:
    url = f"{running_server.url}/v1"
    with OpenAI(api_key="sk-fake", base_url=url, max_retries=0, timeout=30) as client:
        yield client


def until(holds: Callable[[], bool]) -> None:
    """Wait for something that another thread does."""
    end = monotonic() + 10
    while not holds():
        assert monotonic() < end, "it takes too long"
        sleep(0.01)


def test_a_chat_over_a_connection(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="fake", messages=HI)
    assert answer.choices[0].message.content == "hallo"


def test_the_explicit_prefix_is_a_base_url_too(client: OpenAI, running_server: Any) -> None:
    prefixed = client.with_options(base_url=f"{running_server.url}/openai/v1")
    assert [one.id for one in prefixed.models.list()] == [
        "fake", "fake-encoder", "gemini-3.5-flash", "gpt-5-mini"
    ]  # fmt: skip


def test_pieces_come_as_they_are_made(client: OpenAI, running_server: Any) -> None:
    running_server.engine.tokens_per_second = 5.0
    stream = client.chat.completions.create(model="fake", messages=LONG, stream=True)
    first = next(one for one in stream if one.choices[0].delta.content)
    assert first.choices[0].delta.content
    assert running_server.engine.load().running == 1, "most of it is yet to be made"
    stream.close()


def test_a_caller_who_leaves_frees_its_place(client: OpenAI, running_server: Any) -> None:
    running_server.engine.tokens_per_second = 20.0
    stream = client.chat.completions.create(model="fake", messages=LONG, n=3, stream=True)
    next(stream)
    assert running_server.server.limits.taken == 3
    stream.close()
    until(lambda: running_server.server.limits.taken == 0)
    until(lambda: running_server.engine.load().running == 0)


def test_who_leaves_several_prompts_frees_all_places(client: OpenAI, running_server: Any) -> None:
    running_server.engine.tokens_per_second = 20.0
    prompts = ["x" * 500] * 4
    stream = client.completions.create(model="fake", prompt=prompts, max_tokens=500, stream=True)
    next(stream)
    stream.close()
    until(lambda: running_server.server.limits.taken == 0)
    until(lambda: running_server.engine.load().running == 0)


def test_many_at_once_are_each_answered_their_own(client: OpenAI) -> None:
    said: dict[int, str | None] = {}

    def ask(number: int) -> None:
        turns: Any = [{"role": "user", "content": f"number {number}"}]
        answer = client.chat.completions.create(model="fake", messages=turns)
        said[number] = answer.choices[0].message.content

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {number: f"number {number}" for number in range(24)}


def test_a_large_file_goes_up_and_comes_down(client: OpenAI) -> None:
    data = b"0123456789abcdef" * (1 << 18)  # 4 MiB
    file = client.files.create(file=("big.bin", data), purpose="user_data")
    assert file.bytes == len(data)
    assert client.files.content(file.id).read() == data


def test_a_file_beyond_the_limit_is_refused_with_a_word(
    client: OpenAI, running_server: Any
) -> None:
    object.__setattr__(running_server.server.settings, "file_bytes", 1 << 20)
    with pytest.raises(APIStatusError) as told:
        client.files.create(file=("big.bin", b"x" * (2 << 20)), purpose="user_data")
    assert told.value.status_code == 413
    assert told.value.code == "request_too_large"
