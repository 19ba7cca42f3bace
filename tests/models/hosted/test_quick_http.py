"""Plain calls by connections of our own are what the package's client would make of them."""

from __future__ import annotations

import gzip
import importlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.models.hosted.quick_http import quick_client

pytestmark = pytest.mark.network
PACKAGES = [pytest.importorskip("httpx2"), importlib.import_module("httpx")]
packages = pytest.mark.parametrize("package", PACKAGES, ids=["httpx2", "httpx"])

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
Talk = Callable[["Wire"], None]


@dataclass
class Wire:
    """One connection at the service's side."""

    connection: socket.socket
    seen: list[bytes]
    _read: bytes = b""

    def request(self) -> bytes | None:
        """The next request, head and body; None when there is none to come."""
        while b"\r\n\r\n" not in self._read:
            if not (more := self.connection.recv(65536)):
                return None
            self._read += more
        head, _, rest = self._read.partition(b"\r\n\r\n")
        length = int(next((x[15:] for x in head.lower().split(b"\r\n") if x[:15] == _LENGTH), 0))
        while len(rest) < length:
            rest += self.connection.recv(65536)
        self._read = rest[length:]
        self.seen.append(head + b"\r\n\r\n" + rest[:length])
        return self.seen[-1]

    def answer(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.connection.sendall(piece)


_LENGTH = b"content-length:"


@dataclass
class Service:
    """Speaks to each connection as it was told; what it saw, and on how many connections."""

    talk: Talk
    url: str = ""
    connections: int = 0
    ended: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    seen: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self.talk(Wire(connection, self.seen))
        self.ended.release()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive(), "a connection was left open"


@contextmanager
def serving(talk: Talk) -> Iterator[Service]:
    service = Service(talk)
    try:
        yield service
    finally:
        service.close()


def saying(*pieces: bytes) -> Talk:
    """Answers every request so, in these pieces."""

    def talk(wire: Wire) -> None:
        while wire.request() is not None:
            wire.answer(*pieces)

    return talk


def once(*pieces: bytes) -> Talk:
    """Answers one request so, and closes the connection."""

    def talk(wire: Wire) -> None:
        wire.request()
        wire.answer(*pieces)

    return talk


@contextmanager
def client(package: Any, **arguments: Any) -> Iterator[Any]:
    arguments = {"trust_env": False, "timeout": 20.0, **arguments}
    made = quick_client(package, encrypted=False, **arguments)
    try:
        yield made
    finally:
        made.close()


def post(made: Any, url: str, content: str = "{}", **headers: str) -> Any:
    """A call as the SDKs make it."""
    request = made.build_request(method="POST", url=url, content=content, headers=headers)
    return made.send(request, stream=False)


# --- answers --------------------------------------------------------------------------------------

_TOKEN = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=8)
_NAMES = _TOKEN.map("x-{}".format)
_VALUES = st.text("abc ,;=\"'/09", max_size=12).map(str.strip)


