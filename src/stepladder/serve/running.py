"""A server on a port: from listening until the last answer is out.

The first SIGTERM or Ctrl-C stops accepting and finishes what was started, within the settings'
`shutdown_seconds`; the second ends it at once.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from ..errors import StepladderError
from .log import LOGGER
from .settings import ServeSettings

if TYPE_CHECKING:
    from .server import Server

__all__ = ["Running", "answering", "listen", "raise_open_files"]

BACKLOG = 2048
HEAD_SECONDS = 30.0  # in which the head of a request has to come, after the one before it
LOOK_EVERY = 5.0  # seconds
START_SECONDS = 120.0


def raise_open_files() -> None:
    """Let this process hold as many connections as it may; many systems begin with 1,024 files."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # "unlimited" is more than some systems take
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def listen(settings: ServeSettings) -> socket.socket:
    """The socket that the server will answer on; port 0 takes one that is free.

    Raises:
        StepladderError: the port is taken, or the address is not of this machine.
    """
    host, port = settings.host, settings.port
    try:
        flags = socket.AI_PASSIVE
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=flags)
        family, _, _, _, address = found[0]
        # asyncio sets TCP_NODELAY only on sockets that say they are TCP; without it, an answer of
        # two writes waits 40 ms for the caller's delayed acknowledgement
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise _cannot_listen(host, port, error) from error
    listening.setblocking(False)
    return listening


def _cannot_listen(host: str, port: int, error: OSError) -> StepladderError:
    taken = error.errno == errno.EADDRINUSE
    return StepladderError(
        f"cannot listen on {host}:{port}: {error.strerror or error}",
        hint="another program has this port: give another one with --port"
        if taken
        else "give an address of this machine with --host",
    )


class Running(uvicorn.Server):
    """Answers on a socket until it is told to stop; `on_ready` is called once it does."""

    def __init__(
        self, app: Any, server: Server, *, on_ready: Callable[[], None] = lambda: None
    ) -> None:
        settings = server.settings
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                http="h11",  # not whichever parser happens to be installed: this one is tested
                timeout_graceful_shutdown=_whole(settings.shutdown_seconds),
                **_tls(settings),
            )
        )
        self._server = server
        self._on_ready = on_ready
        self._loop: asyncio.AbstractEventLoop | None = None
        self._background: list[asyncio.Task[None]] = []
        self._silent: dict[Any, tuple[Any, float]] = {}  # connections, since when

    def stop(self) -> None:
        """Take no more calls, and end once those under way are answered."""
        self._server.limits.stopping = True
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        running = (*self._server.background, self._look_for_silent)
        self._background = [asyncio.create_task(run()) for run in running]
        for task in self._background:
            task.add_done_callback(_complain)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for task in self._background:
            task.cancel()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self.force_exit = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._cut)
        self.stop()

    async def _look_for_silent(self) -> None:
        while True:
            self.hang_up_on_silent(asyncio.get_running_loop().time())
            await asyncio.sleep(LOOK_EVERY)

    def hang_up_on_silent(self, now: float) -> None:
        """Close connections that for long have been sending the head of a request, or nothing.

        They cost a caller next to nothing, and the server one of its file descriptors each.
        """
        silent = {}
        for connection in [*self.server_state.connections]:
            call = getattr(connection, "cycle", None)
            if call is not None and not call.response_complete:
                continue
            last, since = self._silent.get(connection, (call, now))
            if last is not call:  # there was a request since the last look
                since = now
            if now - since >= HEAD_SECONDS and connection.transport is not None:
                connection.transport.abort()
            else:
                silent[connection] = (call, since)
        self._silent = silent

    def _cut(self) -> None:
        """End all connections; from Python 3.12 on, closing a server waits for them."""
        for connection in [*self.server_state.connections]:
            if connection.transport is not None:
                connection.transport.abort()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As the base's, but a signal that was obeyed is not raised again at the end."""
        self._captured_signals.clear()
        with super().capture_signals():
            yield

    def answer_on(self, listening: socket.socket) -> None:
        """Answer until stopped; blocks."""
        asyncio.run(self.serve(sockets=[listening]))


@contextmanager
def answering(app: Any, server: Server) -> Iterator[str]:
    """The address of a server that answers in a thread of its own until the context is left.

    Raises StepladderError where it does not start.
    """
    listening = listen(server.settings)
    ready = threading.Event()
    running = Running(app, server, on_ready=ready.set)
    thread = threading.Thread(
        target=running.answer_on, args=(listening,), name="server", daemon=True
    )
    thread.start()
    try:
        if not ready.wait(START_SECONDS):
            raise StepladderError("the server did not start", hint="its log says why")
        host, port = listening.getsockname()[:2]
        yield f"http://{host}:{port}"
    finally:
        running.stop()
        thread.join()


def _complain(task: asyncio.Task[None]) -> None:
    """What runs beside the answers has no caller to tell of its failure."""
    if not task.cancelled() and (error := task.exception()) is not None:
        LOGGER.error("work in the background ended", exc_info=error)


def _whole(seconds: float) -> int:
    return max(1, round(seconds))


def _tls(settings: ServeSettings) -> dict[str, Any]:
    if settings.tls_certificate is None:
        return {}
    key = str(settings.tls_key) if settings.tls_key is not None else None
    return {"ssl_certfile": str(settings.tls_certificate), "ssl_keyfile": key}
