"""What is fetched for requests, and above all what is not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stepladder.serve import Refusal
from stepladder.serve.fetch import Fetcher, is_public

pytestmark = pytest.mark.anyio
MOST = 1000


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "198.18.0.1", "192.0.2.1", "224.0.0.1", "240.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1",
        "ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::7f00:1", "2002:7f00:1::1",
        "2001:0:7f00:1::", "localhost", "", "0x7f.1", "2130706433",
    ],
)  # fmt: skip
def test_addresses_that_are_not_connected_to(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111"])
def test_addresses_of_the_public_internet(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "uri",
    [
        "file:///etc/passwd", "FILE:///etc/passwd", "/etc/passwd", "etc/passwd", "",
        "ftp://files.test/a", "gopher://files.test/", "http://files.test/a", "javascript:alert(1)",
        "https://", "https:///a", "https://user:word@files.test/a", "https://user@files.test/",
        "https://files.test\\@evil.test/", "https://files.test/a b", "https://files.test/\r\nx: y",
        "https://files.test:99999/", "https://[::1/", "https://files.test:8443/a",
        "https://files.test:22/", "https://evil.test/", "https://files.test.evil.test/",
        "https://evil.test/?files.test", "https://evil.test#files.test", "https://xfiles.test/",
        "https://files.test@evil.test/", "gs://bucket/name", "https://\uff46iles.test/",
        "https://files.test/" + "a" * 5000,
    ],
)  # fmt: skip
async def test_uris_that_are_refused_before_anything_is_looked_up(uri: str) -> None:
    def never(host: str, port: int) -> list[str]:
        raise AssertionError(f"{host} was looked up")

    with pytest.raises(Refusal) as refused:
        await Fetcher(hosts=("files.test",), resolve=never).read(uri, most_bytes=MOST)
    assert refused.value.status in (400, 403)


async def test_without_a_list_nothing_is_fetched() -> None:
    with pytest.raises(Refusal, match="nothing is fetched from"):
        await Fetcher().read("https://example.com/a.png", most_bytes=MOST)


@pytest.mark.parametrize("found", [["10.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::ffff:10.0.0.1"], []])
async def test_a_listed_name_with_an_internal_address_is_refused(found: list[str]) -> None:
    fetch = Fetcher(hosts=("files.test",), resolve=lambda host, port: found)
    with pytest.raises(Refusal, match="not on the public internet"):
        await fetch.read("https://files.test/a", most_bytes=MOST)


@pytest.mark.parametrize(
    ("host", "entries", "listed"),
    [
        ("a.files.test", ("*.files.test",), True),
        ("files.test", ("*.files.test",), False),
        ("FILES.test", ("files.TEST",), True),
        ("files.test.", ("files.test",), True),
        ("xfiles.test", ("*files.test",), False),
    ],
)
async def test_lists_of_hosts(host: str, entries: tuple[str, ...], listed: bool) -> None:
    fetch = Fetcher(hosts=entries, resolve=lambda host, port: [])
    with pytest.raises(Refusal) as refused:
        await fetch.read(f"https://{host}/", most_bytes=MOST)
    assert ("public" in refused.value.message) is listed


async def test_data_uris() -> None:
    fetch = Fetcher()
    assert await fetch.read("data:image/png;base64,AAEC", most_bytes=3) == (b"\0\1\2", "image/png")
    assert await fetch.read("data:text/plain,a%20b", most_bytes=3) == (b"a b", "text/plain")
    assert await fetch.read("data:,x", most_bytes=3) == (b"x", "")
    for wrong in ("data:text/plain", "data:;base64,***"):
        with pytest.raises(Refusal) as refused:
            await fetch.read(wrong, most_bytes=3)
        assert refused.value.reason == "invalid"
    for large in ("data:,abcd", "data:;base64,AAAAAAAA", "data:," + "%20" * 100):
        with pytest.raises(Refusal) as refused:
            await fetch.read(large, most_bytes=3)
        assert refused.value.reason == "too_large"


async def test_cloud_storage_is_a_folder_and_nothing_outside_of_it(tmp_path: Path) -> None:
    (tmp_path / "gs" / "bucket").mkdir(parents=True)
    (tmp_path / "gs" / "bucket" / "a.txt").write_bytes(b"inside")
    (tmp_path / "secret").write_bytes(b"outside")
    (tmp_path / "gs" / "bucket" / "link").symlink_to(tmp_path / "secret")
    fetch = Fetcher(gs_folder=tmp_path / "gs")
    assert await fetch.read("gs://bucket/a.txt", most_bytes=MOST) == (b"inside", "")
    for uri in ("gs://../secret", "gs://bucket/../../secret", "gs://bucket/link", "gs://bucket",
                f"gs:/{tmp_path}/secret", f"gs://{tmp_path}/secret", "gs://"):  # fmt: skip
        with pytest.raises(Refusal):
            await fetch.read(uri, most_bytes=MOST)
    with pytest.raises(Refusal) as refused:
        await fetch.read("gs://bucket/a.txt", most_bytes=5)
    assert refused.value.reason == "too_large"


class _Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        pages = self.server.pages  # type: ignore[attr-defined]
        self.server.seen.append((self.path, self.headers["host"]))  # type: ignore[attr-defined]
        status, headers, body = pages.get(self.path, (404, {}, b""))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
            self.wfile.flush()
            if "hang" in self.path:
                self.server.over.wait(20)  # type: ignore[attr-defined]
        except OSError:
            pass  # the other side had enough

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def pages() -> Iterator[ThreadingHTTPServer]:
    """A web server of this machine, with pages by path."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    server.pages, server.seen, server.over = {}, [], threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.over.set()  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