@st.composite
def answers(draw: st.DrawFn) -> tuple[list[bytes], bool]:
    """A whole answer, in pieces, and whether it lasts until the connection is closed."""
    status = draw(st.sampled_from([200, 200, 200, 201, 204, 302, 304, 400, 404, 429, 500, 503]))
    headers = draw(st.lists(st.tuples(_NAMES, _VALUES), max_size=4))
    without = status in (204, 304)  # which have no body
    body = b"" if without else draw(st.binary(max_size=200))
    if not without and draw(st.booleans()):
        body = gzip.compress(body, mtime=0)
        headers.append(("content-encoding", "gzip"))
    framing = "none" if without else draw(st.sampled_from(["length", "chunked", "close"]))
    if framing == "length":
        headers.append(("Content-Length", str(len(body))))
    elif framing == "chunked":
        headers.append(("Transfer-Encoding", "chunked"))
        cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=3)))
        bounds = zip([0, *cuts], [*cuts, len(body)], strict=True)
        chunks = [body[start:end] for start, end in bounds if end > start]
        body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    early = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n"]))
    early += draw(st.sampled_from([b"", b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"]))
    lines = [f"HTTP/1.1 {status} Told", *(f"{name}: {value}" for name, value in headers)]
    told = early + "\r\n".join(lines).encode() + b"\r\n\r\n" + body
    cuts = sorted(draw(st.lists(st.integers(0, len(told)), max_size=4)))
    pieces = [told[a:b] for a, b in zip([0, *cuts], [*cuts, len(told)], strict=True) if b > a]
    return pieces, framing == "close"


@packages
def test_every_answer_is_read_as_the_package_reads_it(package: Any) -> None:
    told: list[tuple[list[bytes], bool]] = []

    def talk(wire: Wire) -> None:
        while wire.request() is not None:
            pieces, lasts = told[-1]
            wire.answer(*pieces)
            if lasts:
                return

    with serving(talk) as service, client(package) as ours, package.Client(trust_env=False) as its:

        @settings(max_examples=150)
        @given(answers())
        def same(answer: tuple[list[bytes], bool]) -> None:
            told.append(answer)
            mine, wanted = post(ours, service.url), its.post(service.url, content="{}")
            assert (mine.status_code, mine.content) == (wanted.status_code, wanted.content)
            assert mine.headers.multi_items() == wanted.headers.multi_items()

        same()


@packages
@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhal",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"\x16\x03\x01 no HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
    ],
)
def test_an_answer_that_breaks_off_is_an_error_and_the_call_is_not_made_again(
    package: Any, told: bytes
) -> None:
    with serving(once(told)) as service, client(package) as made:
        with pytest.raises(package.RemoteProtocolError):
            post(made, service.url)
        assert (len(service.seen), service.connections) == (1, 1)


@packages
def test_an_answer_that_cannot_be_unpacked_is_the_packages_error(package: Any) -> None:
    told = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope"
    with (
        serving(saying(told)) as service,
        client(package) as made,
        pytest.raises(package.DecodingError),
    ):
        post(made, service.url)


@packages
def test_a_service_that_falls_silent_is_given_up(package: Any) -> None:
    over = threading.Event()

    def talk(wire: Wire) -> None:
        wire.request()
        wire.answer(OK[:20])
        over.wait(20)

    with serving(talk) as service, client(package) as made:
        request = made.build_request("POST", service.url, content="", headers={}, timeout=0.05)
        with pytest.raises(package.ReadTimeout):
            made.send(request)
        over.set()


@packages
def test_where_nobody_listens_nothing_was_reached(package: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    with client(package) as made, pytest.raises(package.ConnectError):
        post(made, url)


# --- what is sent ---------------------------------------------------------------------------------


GIVEN = {"User-Agent": "an-sdk", "x-goog-api-key": "k", "Content-Type": "text/x"}


@packages
@pytest.mark.parametrize(
    "how",
    [
        {"content": '{"text": "grüße"}', "headers": GIVEN, "timeout": 7.0},
        {"content": b"\xff", "headers": list(GIVEN.items()), "timeout": None},
        {"content": "x", "headers": [("a", "1"), ("A", "2"), ("accept", "y")], "params": None},
        {"content": b"", "headers": {"a": "1"}, "files": None},
        {"content": None},
        {"content": "x", "headers": {"content-length": "1"}},
        {"content": "x", "headers": {"Transfer-Encoding": "chunked"}},
        {"content": "x", "headers": {"Host": "another"}, "params": {"a": "1"}},
        {"json": {"a": 1}},
    ],
    ids=lambda how: " ".join(how),
)
def test_a_request_is_the_packages_own(package: Any, how: dict[str, Any]) -> None:
    url = "http://127.0.0.1:1/v1/models/m:generateContent?alt=json"
    with client(package) as made, package.Client(trust_env=False, timeout=20) as its:
        for added in ({}, {}, {"x-later": "1"}):  # what is remembered of the first is not it
            for one in (made, its):
                one.headers.update(added)
            mine, wanted = (one.build_request("POST", url, **how) for one in (made, its))
            assert (mine.method, mine.url, mine.content) == ("POST", wanted.url, wanted.content)
            assert mine.headers.multi_items() == wanted.headers.multi_items()
            assert mine.extensions == wanted.extensions


@packages
def test_a_password_in_the_address_is_shown_to_the_service(package: Any) -> None:
    with serving(saying(OK)) as service, client(package) as made:
        assert post(made, service.url.replace("://", "://user:word@") + "/a", "x").text == "ok"
    assert b"authorization: basic dxnlcjp3b3jk" in service.seen[0].lower()


@packages
def test_what_arrives_is_what_was_asked(package: Any) -> None:
    with serving(saying(OK)) as service, client(package) as made:
        path = "/v1/models/a%20b:generate?x=1"
        assert post(made, service.url + path, "grüße", **{"X-Key": "1"}).text == "ok"
        made.send(made.build_request("GET", f"{service.url}/jobs"))
    head, _, body = service.seen[0].partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert head.startswith(b"POST /v1/models/a%20b:generate?x=1 HTTP/1.1\r\n")
    assert body == "grüße".encode()
    assert {b"x-key: 1", b"content-length: 7"} <= {*lines}
    assert sum(line.startswith(b"host:") for line in lines) == 1
    assert service.seen[1].startswith(b"GET /jobs HTTP/1.1\r\n")


@packages
@pytest.mark.parametrize("value", ["a\r\nx-other: b", "a\nb", "a\rb"])
def test_a_header_of_several_lines_is_not_sent(package: Any, value: str) -> None:
    with serving(saying(OK)) as service, client(package) as made:
        with pytest.raises(package.LocalProtocolError):
            post(made, service.url, key=value)
        assert service.seen == []


@packages
def test_hooks_see_each_call(package: Any) -> None:
    seen: list[str] = []
    hooks = {"request": [lambda request: seen.append(str(request.url))]}
    with serving(saying(OK)) as service, client(package, event_hooks=hooks) as made:
        post(made, f"{service.url}/x")
        assert seen == [f"{service.url}/x"]


@packages
def test_redirects_are_followed_only_where_the_client_was_told_to(package: Any) -> None:
    def talk(wire: Wire) -> None:
        while (asked := wire.request()) is not None:
            away = b"HTTP/1.1 307 Away\r\nlocation: /there\r\ncontent-length: 0\r\n\r\n"
            wire.answer(OK if b"/there " in asked else away)

    with serving(talk) as service:
        with client(package, follow_redirects=False) as made:
            assert post(made, service.url).status_code == 307
        with client(package, follow_redirects=True) as made:
            assert post(made, service.url).text == "ok"


# --- connections ----------------------------------------------------------------------------------


@packages
def test_one_connection_serves_calls_that_follow_one_another(package: Any) -> None:
    with serving(saying(OK)) as service, client(package) as made:
        for _ in range(5):
            assert post(made, service.url).text == "ok"
        assert service.connections == 1


@packages
@pytest.mark.parametrize(
    "told",
    [
        OK,  # and the connection is closed although nothing said so
        OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"),
        OK.replace(b"1.1", b"1.0", 1),
        b"HTTP/1.1 200 OK\r\n\r\nok",
    ],
)
def test_what_the_service_closed_is_not_used_again(package: Any, told: bytes) -> None:
    with serving(once(told)) as service, client(package) as made:
        for _ in range(3):
            assert post(made, service.url).text == "ok"
            assert service.ended.acquire(timeout=20)  # the service has closed
        assert (len(service.seen), service.connections) == (3, 3)


@packages
def test_an_answer_that_nobody_asked_for_is_given_to_nobody(package: Any) -> None:
    stray = OK.replace(b"ok", b"no")

    def talk(wire: Wire) -> None:
        while wire.request() is not None:
            wire.answer(OK + stray)

    with serving(talk) as service, client(package) as made:
        assert [post(made, service.url).text for _ in range(3)] == ["ok"] * 3
        assert service.connections == 3


@packages
def test_each_of_many_calls_at_once_gets_its_own_answer(package: Any) -> None:
    def talk(wire: Wire) -> None:
        while (asked := wire.request()) is not None:
            body = asked.partition(b"\r\n\r\n")[2]
            wire.answer(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))

    texts = [f"text {number} {'x' * (37 * number % 2000)}" for number in range(400)]
    with (
        serving(talk) as service,
        client(package) as made,
        ThreadPoolExecutor(16) as pool,
    ):
        assert [one.text for one in pool.map(lambda x: post(made, service.url, x), texts)] == texts
        assert service.connections <= 16


@packages
def test_closing_ends_the_connections(package: Any) -> None:
    with serving(saying(OK)) as service, client(package) as made:
        post(made, service.url)
        made.close()
        assert service.ended.acquire(timeout=20)


@packages
def test_a_call_under_way_when_the_client_is_closed_is_answered_and_leaves_nothing(
    package: Any,
) -> None:
    asked, closed = threading.Event(), threading.Event()

    def talk(wire: Wire) -> None:
        while wire.request() is not None:
            asked.set()
            closed.wait(20)
            wire.answer(OK)

    with serving(talk) as service, client(package) as made, ThreadPoolExecutor(1) as pool:
        call = pool.submit(post, made, service.url)
        assert asked.wait(20)
        made.connections.close()
        closed.set()
        assert call.result(20).text == "ok"
        assert service.ended.acquire(timeout=20)


# --- all else goes the package's own way ----------------------------------------------------------


@packages
def test_a_stream_comes_as_it_is_sent(package: Any) -> None:
    more = threading.Event()

    def talk(wire: Wire) -> None:
        wire.request()
        wire.answer(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        more.wait(20)
        wire.answer(b"3\r\ntwo\r\n0\r\n\r\n")

    with serving(talk) as service, client(package) as made:
        request = made.build_request("POST", service.url, content="{}", headers={})
        answer = made.send(request, stream=True)
        pieces = answer.iter_bytes()
        assert next(pieces) == b"one"
        more.set()
        assert [*pieces] == [b"two"]


@packages
def test_an_upload_that_is_read_as_it_goes_is_whole(package: Any) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"one "
        yield b"two"

    with serving(once(OK)) as service, client(package) as made:
        headers = {"content-length": "7"}
        assert made.post(service.url, content=pieces(), headers=headers).text == "ok"
        assert service.seen[0].endswith(b"\r\n\r\none two")


@packages
@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_gone_through(
    package: Any, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with serving(saying(OK)) as proxy:
        monkeypatch.setenv(variable, proxy.url)
        with client(package, trust_env=True) as made:
            assert post(made, "http://service.example/x").text == "ok"
        assert proxy.seen[0].startswith(b"POST http://service.example/x HTTP/1.1\r\n")
