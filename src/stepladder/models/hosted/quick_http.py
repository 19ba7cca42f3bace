"""The kind of HTTP client that an SDK uses, quicker with plain calls.

The HTTP client of an SDK computes for as long as all the rest of a call, and Python computes for
one call at a time: that bounds the calls a second. A call whose body is at hand and whose answer
is wanted whole needs little of what such a client can do. Here it is written in one piece to a
connection that is kept open, and its answer is read by the parser of `httptools`. Failures are the
exceptions of the SDK's package, and no call is made again. All else goes the package's own way:
streams, uploads, a redirect that is to be followed, a password in the address, every call where the
environment names a proxy.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import urllib.request
from collections import deque
from functools import lru_cache
from typing import Any

import httptools

__all__ = ["Connections", "quick_client"]

_READ_BYTES = 65536
_OWN_WAY = {  # arguments that only the package obeys
    "auth", "base_url", "cert", "cookies", "default_encoding", "mounts", "params", "proxy",
    "transport",
}  # fmt: skip
_PLAIN = {"content", "headers"}  # what a call may come with to be plain, beside its timeout
_LENGTH = b"Content-Length"
_OF_A_BODY = {"content-length", "transfer-encoding", b"content-length", b"transfer-encoding"}

Package = Any  # httpx or httpx2, which are two modules of one form
_Pairs = tuple[tuple[Any, Any], ...]


def quick_client(package: Package, *, encrypted: bool = True, **arguments: Any) -> Any:
    """A `Client` of `package`, made with `arguments`, for an address that is https or is not.

    Safe to use from many threads, as that is. It keeps no cookies of plain calls.
    """
    trust = _trust(package) if encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client = _kind(package)(verify=trust, **arguments)
    proxied = arguments.get("trust_env", True) and urllib.request.getproxies()
    if not proxied and not _OWN_WAY & arguments.keys():
        client.connections = Connections(package, trust)
    return client


def _trust(package: Package) -> ssl.SSLContext:
    """Whose certificates are believed: those that the environment names, or the system's."""
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file or folder:
        return ssl.create_default_context(cafile=file, capath=folder)
    trust: ssl.SSLContext = package.create_ssl_context()
    return trust


@lru_cache
def _kind(package: Package) -> Any:
    read_url = lru_cache(1000)(package.URL)

    @lru_cache(100)
    def head(method: str, url: Any, ours: _Pairs, given: _Pairs) -> _Pairs:
        """The headers of a request with a body, all but the last: the length of the body."""
        headers = package.Headers(list(ours))
        headers.update(list(given))
        made = package.Request(method, url, headers=headers, content=b"some").headers.raw
        assert made[-1][0] == _LENGTH
        return tuple(made[:-1])

    class QuickClient(package.Client):  # type: ignore[misc]
        connections: Connections | None = None  # none: all goes the package's own way

        def build_request(
            self, method: str, url: Any, *, timeout: Any = package.USE_CLIENT_DEFAULT, **others: Any
        ) -> Any:
            said = {name: value for name, value in others.items() if value is not None}
            body, given = said.get("content", ""), _pairs(said.get("headers"))
            plain = isinstance(url, str) and url.startswith("http") and said.keys() <= _PLAIN
            if self.connections is None or not (plain and _is_whole(body, given)):
                return super().build_request(method, url, timeout=timeout, **others)
            if timeout is package.USE_CLIENT_DEFAULT:
                timeout = self.timeout
            url, content = read_url(url), body.encode() if isinstance(body, str) else bytes(body)
            headers = head(method, url, tuple(self.headers.raw), given)
            request = package.Request(
                method,
                url,
                headers=[*headers, (_LENGTH, b"%d" % len(content))],
                stream=package.ByteStream(content),
                extensions={"timeout": package.Timeout(timeout).as_dict()},
            )
            request.read()
            return request

        def send(self, request: Any, *, stream: bool = False, **others: Any) -> Any:
            whole = isinstance(request.stream, package.ByteStream) and request.method != "HEAD"
            plain = whole and not (stream or others or request.url.userinfo)
            if self.connections is None or not plain:
                return super().send(request, stream=stream, **others)
            for hook in self.event_hooks["request"]:
                hook(request)
            answer = self.connections.send(request)
            follows = self.follow_redirects and answer.has_redirect_location
            return super().send(request) if follows else answer

        def close(self) -> None:
            super().close()
            if self.connections is not None:
                self.connections.close()

    return QuickClient


def _pairs(headers: Any) -> _Pairs | None:
    """None of what is no plain dictionary or list."""
    if isinstance(headers, dict):
        return tuple(headers.items())
    return tuple(headers) if isinstance(headers, list) else None


def _is_whole(body: Any, headers: _Pairs | None) -> bool:
    """Whether a body is at hand, and its length is for the package to say."""
    if headers is None:
        return False
    told = {name.lower() for name, _ in headers}
    return isinstance(body, str | bytes) and bool(body) and not told & _OF_A_BODY