def _fetcher(pages: ThreadingHTTPServer, asked: list[str], seconds: float = 10.0) -> Fetcher:
    """One that may connect to this machine: for `files.test` and the port of the pages."""

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    return Fetcher(
        hosts=(f"files.test:{pages.server_port}",),
        http=True,
        seconds=seconds,
        reachable=lambda address: address == "127.0.0.1",
        resolve=resolve,
    )


@pytest.mark.network
async def test_what_is_fetched_from_the_address_that_was_checked(
    pages: ThreadingHTTPServer,
) -> None:
    port, asked = pages.server_port, list[str]()
    pages.pages = {  # type: ignore[attr-defined]
        "/a?b=c": (200, {"content-type": "image/png; x=y"}, b"data"),
        "/long": (200, {}, b"x" * 2000),
        "/away": (302, {"location": f"http://files.test:{port}/a?b=c"}, b""),
    }
    fetch = _fetcher(pages, asked)
    url = f"http://files.test:{port}"
    assert await fetch.read(f"{url}/a?b=c", most_bytes=MOST) == (b"data", "image/png")
    assert asked == ["files.test"], "a name is looked up once"
    assert pages.seen == [("/a?b=c", f"files.test:{port}")]  # type: ignore[attr-defined]
    with pytest.raises(Refusal) as refused:
        await fetch.read(f"{url}/long", most_bytes=MOST)
    assert refused.value.reason == "too_large"
    with pytest.raises(Refusal, match="302"):
        await fetch.read(f"{url}/away", most_bytes=MOST)
    with pytest.raises(Refusal, match="404"):
        await fetch.read(f"{url}/none", most_bytes=MOST)


@pytest.mark.network
async def test_a_slow_host_is_not_waited_for(pages: ThreadingHTTPServer) -> None:
    pages.pages = {"/hang": (200, {"content-length": "9"}, b"x")}  # type: ignore[attr-defined]
    fetch = _fetcher(pages, [], seconds=0.2)
    with pytest.raises(Refusal) as refused:
        await fetch.read(f"http://files.test:{pages.server_port}/hang", most_bytes=MOST)
    assert refused.value.reason == "timeout"
