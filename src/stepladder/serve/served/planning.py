"""From an ask to what an engine is to go on with: rendering, constraints, and what to look for.

The same for whoever asks over the network and for a bundle's solver in a thread, so that a served
solver says what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...core import Function, Json
from ...models.live import Prompt
from ...models.local.functions import calls_schema, plain_messages
from .. import Ask
from .text import TextTokenizer

__all__ = ["Plan", "plan_for", "prompt_ids"]

Calling = Literal["never", "maybe", "always"]
_ANY_JSON: Mapping[str, Json] = {"type": "object"}


@dataclass(frozen=True)
class Plan:
    """How candidates are made: the engine's prompt, and what is looked for in what it says.

    `calls` says whether the answer is a call from the start, may turn into one, or is only text.
    `checked`: an answer that its schema or choices do not allow is refused, not given.
    """

    name: str
    prompt: Prompt
    tokenizer: TextTokenizer
    stop: tuple[str, ...] = ()
    functions: tuple[Function, ...] = ()
    calls: Calling = "never"
    parallel: bool = True
    checked: bool = True


def prompt_ids(tokenizer: TextTokenizer, ask: Ask) -> list[int]:
    """The ids of an ask, with the template and the declarations of functions.

    Raises ModelError where a message cannot be read by a text model.
    """
    if ask.prompt is not None:
        return tokenizer.completion_ids(ask.prompt)
    functions, calls = _callable(ask)
    messages = plain_messages(
        ask.messages, functions, required=calls == "always", parallel=ask.parallel_calls
    )
    return tokenizer.chat_ids(messages)


def plan_for(
    ask: Ask,
    ids: Sequence[int],
    room: int,
    *,
    tokenizer: TextTokenizer,
    adapter: Path | None = None,
    checked: bool = True,
) -> Plan:
    """How to answer an ask whose prompt is `ids`, in at most `room` tokens."""
    functions, calls = _callable(ask)
    schema = _ANY_JSON if ask.any_json and ask.schema is None else ask.schema
    choices = ask.choices
    if calls == "always":
        schema, choices = calls_schema(functions, parallel=ask.parallel_calls), ()
    prompt = Prompt(
        tuple(ids),
        room,
        ask.sampling,
        schema=schema,
        choices=choices,
        top_logprobs=ask.top_logprobs,
        adapter=adapter,
    )
    return Plan(
        ask.model, prompt, tokenizer, ask.stop, functions, calls, ask.parallel_calls, checked
    )


def _callable(ask: Ask) -> tuple[tuple[Function, ...], Calling]:
    """The functions that may be called, and whether one has to be."""
    if not ask.functions or ask.function_choice == "none":
        return (), "never"
    if ask.function_choice == "auto":
        return ask.functions, "maybe"
    allowed = ask.allowed_functions
    functions = [one for one in ask.functions if not allowed or one.name in allowed]
    return tuple(functions), "always"
