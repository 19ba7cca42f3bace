"""A server on a real port: who goes away frees the place, and what was begun is finished."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import httpx2 as httpx
import pytest
from self_signed import self_signed
from serving import RunningServer

from stepladder.errors import StepladderError
from stepladder.fake_live import FakeEngine
from stepladder.serve.app import create_app
from stepladder.serve.running import HEAD_SECONDS, Running, listen
from stepladder.serve.server import Server
from stepladder.serve.settings import ServeSettings, is_loopback

pytestmark = pytest.mark.network

CHAT = {"model": "fake", "messages": [{"role": "user", "content": "word " * 200}]}


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    """One that takes ten seconds for an answer of 1,000 bytes."""
    engine = FakeEngine(tokens_per_second=100.0)
    yield engine
    engine.close()


def until(true: Callable[[], bool]) -> None:
    """Wait for what happens on another thread, for at most ten seconds."""
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end, "it does not come true"
        time.sleep(0.005)


def connect(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), 10)


def send(url: str, body: object) -> socket.socket:
    data = json.dumps(body).encode()
    connection = connect(url)
    connection.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(data) + data
    )
    return connection


@pytest.mark.parametrize("stream", [True, False])
def test_a_caller_who_goes_away_frees_the_place(
    running_server: RunningServer, stream: bool
) -> None:
    connection = send(running_server.url, {**CHAT, "stream": stream})
    engine, limits = running_server.engine, running_server.server.limits
    if stream:
        assert b"200 OK" in connection.recv(100)
    until(lambda: engine.load().running == 1)
    connection.close()
    until(lambda: engine.load().running + engine.load().waiting == 0 and limits.taken == 0)


def test_what_is_sent_in_chunks_is_bounded_too(running_server: RunningServer) -> None:
    server = running_server.server
    server.settings = replace(server.settings, request_bytes=2048)
    with closing(connect(running_server.url)) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            b"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for _ in range(3):
            connection.sendall(b"400\r\n" + b" " * 1024 + b"\r\n")
        with connection.makefile("rb") as reading:
            answer = reading.read()  # the server closes: what is left of the body is not wanted
    assert b" 413 " in answer.splitlines()[0]
    assert b"2048 bytes" in answer


def test_a_length_over_the_limit_is_refused_unread(running_server: RunningServer) -> None:
    server = running_server.server
    server.settings = replace(server.settings, request_bytes=2048)
    with closing(connect(running_server.url)) as connection:
        connection.sendall(
            b"POST /v1beta/models/fake:generateContent HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            b"content-length: 2049\r\n\r\n"
        )
        with connection.makefile("rb") as reading:
            answer = reading.read()
    assert b" 413 " in answer.splitlines()[0]
    assert b'"code":413' in answer


def test_a_body_that_says_its_length_twice_is_refused(running_server: RunningServer) -> None:
    with closing(connect(running_server.url)) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 3\r\n"
            b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n"
        )
        with connection.makefile("rb") as reading:
            assert b" 400 " in reading.readline()


def test_a_body_that_does_not_come_is_not_waited_for(running_server: RunningServer) -> None:
    server = running_server.server
    server.settings = replace(server.settings, request_seconds=0.1)
    with closing(connect(running_server.url)) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\n\r\n{"
        )
        assert b" 504 " in connection.recv(4096).splitlines()[0]


def test_time_that_is_up_in_a_stream_is_told_in_it(running_server: RunningServer) -> None:
    server = running_server.server
    server.settings = replace(server.settings, request_seconds=0.1)
    with httpx.Client(base_url=running_server.url) as client:
        openai = client.post("/v1/chat/completions", json={**CHAT, "stream": True}).text
        gemini = client.post(
            "/v1beta/models/fake:streamGenerateContent?alt=sse",
            json={"contents": [{"role": "user", "parts": [{"text": "word " * 200}]}]},
        ).text
    assert '"error"' in openai.strip().splitlines()[-1]
    assert "[DONE]" not in openai
    assert '"status":"DEADLINE_EXCEEDED"' in gemini.strip().splitlines()[-1].replace(" ", "")
    until(lambda: running_server.engine.load().running == 0)


def test_what_was_begun_is_finished_and_no_more_is_taken(server: Server) -> None:
    listening = listen(server.settings)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    ready = threading.Event()
    running = Running(create_app(server), server, on_ready=ready.set)
    thread = threading.Thread(target=running.answer_on, args=(listening,))
    thread.start()
    assert ready.wait(10)
    short = {"model": "fake", "messages": [{"role": "user", "content": "x" * 40}]}
    answers: list[int] = []
    caller = threading.Thread(
        target=lambda: answers.append(
            httpx.post(f"{url}/v1/chat/completions", json=short, timeout=10).status_code
        )
    )
    caller.start()
    until(lambda: server.limits.taken == 1)
    running.stop()
    caller.join(10)
    thread.join(10)
    assert answers == [200]
    assert not thread.is_alive()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz")


def test_who_never_ends_the_head_of_a_request_is_hung_up_on(
    engine: FakeEngine, server: Server
) -> None:
    ready = threading.Event()
    running = Running(create_app(server), server, on_ready=ready.set)
    with closing(listen(server.settings)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread = threading.Thread(target=running.answer_on, args=(listening,))
        thread.start()
        assert ready.wait(10)
        streaming = send(url, {**CHAT, "stream": True})
        until(lambda: engine.load().running == 1)
        with closing(connect(url)) as slow, closing(streaming):
            slow.sendall(b"GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\n")
            until(lambda: len(running.server_state.connections) == 2)
            assert running._loop is not None
            for later in (0.0, HEAD_SECONDS - 1, HEAD_SECONDS):
                now = time.monotonic() + 1e6 + later
                running._loop.call_soon_threadsafe(running.hang_up_on_silent, now)
            with suppress(ConnectionError):
                assert not slow.recv(100)
            assert len(running.server_state.connections) == 1, "an answer under way goes on"
        running.stop()
        thread.join(10)
    assert not thread.is_alive()


def test_a_taken_port_is_told_with_the_cure() -> None:
    with (
        closing(listen(ServeSettings(port=0))) as taken,
        pytest.raises(StepladderError) as told,
    ):
        listen(ServeSettings(port=taken.getsockname()[1]))
    assert "--port" in told.value.hint


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("[::1]", True), ("127.8.8.8", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("example.com", False), ("", False)],
)  # fmt: skip
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


class TestTls:
    """The same server, by https."""

    @pytest.fixture
    def serve_settings(self, serve_settings: ServeSettings, tmp_path: Path) -> ServeSettings:
        pem, key = self_signed(tmp_path)
        return replace(serve_settings, tls_certificate=pem, tls_key=key)

    def test_it_speaks_tls_and_nothing_else(self, running_server: RunningServer) -> None:
        port = running_server.url.rpartition(":")[2]
        context = ssl.create_default_context(
            cafile=str(running_server.server.settings.tls_certificate)
        )
        with httpx.Client(verify=context) as client:
            assert client.get(f"https://localhost:{port}/healthz").text == "ok\n"
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://localhost:{port}/healthz")
