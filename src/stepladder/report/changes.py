"""What a step changed: the solver record against the one before it, field by field.

A solver is data, so a step's whole effect is a difference of two records. Works for any solver
that is a dataclass of JSON-able fields; long numbers (weights) are counted, not shown.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from ..core import Json, Message, Solver
from .record import plain

__all__ = ["Change", "DiffLine", "changes", "full_texts", "prompt_text", "solver_fields"]

LONG_TEXT = 100  # characters from which a value gets a block of its own
SHOWN_CHARACTERS = 40_000  # of one prompt; longer ones are cut and say so
_ABSENT = object()


@dataclass(frozen=True)
class DiffLine:
    """One line of a difference: `mark` is '+', '-' or ' '."""

    mark: str
    text: str


@dataclass(frozen=True)
class Change:
    """One field that differs, in short, and line by line where a long text became another."""

    field: str
    before: str
    after: str
    lines: tuple[DiffLine, ...] = ()


def solver_fields(solver: Solver) -> dict[str, Json]:
    """The solver's record as JSON values, with its kind first."""
    record: dict[str, Json] = {"kind": getattr(solver, "kind", type(solver).__name__)}
    if is_dataclass(solver):
        for each in fields(solver):
            record[each.name] = _shorten(getattr(solver, each.name))
    return record


def changes(before: Solver | None, after: Solver) -> tuple[Change, ...]:
    """The fields in which `after` differs from `before`; all that are set where there is none."""
    old = _flat(before) if before is not None else {}
    new = _flat(after)
    differing = [
        name for name in {**old, **new} if old.get(name, _ABSENT) != new.get(name, _ABSENT)
    ]
    return tuple(
        _change(name, old.get(name, _ABSENT), new.get(name, _ABSENT))
        for name in differing
        if not (_empty(old.get(name)) and _empty(new.get(name)))
    )


def _flat(solver: Solver) -> dict[str, Json]:
    """The solver's fields, those of a record within it under their own names."""
    flat: dict[str, Json] = {}
    for name, value in solver_fields(solver).items():
        within = getattr(solver, name, None)
        if isinstance(value, dict) and is_dataclass(within):
            flat |= {f"{name}.{inner}": one for inner, one in value.items()}
        else:
            flat[name] = value
    return flat


def full_texts(solver: Solver) -> dict[str, str]:
    """The long fields of a solver in full: its instructions, its examples."""
    texts = {name: as_text(value) for name, value in solver_fields(solver).items()}
    return {name: _cut(text) for name, text in texts.items() if len(text) > LONG_TEXT}


def prompt_text(solver: Solver) -> str:
    """The prompt as the model sees it, message by message; empty for solvers without one."""
    from ..solvers.calling import CallingSolver, outline
    from ..solvers.prompt import PromptSolver, render

    if isinstance(solver, CallingSolver):
        messages = outline(solver)
    elif isinstance(solver, PromptSolver):
        messages = render(solver, "(the input)")
    else:
        return ""
    shown = "\n\n".join(f"[{message.role}]\n{_said(message)}" for message in messages)
    if solver.selector:
        k, method = solver.selector.get("k"), solver.selector.get("method")
        shown += f"\n\nBefore the input come {k} examples picked for it by {method}."
    if isinstance(solver, PromptSolver) and (found := solver.knowledge):
        how = f"by {found.retriever}{', in a learned order' if found.rerank else ''}"
        shown += (
            f"\n\n{found.where.capitalize()} the input come up to {found.k} passages of at most "
            f"{found.size} words, searched for it {how}."
        )
    return _cut(shown)


def as_text(value: Json) -> str:
    """A JSON value for reading: texts as they are, lists of records one below the other."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(each, dict | list) for each in value):
        return "\n\n".join(f"{i}. {_record(each)}" for i, each in enumerate(value, 1))
    return json.dumps(value, ensure_ascii=False, indent=2)


def _change(name: str, old: Any, new: Any) -> Change:
    before, after = _brief(old), _brief(new)
    if _empty(old) or _empty(new) or not (_is_long(old) or _is_long(new)):
        return Change(name, before, after)
    texts = [_cut(as_text(value)) for value in (old, new)]
    marked = difflib.ndiff(texts[0].splitlines(), texts[1].splitlines())
    lines = tuple(DiffLine(line[0], line[2:]) for line in marked if line[0] in "+- ")
    return Change(name, before, after, lines)


def _brief(value: Any) -> str:
    if value is _ABSENT or _empty(value):
        return "none"
    if isinstance(value, list):
        return f"{len(value):,} {'entry' if len(value) == 1 else 'entries'}"
    if isinstance(value, str) and len(value) > LONG_TEXT:
        return f"{len(value.split()):,} words"
    text = as_text(value)
    return text if len(text) <= LONG_TEXT else f"{len(text):,} characters"


def _record(value: Json) -> str:
    if isinstance(value, dict):
        return "\n   ".join(f"{key}: {_inline(each)}" for key, each in value.items())
    return " → ".join(_inline(each) for each in value)


def _inline(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _shorten(value: Any) -> Json:
    """JSON, but an array of numbers longer than a line becomes its size."""
    if isinstance(value, list | tuple) and len(value) > 64 and _numeric(value):
        return f"{len(value):,} numbers"
    shape = getattr(value, "shape", None)
    if shape:
        return f"{' x '.join(f'{size:,}' for size in shape)} numbers"
    return plain(value)


def _numeric(values: list[Any] | tuple[Any, ...]) -> bool:
    flat = values[0] if values and isinstance(values[0], list | tuple) else values
    return all(isinstance(each, int | float) for each in flat[:64])


def _is_long(value: Any) -> bool:
    return value is not _ABSENT and not _empty(value) and len(as_text(value)) > LONG_TEXT


def _empty(value: Any) -> bool:
    return value is _ABSENT or value is None or value in ("", [], {})


def _said(message: Message) -> str:
    if message.calls:
        return "\n".join(f"calls {one.name} {json.dumps(one.arguments)}" for one in message.calls)
    if isinstance(message.content, str):
        return message.content
    return " ".join(part.text or f"({part.kind})" for part in message.content)


def _cut(text: str) -> str:
    if len(text) <= SHOWN_CHARACTERS:
        return text
    return f"{text[:SHOWN_CHARACTERS]}\n… cut here: {len(text):,} characters in all"
