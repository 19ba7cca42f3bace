"""Calls of functions when a batch is measured: what a model opens as a call is made under a schema.

As the server does it, sequence by sequence (`serve/served/candidate.py`), so that a measured call
is what is served.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ...core import Request, Response, Usage
from .functions import OPENING, calls_schema, parse_calls

__all__ = ["Opened", "called", "opened_call"]


class _Tokenizer(Protocol):
    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


@dataclass(frozen=True)
class Opened:
    """A call that was opened after `text`: the ids to go on from, and what is asked then."""

    text: str
    ids: tuple[int, ...]
    request: Request
    made: int  # tokens until the opening was complete


def opened_call(
    tokenizer: _Tokenizer, prompt: Sequence[int], request: Request, made: Sequence[int]
) -> Opened | None:
    """The call that a model opened in what it made; None where it said only text.

    What it said behind the opening is made anew, under the schema of calls. Raises ValueError where
    the parameters of a function are no schema.
    """
    if not request.functions or OPENING not in tokenizer.decode(made):
        return None
    count = next(n for n in range(1, len(made) + 1) if OPENING in tokenizer.decode(made[:n]))
    room = request.max_output_tokens - count
    if room < 1:
        return None
    before, _, behind = tokenizer.decode(made[:count]).partition(OPENING)
    ids = tokenizer.encode(before + OPENING) if behind else made[:count]
    asked = replace(
        request,
        schema=calls_schema(request.functions),
        max_output_tokens=room,
        stop=(),
        choices=(),
        functions=(),
        logprob=False,
    )
    return Opened(before, (*prompt, *ids), asked, count)


def called(opened: Opened, request: Request, first: Usage, second: Response) -> Response:
    """The answer to a request whose call was made in `second`, after `first` was spent."""
    usage = replace(
        first,
        output_tokens=opened.made + (second.usage.output_tokens or 0),
        seconds=_sum(first.seconds, second.usage.seconds),
        compute_seconds=_sum(first.compute_seconds, second.usage.compute_seconds),
    )
    if second.finish != "stop":  # half a call is nothing to act on
        text = opened.text + second.text
        return Response(text, usage, second.finish, error=second.error)
    try:
        calls = parse_calls(second.text, request.functions, lambda place: f"call_{place}")
    except ValueError as error:
        return Response(opened.text, usage, "error", error=str(error))
    return Response(opened.text, usage, calls=calls)


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other
