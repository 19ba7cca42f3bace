"""A live engine over a vLLM server that runs elsewhere, on this machine or another.

Token ids go there and come back; batching, cache and adapters are vLLM's. Starts and stops no
server, and renders no text: that is `vllm_wire.py` below and `serve/served/` above.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ModelError
from ..registry import need
from .hosted.keys import redact
from .live import Load, Made, Prompt, Sink, Ticket, Token
from .vllm_adapters import Adapters, Unloadable
from .vllm_server import SILENT_SECONDS, Tokens, VLLMServer, check_server, json_of, reason
from .vllm_wire import (
    End,
    Stream,
    completion_body,
    fault_of,
    is_looked_up,
    is_refusal,
    look_up_body,
    looked_up,
    message_of,
    server_events,
)

__all__ = ["VLLMLive", "open_vllm"]

_log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0


def open_vllm(server: VLLMServer, tokenizer: Tokens, *, most_running: int = 32) -> VLLMLive:
    """A live engine over a vLLM server that is up; it was asked for a token when this returns.

    `tokenizer` is that of the model's folder on this machine, and has to be the server's. At most
    `most_running` sequences are at the server at once; others wait here. Raises what
    `check_server` raises.
    """
    tokens = check_server(server, tokenizer)
    return VLLMLive(server, eos_id=tokenizer.eos_id, context_tokens=tokens, most=most_running)


@dataclass(eq=False, slots=True)
class _Open:
    """A sequence that is not over."""

    prompt: Prompt
    sink: Sink
    arrived: float
    waited: float | None = None  # until it was sent
    began: float = 0.0  # by the clock of shares
    computed: float | None = None  # once it is over
    task: asyncio.Task[Made] | None = None


class _Failed(Exception):
    """The server did not take a request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Shares:
    """A clock on which each of those who run has the time to itself: with four, a quarter."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.running = 0
        self._clock = clock
        self._told = self._at = 0.0

    def now(self) -> float:
        """What it shows; it stands while nobody runs."""
        at = self._clock()
        self._told += (at - self._at) / self.running if self.running else 0.0
        self._at = at
        return self._told

    def join(self, change: int) -> float:
        """One more, or one less, from now on; what it shows."""
        told = self.now()
        self.running += change
        return told


class VLLMLive:
    """A `LiveEngine`. Every sink is called from one thread of its own.

    A failure of the server ends what is under way there with an error; what is started when it is
    back is answered. `compute_seconds` shares the time evenly among the sequences of this engine.
    """

    def __init__(
        self,
        server: VLLMServer,
        *,
        eos_id: int,
        context_tokens: int,
        most: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.context_tokens = context_tokens
        self._server = server
        self._eos_id = eos_id
        self._url = f"{server.url}/completions"
        self._most = most
        self._clock = clock
        self._http = need("httpx2", extra="serve", what="a vLLM server")
        self._lock = threading.Lock()
        self._tickets = itertools.count(1)
        self._open: dict[Ticket, _Open] = {}
        self._closed = False
        self._shares = _Shares(clock)
        self._client = self._http.AsyncClient(
            headers=server.headers,
            timeout=self._http.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS),
            limits=self._http.Limits(max_connections=None, max_keepalive_connections=most),
            trust_env=False,
        )
        self._adapters = Adapters(self._client, server.url)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._places = asyncio.Semaphore(most)
        self._thread = threading.Thread(target=self._live, name="vllm", daemon=True)
        self._thread.start()

    def start(self, prompt: Prompt, sink: Sink) -> Ticket:
        """Queue a sequence; returns at once. Raises RuntimeError after `close`."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the engine is closed")
            ticket = next(self._tickets)
            self._open[ticket] = one = _Open(prompt, sink, self._clock())
            self._loop.call_soon_threadsafe(self._begin, ticket, one)
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """End a sequence early: its connection is closed, which frees its place at the server."""
        with self._lock:
            one = self._open.get(ticket)
            if one is not None and not self._closed:
                self._loop.call_soon_threadsafe(_cancel, one)

    def load(self) -> Load:
        """How busy it is with what came through here; others may use the same server."""
        with self._lock:
            running = min(self._shares.running, len(self._open))
            return Load(running, len(self._open) - running, self._most)

    def close(self) -> None:
        """End what runs (finish "cancelled") and the connections; the server goes on."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._loop.call_soon_threadsafe(self._stop.set)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    # --- on the engine's own thread ---------------------------------------------------------------

    def _live(self) -> None:
        try:
            self._loop.run_until_complete(self._until_closed())
        finally:
            self._loop.close()

    async def _until_closed(self) -> None:
        async with self._client:
            await self._stop.wait()
            tasks = [one.task for one in self._open.values() if one.task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, ticket: Ticket, one: _Open) -> None:
        one.task = self._loop.create_task(self._run(one))
        one.task.add_done_callback(lambda task: self._ended(ticket, one, task))

    def _ended(self, ticket: Ticket, one: _Open, task: asyncio.Task[Made]) -> None:
        with self._lock:
            self._open.pop(ticket)
        if task.cancelled():
            self._tell(one, self._made(one, finish="cancelled"))
        elif (error := task.exception()) is not None:
            _log.error("a sequence failed", exc_info=error)
            self._tell(one, self._made(one, finish="error", error=repr(error)))
        else:
            self._tell(one, task.result())

    async def _run(self, one: _Open) -> Made:
        fault = fault_of(one.prompt, self.context_tokens)
        if fault is not None:
            return self._made(one, finish="error", error=fault, refused=True)
        async with self._places:
            one.waited, one.began = self._clock() - one.arrived, self._shares.join(1)
            try:
                return await self._answer(one)
            finally:
                one.computed = self._shares.join(-1) - one.began

    async def _answer(self, one: _Open) -> Made:
        try:
            return await self._with_adapter(one)
        except _Failed as failed:
            refused = is_refusal(failed.status)
            return self._made(one, finish="error", error=str(failed), refused=refused)
        except (ModelError, Unloadable) as error:
            return self._made(one, finish="error", error=str(error))
        except self._http.HTTPError as error:
            message = f"the vLLM server does not answer: {reason(error)}"
            return self._made(one, finish="error", error=message)

    async def _with_adapter(self, one: _Open) -> Made:
        folder = one.prompt.adapter
        if folder is None:
            return await self._stream(one, self._server.model)
        name = await self._adapters.load(folder)
        try:
            return await self._stream(one, name)
        except _Failed as failed:
            if failed.status != 404:
                raise
        # the server was started anew, or somebody unloaded it
        self._adapters.forget(name)
        return await self._stream(one, await self._adapters.load(folder))

    async def _stream(self, one: _Open, model: str) -> Made:
        body = completion_body(
            one.prompt, model, context_tokens=self.context_tokens, eos_id=self._eos_id
        )
        stream = Stream(one.prompt)
        held: list[int] | None = [] if is_looked_up(one.prompt) else None
        async with self._client.stream("POST", self._url, json=body) as response:
            if response.status_code != 200:
                said = redact(message_of(json_of(await response.aread())))
                raise _Failed(response.status_code, said)
            async for data in server_events(response.aiter_raw()):
                tokens = stream.take(data)
                if held is not None:
                    held.extend(token.id for token in tokens)
                elif tokens:
                    self._tell(one, self._made(one, tokens=tokens))
        end = stream.end()
        rest: tuple[Token, ...] = ()
        if held is not None and end.finish != "error":
            rest, end = await self._look_up(one, model, held, end)
        return self._made(
            one,
            tokens=rest,
            finish=end.finish,
            error=end.error and redact(end.error),
            refused=end.refused,
            end_logprob=end.token and end.token.logprob,
            cached_tokens=end.cached_tokens,
        )

    async def _look_up(
        self, one: _Open, model: str, made: list[int], end: End
    ) -> tuple[tuple[Token, ...], End]:
        """What was made and its end, with the probabilities that the model gives them."""
        chosen = [*made, *([end.token.id] if end.token else [])]
        body = look_up_body(one.prompt, chosen, model)
        response = await self._client.post(self._url, json=body)
        if response.status_code != 200:
            said = redact(message_of(json_of(response.content)))
            raise _Failed(response.status_code, said)
        tokens = looked_up(json_of(response.content), one.prompt, chosen)
        last = tokens.pop() if end.token else None
        return tuple(tokens), replace(end, token=last)

    def _made(self, one: _Open, **told: Any) -> Made:
        seconds = self._clock() - one.arrived
        if one.waited is None:
            return Made(seconds=seconds, waited_seconds=seconds, compute_seconds=0.0, **told)
        computed = self._shares.now() - one.began if one.computed is None else one.computed
        return Made(seconds=seconds, waited_seconds=one.waited, compute_seconds=computed, **told)

    def _tell(self, one: _Open, made: Made) -> None:
        try:
            one.sink(made)
        except Exception:  # one caller's mistake is not to stop the answers of all others
            _log.exception("a sink raised: its sequence is dropped")
            one.sink = lambda made: None
            _cancel(one)


def _cancel(one: _Open) -> None:
    if one.task is not None:
        one.task.cancel()
