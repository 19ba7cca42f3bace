"""What a caller sends to a bundle, as the input that its solver was measured on.

A bundle has its own instructions, demonstrations, functions and schema; a caller's are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...bundles.bundle import Bundle
from ...core import Input, Json, Message
from ...data.chat import simplify
from ...strict_json import read_strictly
from .. import Ask, Refusal

__all__ = ["input_of"]


def input_of(bundle: Bundle, ask: Ask) -> Input:
    """The input in an ask: the last user's turn as text or named fields, or the conversation.

    Raises Refusal for what a bundle does not take.
    """
    _check(bundle, ask)
    shape = bundle.evaluation.get("inputs") or {"kind": "text"}
    if ask.prompt is not None:
        asked: tuple[Message, ...] = (Message("user", ask.prompt),)
    else:
        asked = ask.messages
    if shape["kind"] == "turns":
        return simplify(asked)
    _check_turns(bundle, asked)
    content = asked[-1].content
    if not isinstance(content, str) and any(part.kind != "text" for part in content):
        return (asked[-1],)
    text = content if isinstance(content, str) else "".join(part.text for part in content)
    if shape["kind"] == "fields":
        return _fields(bundle, text, shape["fields"], shape["required"])
    return text


def _check(bundle: Bundle, ask: Ask) -> None:
    name = bundle.task.name
    own: dict[str, tuple[bool, str]] = {
        "functions": (bool(ask.functions), "tools"),
        "form of answer": (
            bool(ask.schema is not None or ask.any_json or ask.choices), "response_format",
        ),
    }  # fmt: skip
    for what, (asked, param) in own.items():
        if asked:
            raise Refusal(
                "invalid",
                f"{name!r} is the solver of a task and has its own {what}",
                hint="send only the input, or ask a base model",
                param=param,
            )


def _check_turns(bundle: Bundle, turns: Sequence[Message]) -> None:
    name = bundle.task.name
    if any(turn.role == "system" for turn in turns):
        raise Refusal(
            "invalid",
            f"{name!r} is the solver of a task and has its own instructions",
            hint="send only the input, as one user's turn",
            param="messages",
        )
    if len(turns) != 1 or turns[0].role != "user":
        raise Refusal(
            "invalid",
            f"{name!r} is the solver of a task: it takes one input, and these are {len(turns)} "
            "turns",
            hint="send only the input, as one user's turn",
            param="messages",
        )


def _fields(
    bundle: Bundle, text: str, fields: Sequence[str], required: Sequence[str]
) -> Mapping[str, Json]:
    """The named fields of an input; raises Refusal where they are not those of the task."""
    try:
        found = read_strictly(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not set(required) <= found.keys() <= set(fields):
        named = ", ".join(map(repr, required))
        raise Refusal(
            "invalid",
            f"the input of {bundle.task.name!r} is a JSON object with the fields {named}",
            hint="send that object as the text of the user's turn",
            param="messages",
        )
    return {name: found[name] for name in fields if name in found}
