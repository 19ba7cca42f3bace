"""Reads what requests point at (`fileUri`, images), and nothing that they should not reach.

Only hosts on the list, only on the usual ports or those listed, and no address of this machine or
of an internal network: the address that was checked is the one that is connected to, so a name that
changes its answer in between gains nothing. No redirect is followed, no file of the disk is read.
"""

from __future__ import annotations

import binascii
import http.client
import ipaddress
import re
import socket
import ssl
import threading
from base64 import b64decode
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from anyio.to_thread import run_sync

from . import Refusal

__all__ = ["Fetcher", "is_public"]

Resolve = Callable[[str, int], Sequence[str]]

LONGEST_URI = 4096  # characters, of one that is no data: URI
PORTS = {"https": 443, "http": 80}
# what carries an IPv4 address within an IPv6 one, and could so lead to an internal network
WRAPPING = tuple(
    ipaddress.IPv6Network(network)
    for network in ("::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32",
                    "2002::/16")
)  # fmt: skip
PLAIN = re.compile(r"[!-~]+")
DATA = re.compile(r"data:([^,;]*)((?:;[^,;]*)*),(.*)", re.DOTALL)


def is_public(address: str) -> bool:
    """Whether an address is of the public internet, whatever notation hides it."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and any(parsed in each for each in WRAPPING):
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


@dataclass(frozen=True)
class Fetcher:
    """What may be read, and how long it may take.

    `hosts` are names, `*.name` for all below one, `name:port` for another port. Without any,
    nothing is fetched. `reachable` decides on addresses; only tests have another than `is_public`.
    """

    hosts: tuple[str, ...] = ()
    http: bool = False
    gs_folder: Path | None = None
    seconds: float = 20.0
    reachable: Callable[[str], bool] = is_public
    resolve: Resolve | None = None

    async def read(self, uri: str, *, most_bytes: int) -> tuple[bytes, str]:
        """The bytes at `uri` and their media type ("" where it is not told).

        Raises:
            Refusal: invalid, what may not be fetched or cannot be; too_large; timeout.
        """
        kind = uri.partition(":")[0].lower()
        if kind == "data":
            return _decoded(uri, most_bytes)
        if len(uri) > LONGEST_URI or not PLAIN.fullmatch(uri) or "\\" in uri:
            raise Refusal("invalid", "the URI is too long, or has characters that no URI has")
        if kind == "gs":
            return await run_sync(self._stored, uri, most_bytes)
        parts, port = self._allowed(uri)
        return await run_sync(self._fetched, parts, port, most_bytes)

    def _allowed(self, uri: str) -> tuple[SplitResult, int]:
        """The parts of a URI that may be fetched, as far as its spelling tells."""
        try:
            parts = urlsplit(uri)
            port = parts.port
        except ValueError as error:
            raise Refusal("invalid", f"the URI cannot be used: {error}") from error
        schemes = ("https", "http") if self.http else ("https",)
        if parts.scheme not in schemes:
            raise Refusal(
                "invalid",
                f"a URI that begins with {parts.scheme[:20]!r} is not fetched",
                hint=f"upload the file, or use: {', '.join(schemes)}",
            )
        if parts.username is not None or parts.password is not None or not parts.hostname:
            raise Refusal("invalid", "the URI has to name a host, without user or password")
        usual = PORTS[parts.scheme]
        if not self._listed(parts.hostname.rstrip("."), port or usual, usual):
            raise Refusal(
                "forbidden",
                f"nothing is fetched from {parts.hostname!r}",
                hint="upload the file, or have the host added to fetch_hosts in serve.toml",
            )
        return parts, port or usual

    def _listed(self, host: str, port: int, usual: int) -> bool:
        for entry in self.hosts:
            name, _, listed_port = entry.lower().partition(":")
            if port != (int(listed_port) if listed_port else usual):
                continue
            if host == name or (name.startswith("*.") and host.endswith(name[1:])):
                return True
        return False

    def _fetched(self, parts: SplitResult, port: int, most_bytes: int) -> tuple[bytes, str]:
        host = parts.hostname or ""
        connection = _Connection(host, port, self._address(host, port), parts.scheme == "https")
        connection.timeout = self.seconds
        # a timeout of each read would let a host go on for ever, a byte at a time
        timer = threading.Timer(self.seconds, connection.cut)
        timer.start()
        try:
            data, media_type = _get(connection, parts, most_bytes)
        except TimeoutError as error:
            raise self._slow(host) from error
        except (OSError, http.client.HTTPException) as error:
            if connection.late:
                raise self._slow(host) from error
            raise Refusal("invalid", f"nothing could be fetched from {host!r}") from error
        finally:
            timer.cancel()
            connection.close()
        if connection.late:  # what was cut off may look like the end
            raise self._slow(host)
        return data, media_type

    def _slow(self, host: str) -> Refusal:
        return Refusal("timeout", f"{host!r} took longer than {self.seconds:g} s")

    def _address(self, host: str, port: int) -> str:
        """The one address to connect to; every address of the host has to be allowed."""
        try:
            found = (self.resolve or _resolve)(host, port)
        except (OSError, UnicodeError) as error:
            raise Refusal("invalid", f"the host {host!r} is not known") from error
        if not found or not all(map(self.reachable, found)):
            raise Refusal(
                "forbidden",
                f"the host {host!r} is not on the public internet",
                hint="upload the file instead",
            )
        return found[0]

    def _stored(self, uri: str, most_bytes: int) -> tuple[bytes, str]:
        if self.gs_folder is None:
            raise Refusal(
                "invalid",
                "gs:// URIs are not served here",
                hint="upload the file, or set gs_folder in serve.toml",
            )
        root = self.gs_folder.resolve()
        path = (root / uri.removeprefix("gs://")).resolve()
        if not path.is_relative_to(root) or not path.is_file():
            raise Refusal("invalid", f"there is no object {uri!r}")
        if path.stat().st_size > most_bytes:
            raise _too_large(most_bytes)
        return path.read_bytes(), ""


class _Connection(http.client.HTTPConnection):
    """Speaks to `host`, but connects to the address that was checked."""

    def __init__(self, host: str, port: int, address: str, secure: bool) -> None:
        super().__init__(host, port)
        self.late = False
        self._address = address
        self._secure = secure
        self._socket: socket.socket | None = None

    def connect(self) -> None:
        sock = socket.create_connection((self._address, self.port), self.timeout)
        self._socket = self.sock = sock
        if self._secure:
            context = ssl.create_default_context()
            self._socket = self.sock = context.wrap_socket(sock, server_hostname=self.host)

    def cut(self) -> None:
        """End it, from another thread: whoever reads has waited long enough."""
        self.late = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def _get(connection: _Connection, parts: SplitResult, most_bytes: int) -> tuple[bytes, str]:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"accept-encoding": "identity", "user-agent": "stepladder"}
    connection.request("GET", target, headers=headers)
    with connection.getresponse() as response:
        if response.status != 200:
            raise Refusal(
                "invalid",
                f"{parts.hostname!r} answered {response.status} instead of 200",
                hint="redirects are not followed: give the final address",
            )
        data = response.read(most_bytes + 1)
        if len(data) > most_bytes:
            raise _too_large(most_bytes)
        typed = "content-type" in response.headers
        return data, response.headers.get_content_type() if typed else ""


def _decoded(uri: str, most_bytes: int) -> tuple[bytes, str]:
    match = DATA.fullmatch(uri)
    if match is None:
        raise Refusal("invalid", "the data: URI has no comma before its data")
    if len(match[3]) > 4 * most_bytes:
        raise _too_large(most_bytes)
    try:
        plain = unquote_to_bytes(match[3])
        data = b64decode(plain, validate=True) if match[2].endswith(";base64") else plain
    except binascii.Error as error:
        raise Refusal("invalid", f"the data: URI is not base64: {error}") from error
    if len(data) > most_bytes:
        raise _too_large(most_bytes)
    return data, match[1].lower()


def _too_large(most_bytes: int) -> Refusal:
    return Refusal("too_large", f"what the URI points at has more than {most_bytes} bytes")


def _resolve(host: str, port: int) -> Sequence[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]
