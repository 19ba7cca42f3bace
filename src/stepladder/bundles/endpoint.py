"""A bundle behind a server of its own on this machine, and how it is asked: by OpenAI's protocol.

For the comparison in `served.py`. The server is the one that callers get: the same app, the same
engine, a real port of the loopback address; only its database is thrown away.
"""

from __future__ import annotations

import http.client
import json
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..core import Input, Json, Message
from ..registry import need
from ..serve.citing import passage_at
from .served import Reply

__all__ = ["ask_endpoint", "serving"]

AT_ONCE = 8  # callers
ATTEMPTS = 5  # at a server that is busy
ANSWER_SECONDS = 600.0


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, str]]:
    """The address of a server that serves the bundle in `folder`, and the bundle's name there.

    Raises:
        MissingExtra: the packages of the server are not installed.
        StepladderError: it does not start; what loading the bundle raises.
    """
    need("fastapi", extra="serve", what="checking the served endpoint")
    from ..serve import Caller
    from ..serve.app import create_app
    from ..serve.running import answering
    from ..serve.server import open_server
    from ..serve.settings import ServeSettings

    with tempfile.TemporaryDirectory(prefix="stepladder-") as scratch:
        settings = ServeSettings(
            bundles=(folder,),
            port=0,
            database=f"sqlite:///{Path(scratch) / 'served.sqlite'}",
            keep_content=False,
            tuning=False,
        )
        with open_server(settings) as server, answering(create_app(server), server) as url:
            cards = server.models.list(Caller("check", "admin"))
            (name,) = [card.name for card in cards if card.kind == "bundle"]
            yield url, name


def ask_endpoint(
    url: str, model: str, *, tell: Callable[[int, int], None] = lambda done, of: None
) -> Callable[[Sequence[Input]], Iterator[tuple[int, Reply]]]:
    """Asks a server for each input's answer, several at a time; `tell` is told how many are done.

    A failed call is a reply with `error`.
    """

    def ask(inputs: Sequence[Input]) -> Iterator[tuple[int, Reply]]:
        with _Lines(url) as lines, ThreadPoolExecutor(AT_ONCE) as pool:
            asked = {
                pool.submit(_reply, lines, model, input): place
                for place, input in enumerate(inputs)
            }
            try:
                for done, future in enumerate(as_completed(asked), start=1):
                    tell(done, len(inputs))
                    yield asked[future], future.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    return ask


class _Lines:
    """A connection for each thread, all closed in the end."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url)
        self._here = threading.local()
        self._opened: list[http.client.HTTPConnection] = []

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *raised: object) -> None:
        for each in self._opened:
            each.close()

    def mine(self) -> http.client.HTTPConnection:
        """This thread's; it opens itself again after a failure."""
        if not hasattr(self._here, "connection"):
            self._here.connection = http.client.HTTPConnection(
                self._address.hostname or "", self._address.port, timeout=ANSWER_SECONDS
            )
            self._opened.append(self._here.connection)
        found: http.client.HTTPConnection = self._here.connection
        return found


def _reply(lines: _Lines, model: str, input: Input) -> Reply:
    """The reply of a server that may be busy for a while, with how long it took in all."""
    body = json.dumps({"model": model, "messages": _turns(input)}).encode()
    started = time.perf_counter()
    for attempt in range(ATTEMPTS):
        try:
            reply, wait = _call(lines.mine(), body)
        except (OSError, http.client.HTTPException) as error:
            lines.mine().close()
            reply, wait = Reply("", error=repr(error)), 1.0
        if wait is None:
            break
        if attempt + 1 < ATTEMPTS:
            time.sleep(wait)
    return replace(reply, seconds=time.perf_counter() - started)


def _call(connection: http.client.HTTPConnection, body: bytes) -> tuple[Reply, float | None]:
    """The reply, and how long to wait before asking again; None where there is no need to."""
    headers = {"content-type": "application/json", "x-request-id": secrets.token_hex(8)}
    connection.request("POST", "/openai/v1/chat/completions", body, headers)
    response = connection.getresponse()
    said = response.read().decode()
    if response.status == 429:
        return Reply("", error="busy"), float(response.headers.get("retry-after", "1"))
    if response.status != 200:
        return Reply("", error=f"{response.status}: {said[:500]}"), None
    message = json.loads(said)["choices"][0]["message"]
    parsed = response.headers.get("x-stepladder-failure") is None
    cited = tuple(passage_at(one["url_citation"]["url"]) for one in message.get("annotations", ()))
    text = message["content"] or ""
    return Reply(text, parsed, citations=cited, calls=_calls(message)), None


def _calls(message: Mapping[str, Any]) -> tuple[Json, ...]:
    told = [call["function"] for call in message.get("tool_calls") or ()]
    return tuple({"name": one["name"], "arguments": json.loads(one["arguments"])} for one in told)


def _turns(input: Json) -> list[dict[str, Any]]:
    """An input as a caller sends it: text, an object of its fields, or its own turns."""
    if isinstance(input, str):
        return [{"role": "user", "content": input}]
    if isinstance(input, Mapping):
        return [{"role": "user", "content": json.dumps(input, ensure_ascii=False)}]
    return [
        {"role": one.role, "content": one.content}
        if isinstance(one, Message)
        else {"role": one["role"], "content": one["content"]}
        for one in input
    ]
