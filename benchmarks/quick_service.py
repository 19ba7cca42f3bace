"""The least of a service: it waits, and gives back what it was asked, as Gemini's API or OpenAI's.

For measuring a client on the machine that the service runs on as well: it computes for 0.05 ms a
call, where the service of the tests, which checks and journals all that it gets, needs 0.8 ms, and
its share of the cores would count as the client's. `python quick_service.py SECONDS` prints its
port and serves until it is ended.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from asyncio import Transport
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["serving"]

_END_OF_HEAD, _LENGTH = b"\r\n\r\n", b"content-length:"


@contextmanager
def serving(seconds: float) -> Iterator[str]:
    """The address of such a service, in a process of its own, that takes so long to answer."""
    command = [sys.executable, __file__, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


class _Connection(asyncio.Protocol):
    """Reads requests one after another, and answers each when its time has come."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(_END_OF_HEAD)) >= 0:
            start = end + len(_END_OF_HEAD)
            stop = start + _length(self._read[:end].lower())
            if len(self._read) < stop:
                return
            body, self._read = self._read[start:stop], self._read[stop:]
            loop = asyncio.get_running_loop()
            loop.call_later(self._seconds, self._transport.write, _answer(body))


def _length(head: bytes) -> int:
    place = head.find(_LENGTH)
    return int(head[place + len(_LENGTH) :].split(b"\r\n", 1)[0]) if place >= 0 else 0


def _answer(body: bytes) -> bytes:
    asked = json.loads(body)
    answer = _of_gemini(asked) if "contents" in asked else _of_openai(asked)
    text = json.dumps(answer).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(text) + text


def _of_gemini(asked: Any) -> Any:
    text = asked["contents"][-1]["parts"][0]["text"]
    content = {"role": "model", "parts": [{"text": text}]}
    usage = {"promptTokenCount": 30, "candidatesTokenCount": 6, "totalTokenCount": 36}
    return {
        "candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
        "usageMetadata": usage,
    }


def _of_openai(asked: Any) -> Any:
    message = {"role": "assistant", "content": asked["messages"][-1]["content"]}
    usage = {"prompt_tokens": 30, "completion_tokens": 6, "total_tokens": 36}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": asked["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage,
    }


async def _serve(seconds: float) -> None:
    # with its protocol named, asyncio sends small answers at once instead of waiting for more
    with socket.socket(proto=socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(256)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(seconds), sock=listening)
        print(listening.getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1])))
