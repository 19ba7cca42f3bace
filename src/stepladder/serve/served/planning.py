"""From an ask to what an engine is to go on with: rendering, constraints, and what to look for.

The same for whoever asks over the network and for a bundle's solver in a thread, so that a served
solver says what was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ...core import Function, Json
from ...models.live import Prompt
from ...models.local.functions import calls_schema, plain_messages
from ...models.local.schemas import Checked, read_schema
from .. import Ask, Refusal
from .text import TextTokenizer

__all__ = ["Plan", "measured_plan", "plan_for", "prompt_ids"]

Calling = Literal["never", "maybe", "always"]
_ANY_JSON: Mapping[str, Json] = {"type": "object"}


@dataclass(frozen=True)
class Plan:
    """How candidates are made: the engine's prompt, and what is looked for in what it says.

    `calls` says whether the answer is a call from the start, may turn into one, or is only text.
    `check` raises ValueError for an answer, as JSON, that is not to be given.
    """

    name: str
    prompt: Prompt
    tokenizer: TextTokenizer
    stop: tuple[str, ...] = ()
    functions: tuple[Function, ...] = ()
    calls: Calling = "never"
    parallel: bool = True
    check: Callable[[Json], None] | None = None


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
    ask: Ask, ids: Sequence[int], room: int, tokenizer: TextTokenizer, adapter: Path | None
) -> Plan:
    """How to answer an ask whose prompt is `ids`, in at most `room` tokens.

    Raises Refusal for a schema that is none or that the engine would not enforce.
    """
    checked = _checked(ask)
    plan = measured_plan(ask, ids, room, tokenizer, adapter)
    if plan.calls == "always" or checked is None:
        return plan
    return replace(plan, prompt=replace(plan.prompt, schema=checked.engine), check=checked.check)


def measured_plan(
    ask: Ask, ids: Sequence[int], room: int, tokenizer: TextTokenizer, adapter: Path | None
) -> Plan:
    """As `plan_for`, with the schema as it is and the answer as it comes: so it is measured."""
    functions, calls = _callable(ask)
    schema, choices = ask.schema, ask.choices
    if calls != "never":
        calling = _calls_schema(functions, parallel=ask.parallel_calls)
        schema, choices = (calling, ()) if calls == "always" else (schema, choices)
    prompt = Prompt(
        tuple(ids),
        room,
        ask.sampling,
        schema=schema,
        choices=choices,
        top_logprobs=ask.top_logprobs,
        adapter=adapter,
    )
    return Plan(ask.model, prompt, tokenizer, ask.stop, functions, calls, ask.parallel_calls)


def _checked(ask: Ask) -> Checked | None:
    schema = _ANY_JSON if ask.any_json and ask.schema is None else ask.schema
    if schema is None:
        return None
    try:
        return read_schema(schema)
    except (ValueError, RecursionError) as error:
        raise Refusal(
            "invalid",
            f"the schema of the answer cannot be used: {error}",
            hint="leave that out of the schema, and check it in the answer",
            param="response_format",
        ) from error


def _calls_schema(functions: Sequence[Function], *, parallel: bool) -> Mapping[str, Json]:
    try:
        return calls_schema(functions, parallel=parallel)
    except ValueError as error:
        raise Refusal("invalid", str(error), param="tools") from error


def _callable(ask: Ask) -> tuple[tuple[Function, ...], Calling]:
    """The functions that may be called, and whether one has to be."""
    if not ask.functions or ask.function_choice == "none":
        return (), "never"
    if ask.function_choice == "auto":
        return ask.functions, "maybe"
    allowed = ask.allowed_functions
    functions = [one for one in ask.functions if not allowed or one.name in allowed]
    if not functions:
        raise Refusal(
            "invalid",
            f"none of the functions is called {' or '.join(map(repr, allowed))}",
            hint=f"there are: {', '.join(repr(one.name) for one in ask.functions)}",
            param="tool_choice",
        )
    return tuple(functions), "always"
