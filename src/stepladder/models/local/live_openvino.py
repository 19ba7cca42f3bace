"""A live engine over OpenVINO, in a process of its own (`live_worker.py`): the server's side of it.

Hands prompts over and gives back what was made. When the process dies, sequences that had begun end
with an error, a new process is started, and those that had not begun go on there.
"""

from __future__ import annotations

import itertools
import logging
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from ...errors import ModelError
from ..live import Load, Made, Prompt, Sink, Ticket
from . import built_folder, fingerprint
from .live_messages import Cancel, Failed, News, Settings, Start
from .tokenizer import LocalTokenizer

__all__ = ["OpenVINOLive", "open_live"]

_log = logging.getLogger(__name__)

_DEATHS = 3  # in a row without a sequence that ended well: then it is not tried again
_SECONDS_TO_END = 10.0  # a step or the loading of a model may be under way


def open_live(
    folder: Path, tokenizer: LocalTokenizer, *, exact: bool = False, most_running: int = 32
) -> OpenVINOLive:
    """A live engine for the model in a Hugging Face folder, loaded and ready.

    `exact` computes in float32, else in bfloat16 where this CPU has units for it, which is twice as
    fast. At most `most_running` sequences run side by side; others wait. Raises ModelError when the
    model cannot be loaded.
    """
    settings = Settings(
        folder=folder,
        engine=built_folder(folder, fingerprint(folder, exact=exact)),
        eos_id=tokenizer.eos_id,
        context_tokens=tokenizer.context_tokens,
        exact=exact,
        most_running=most_running,
    )
    return OpenVINOLive(settings)


@dataclass(slots=True)
class _Open:
    """A sequence that is not over."""

    prompt: Prompt
    sink: Sink
    arrived: float
    begun: bool = False
    cancelled: bool = False


class _Worker:
    """One process and the connection to it. Writing is left to a thread: `send` never blocks."""

    def __init__(self, settings: Settings) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "stepladder.models.local.live_worker", str(number)],
                pass_fds=[number],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C in the terminal is for the server alone
            )
        self.connection = Connection(os.dup(self._socket.fileno()))
        self._unsent: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="engine-writer", daemon=True)
        self._writer.start()
        self.send(settings)

    def send(self, message: Any) -> None:
        """Send it as soon as the process reads; lost if the process is dead."""
        self._unsent.put(message)

    def await_ready(self) -> None:
        """Wait until the model is loaded. Raises ModelError when it cannot be."""
        try:
            answer = self.connection.recv()
        except (EOFError, OSError):
            raise ModelError(
                f"the engine's process ended while it loaded the model ({self.end()})",
                hint="what it said is on the error output; is there memory for the model?",
            ) from None
        if isinstance(answer, Failed):
            self.end()
            raise ModelError(answer.message, hint=answer.hint)

    def hang_up(self) -> None:
        """Close the connection under whoever reads from it, here and there."""
        with suppress(OSError):  # the process may have closed it before
            self._socket.shutdown(socket.SHUT_RDWR)

    def end(self) -> str:
        """Let the process end, free what belongs to it, and tell how it ended."""
        self.hang_up()
        self._unsent.put(None)
        self._writer.join()
        self.connection.close()
        self._socket.close()
        try:
            code = self.process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return f"exit code {code}" if code >= 0 else f"signal {-code}"

    def _write(self) -> None:
        while (message := self._unsent.get()) is not None:
            try:
                self.connection.send(message)
            except OSError:
                return  # whoever reads from the process hears of its death


