"""The process that a live OpenVINO engine runs in, started by `live_openvino.py`.

A step of the engine keeps Python's lock from beginning to end; in the server's own process nothing
else could run meanwhile. A crash in the engine's native code also ends this process only. Says what
each step made, does what it is told between steps, and ends when the other end of its socket does.
"""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from ...errors import StepladderError
from .live_loop import LiveLoop
from .live_messages import Ended, Failed, News, Ready, Settings, Start

__all__ = ["main", "serve"]


def serve(connection: Any, loop: LiveLoop) -> None:
    """Run what comes over the connection until its other end is closed."""
    connection.send(Ready())
    told = 0
    while True:
        try:
            made = list(_read(connection, loop))
        except EOFError:
            return
        begun, failed = loop.admit()
        made += failed
        if begun or made or told != loop.running:
            told = loop.running
            connection.send(News(tuple(begun), tuple(made), told))
        made = loop.step()
        if made:
            told = loop.running
            connection.send(News((), tuple(made), told))


def _read(connection: Any, loop: LiveLoop) -> Iterator[Ended]:
    """Do what has been asked by now; with nothing else to do, wait until something is."""
    while connection.poll(loop.patience):
        asked = connection.recv()
        if isinstance(asked, Start):
            ended = loop.start(asked.ticket, asked.prompt, asked.arrived)
        else:
            ended = loop.cancel(asked.ticket)
        if ended is not None:
            yield ended
            if loop.idle:  # it has to be told before anything is waited for
                return


def main(open_loop: Callable[[Settings], LiveLoop] = LiveLoop) -> int:
    """Serve the connection whose file descriptor is the only argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to handle
    connection = Connection(int(sys.argv[1]))
    try:
        loop = open_loop(connection.recv())
    except StepladderError as error:
        connection.send(Failed(error.message, error.hint))
        return 1
    except RuntimeError as error:
        traceback.print_exc()
        connection.send(Failed(f"the engine cannot load this model: {error}", ""))
        return 1
    try:
        serve(connection, loop)
    except BrokenPipeError:  # the server is gone: nobody is left to be told
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