class _Answer:
    """An answer as far as it has come; the methods are what httptools calls as it reads."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.status = 0  # until the headers are there
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []
        self.whole = False
        self.leaves_open = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        if self.status < 200:  # a word before the answer
            self.status = 0
            self.headers.clear()
        else:
            self.whole = True
            self.leaves_open = self.parser.should_keep_alive()

    def on_message_begin(self) -> None:
        if self.whole:  # nothing of it gets into the first
            raise ValueError("a second answer, which nobody asked for")

    @property
    def lasts_until_closed(self) -> bool:
        """Whether nothing but the end of the connection says where the answer ends."""
        told = {name.lower() for name, _ in self.headers}
        return self.status > 0 and not told & {b"content-length", b"transfer-encoding"}


class Connections:
    """Connections that are kept open, each for one call at a time. Thread-safe.

    As many as there are calls at once: how many those are is decided elsewhere.
    """

    def __init__(self, package: Package, trust: ssl.SSLContext) -> None:
        self._package = package
        self._trust = trust
        self._free: dict[tuple[str, str, int], deque[socket.socket]] = {}
        self._closed = False

    def send(self, request: Any) -> Any:
        """The `Response` to `request`. Raises what the package raises when a call fails."""
        url, seconds = request.url, request.extensions.get("timeout", {})
        message = self._message(request)
        place = url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)
        free = self._free.setdefault(place, deque())
        connection = _open_one(free) or self._connect(*place, seconds.get("connect"))
        try:
            self._write(connection, message, seconds.get("write"))
            answer = self._read(connection, seconds.get("read"))
        except BaseException:
            connection.close()
            raise
        if answer.leaves_open:
            free.append(connection)
        else:
            connection.close()
        if self._closed:
            self.close()
        body = self._package.ByteStream(b"".join(answer.body))
        response = self._package.Response(
            answer.status, headers=answer.headers, stream=body, request=request
        )
        if not any(b"charset" in value.lower() for _, value in answer.headers):
            response.encoding = "utf-8"  # the package would take an e-mail apart to find as much
        response.read()
        return response

    def close(self) -> None:
        """Close what is kept open. A call under way closes its connection when it ends."""
        self._closed = True
        for free in list(self._free.values()):
            while free:
                free.pop().close()

    def _message(self, request: Any) -> bytes:
        lines = [b"%s %s HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
        lines += [b"%s: %s" % header for header in request.headers.raw]
        head = b"\r\n".join(lines)
        if not head.count(b"\r") == head.count(b"\n") == len(lines) - 1:
            raise self._package.LocalProtocolError("a header of the call has several lines")
        return b"%s\r\n\r\n%s" % (head, request.content)

    def _connect(self, scheme: str, host: str, port: int, seconds: float | None) -> socket.socket:
        connection: socket.socket | None = None
        try:
            connection = socket.create_connection((host, port), seconds)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if scheme == "https":
                connection = self._trust.wrap_socket(connection, server_hostname=host)
            return connection
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, TimeoutError):
                raise self._package.ConnectTimeout(str(error)) from error
            if isinstance(error, OSError):
                raise self._package.ConnectError(str(error)) from error
            raise

    def _write(self, connection: socket.socket, message: bytes, seconds: float | None) -> None:
        try:
            _limit(connection, seconds)
            connection.sendall(message)
        except TimeoutError as error:
            raise self._package.WriteTimeout(str(error)) from error
        except OSError as error:
            raise self._package.WriteError(str(error)) from error

    def _read(self, connection: socket.socket, seconds: float | None) -> _Answer:
        """`seconds` is the longest silence."""
        answer = _Answer()
        try:
            _limit(connection, seconds)
            while not answer.whole:
                if received := connection.recv(_READ_BYTES):
                    answer.parser.feed_data(received)
                elif answer.lasts_until_closed:
                    break
                else:
                    told = "the service closed the connection before its answer was whole"
                    raise self._package.RemoteProtocolError(told)
        except TimeoutError as error:
            raise self._package.ReadTimeout(str(error)) from error
        except OSError as error:
            raise self._package.ReadError(str(error)) from error
        except httptools.HttpParserError as error:
            if not answer.whole:
                raise self._package.RemoteProtocolError(f"no HTTP: {error}") from error
            answer.leaves_open = False  # what came after it is not of use to anybody
        finally:
            del answer.parser  # which knows the answer: a cycle for the collector
        return answer


def _limit(connection: socket.socket, seconds: float | None) -> None:
    """Let what follows take so long. To set the same again would hand the interpreter over."""
    if connection.gettimeout() != seconds:
        connection.settimeout(seconds)


def _open_one(free: deque[socket.socket]) -> socket.socket | None:
    """The connection that was used last, of those that are still open."""
    while True:
        try:
            connection = free.pop()
        except IndexError:
            return None
        if not _readable(connection):
            return connection
        connection.close()


def _readable(connection: socket.socket) -> bool:
    """Whether something came that nobody asked for: the end, or nothing that is of use."""
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([connection], [], [], 0)[0])
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