class OpenVINOLive:
    """A `LiveEngine`. Every sink is called from one thread of its own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.Condition()
        self._tickets = itertools.count(1)
        self._open: dict[Ticket, _Open] = {}
        self._running = 0
        self._closed = False
        self._deaths = 0
        worker = _Worker(settings)
        worker.await_ready()
        self._worker: _Worker | None = worker
        self._reader = threading.Thread(target=self._live, name="engine", daemon=True)
        self._reader.start()

    def start(self, prompt: Prompt, sink: Sink) -> Ticket:
        """Queue a sequence; returns at once. Raises RuntimeError after `close`."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the engine is closed")
            ticket = next(self._tickets)
            self._open[ticket] = one = _Open(prompt, sink, time.perf_counter())
            if self._worker is not None:
                self._worker.send(Start(ticket, prompt, one.arrived))
            self._lock.notify()
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """End a sequence early and free its place; nothing if it is over."""
        with self._lock:
            if ticket in self._open:
                self._open[ticket].cancelled = True
                if self._worker is not None:
                    self._worker.send(Cancel(ticket))

    @property
    def process(self) -> int | None:
        """The id of the process that has the model; None between two of them."""
        with self._lock:
            return None if self._worker is None else self._worker.process.pid

    def load(self) -> Load:
        """How busy it is now."""
        with self._lock:
            running = min(self._running, len(self._open))
            return Load(running, len(self._open) - running, self.settings.most_running)

    def close(self) -> None:
        """End what runs (finish "cancelled"), end the process, free the memory."""
        with self._lock:
            self._closed = True
            if self._worker is not None:
                self._worker.hang_up()
            self._lock.notify()
        if threading.current_thread() is not self._reader:
            self._reader.join()

    def _live(self) -> None:
        """Follow one process after the other until the engine is closed."""
        worker = self._worker
        while worker is not None:
            self._follow(worker)
            with self._lock:
                self._worker, self._running = None, 0
            how = worker.end()
            if not self._closed:
                self._bury(how)
            worker = self._next_worker()
        self._end_all("cancelled")

    def _follow(self, worker: _Worker) -> None:
        """Hand out what the process makes, until it is gone."""
        while True:
            try:
                news: News = worker.connection.recv()
            except (EOFError, OSError):
                return
            with self._lock:
                self._running = news.running
                for ticket in news.begun:
                    if ticket in self._open:
                        self._open[ticket].begun = True
            for ticket, made in news.made:
                self._hand_out(ticket, made)

    def _hand_out(self, ticket: Ticket, made: Made) -> None:
        with self._lock:
            one = self._open.get(ticket)
            if one is not None and made.finish is not None:
                del self._open[ticket]
            if made.finish in ("stop", "length"):
                self._deaths = 0
        if one is None:
            return
        try:
            one.sink(made)
        except Exception:  # one caller's mistake is not to stop the answers of all others
            _log.exception("a sink raised: its sequence is dropped")
            self.cancel(ticket)
            with self._lock:
                self._open.pop(ticket, None)

    def _bury(self, how: str) -> None:
        """End what was under way when the process died; after several deaths, everything."""
        self._deaths += 1
        _log.error("the engine's process ended by itself (%s)", how)
        message = f"the engine stopped while the sequence was under way ({how})"
        self._end_all("error", message, only_begun=self._deaths < _DEATHS)

    def _next_worker(self) -> _Worker | None:
        """A new process with all open sequences; None once the engine is closed."""
        while True:
            with self._lock:
                while self._deaths >= _DEATHS and not self._open and not self._closed:
                    self._lock.wait()  # it is tried again when somebody asks
                if self._closed:
                    return None
            worker = _Worker(self.settings)
            try:
                worker.await_ready()
            except ModelError as error:
                self._deaths = _DEATHS
                self._end_all("error", error.message)
                continue
            with self._lock:
                if not self._closed:
                    self._worker = worker
                    for ticket, one in self._open.items():
                        worker.send(Start(ticket, one.prompt, one.arrived))
                        if one.cancelled:
                            worker.send(Cancel(ticket))
                    return worker
            worker.end()
            return None

    def _end_all(
        self,
        finish: Literal["cancelled", "error"],
        error: str | None = None,
        *,
        only_begun: bool = False,
    ) -> None:
        with self._lock:
            ended = [(t, one) for t, one in self._open.items() if one.begun or not only_begun]
        for ticket, one in ended:
            seconds = time.perf_counter() - one.arrived
            self._hand_out(ticket, Made((), finish, error, seconds, 0.0 if one.begun else seconds))
