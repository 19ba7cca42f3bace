"""Answers as server-sent events, and several answers side by side as one.

A failure after the first event is told as an event of its own, since the status is out by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing

from fastapi.responses import StreamingResponse

from .. import Event, Refusal
from ..answering import Answer
from ..visits import VISIT
from .errors import error_body
from .telling import sse

__all__ = ["side_by_side", "streamed"]

DONE = b"data: [DONE]\n\n"
AT_ONCE = 16  # prompts of one call that are under way together: a call has no more room than that
Start = Callable[[], Awaitable[Answer]]


def streamed(chunks: AsyncGenerator[bytes, None], headers: Mapping[str, str]) -> StreamingResponse:
    """The response of a stream that ends with [DONE], or with an error.

    However the request ends, the chunks' generator is closed with it.
    """
    if (visit := VISIT.get()) is not None:
        visit.open.insert(0, chunks)
    return StreamingResponse(
        _guarded(chunks),
        media_type="text/event-stream",
        headers={**headers, "cache-control": "no-cache", "x-accel-buffering": "no"},
    )


async def _guarded(chunks: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk
    except Refusal as refusal:
        yield sse(error_body(refusal))
        return
    yield DONE


async def side_by_side(starts: Sequence[Start]) -> AsyncGenerator[tuple[int, Event], None]:
    """The events of several answers as they come, each with the place of its answer.

    Ends with the first refusal, which ends the others too. It has to be closed.
    """
    queue: asyncio.Queue[tuple[int, Event] | BaseException | None] = asyncio.Queue(256)
    room = asyncio.Semaphore(AT_ONCE)

    async def run(place: int, start: Start) -> None:
        try:
            async with room:
                answer = await start()
                try:
                    async for event in answer:
                        await queue.put((place, event))
                finally:
                    await answer.aclose()
        except Exception as error:  # told to the reader, who raises it
            await queue.put(error)
        else:
            await queue.put(None)

    tasks = [asyncio.create_task(run(place, start)) for place, start in enumerate(starts)]
    try:
        left = len(tasks)
        while left:
            got = await queue.get()
            if isinstance(got, BaseException):
                raise got
            if got is None:
                left -= 1
            else:
                yield got
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
