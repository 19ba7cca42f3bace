"""The plain prompt of a task, and single edits of it that may do better.

Each edit changes one thing: wording, what is shown, answer format, constraint, scoring, placement.
`prompt.py` measures them and combines those that help.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..core import Json, Task
from ..errors import NotApplicable
from ..solvers.prompt import PromptSolver

__all__ = [
    "Variant", "combine", "no_plain_prompts", "plain_prompt", "variants", "with_lessons",
]  # fmt: skip

_TERSE: Mapping[str, str] = {
    "classification": "Classify the text.",
    "extraction": "Extract what the text states.",
    "generation": "Write the answer to the text.",
    "qa": "Answer the question.",
    "calls": "Name the function to call and its arguments.",
}


@dataclass(frozen=True)
class Variant:
    """A named edit: the fields of the plain prompt that it changes, and why one would."""

    name: str
    changes: Mapping[str, Any]
    why: str
    aspect: Literal["wording", "shown", "format", "placement"]

    def apply(self, solver: PromptSolver) -> PromptSolver:
        return replace(solver, **self.changes)


def no_plain_prompts(task: Task) -> NotApplicable | None:
    """Why prompts and demonstrations without functions are not for this task; None where they are.

    Calls are described to the model, shown and read in a form of their own.
    """
    if task.kind != "calls" or "functions" not in task.steps:
        return None
    return NotApplicable(
        "the task's calls are asked for by the step 'functions', with demonstrations too",
        hint="leave out [steps.functions] to ask for calls in words",
    )


def plain_prompt(task: Task, model: str | None = None) -> PromptSolver:
    """The task's own words, its labels or schema shown, the answer free."""
    if task.kind == "classification":
        output_format: Literal["label", "json", "text"] = "label" if task.labels else "text"
    elif task.schema is not None or task.kind in ("extraction", "calls"):
        output_format = "json"
    else:
        output_format = "text"
    return PromptSolver(
        model=model or task.models[0],
        instructions=task.instructions,
        task_kind=task.kind,
        labels=task.labels if task.kind == "classification" else (),
        label_descriptions=dict(task.label_descriptions),
        schema=task.schema,
        show_schema=task.schema is not None,
        output_format=output_format,
        max_output_tokens=_enough_tokens(task, output_format),
        thinking_tokens=task.thinking_tokens,
    )


def variants(task: Task, *, scoring: bool) -> tuple[Variant, ...]:
    """Every single edit that this task allows; label scoring only where `scoring` says so."""
    plain = plain_prompt(task)
    found = [Variant("terse", {"instructions": _terse(task)}, "fewer tokens", "wording")]
    if plain.labels:
        found += _for_labels(task, plain, scoring)
    if plain.output_format == "json" and task.schema is not None:
        found.append(Variant("schema-hidden", {"show_schema": False}, "fewer tokens", "shown"))
        found.append(Variant("constrained", {"constrained": True}, "always parses", "format"))
    found += [
        Variant("in-user-turn", {"placement": "user"}, "system turns may be ignored", "placement"),
        Variant(
            "reminded",
            {"reminder": _reminder(plain)},
            "what stands last is followed best",
            "placement",
        ),
    ]
    return tuple(v for v in found if v.apply(plain) != plain)


def combine(edits: list[Variant]) -> Variant | None:
    """The best edit of each aspect, together; None when that is a single edit or none.

    `edits` are those that helped, the best first.
    """
    chosen: dict[str, Variant] = {}
    for edit in edits:
        chosen.setdefault(edit.aspect, edit)
    if len(chosen) < 2:
        return None
    changes: dict[str, Any] = {}
    for edit in chosen.values():
        changes.update(edit.changes)
    name = "+".join(edit.name for edit in chosen.values())
    return Variant(name, changes, "each helped alone", "wording")


def with_lessons(base: Variant, solver: PromptSolver, sentences: tuple[str, ...]) -> Variant:
    """`base` with corrective sentences added to its instructions."""
    wording = "\n".join((solver.instructions.strip(), *sentences))
    why = f"{len(sentences)} sentences from failures on train"
    return Variant(
        f"{base.name}+corrected", {**base.changes, "instructions": wording}, why, "wording"
    )


def _for_labels(task: Task, plain: PromptSolver, scoring: bool) -> list[Variant]:
    found = [
        Variant("constrained", {"constrained": True}, "always a label", "format"),
        Variant(
            "labels-hidden-constrained",
            {"show_labels": False, "constrained": True},
            "fewer tokens",
            "shown",
        ),
        Variant("json", _as_json(task), "some models answer better in JSON", "format"),
    ]
    if plain.label_descriptions:
        edit = {"show_descriptions": True}
        found.append(Variant("described", edit, "says what the labels mean", "shown"))
    if scoring:
        found += [
            Variant("scored", {"scoring": "labels"}, "the likeliest label", "format"),
            Variant("calibrated", {"scoring": "calibrated"}, "evens out favourites", "format"),
        ]
    return found


def _as_json(task: Task) -> Mapping[str, Json]:
    return {
        "output_format": "json",
        "max_output_tokens": min(task.max_output_tokens, 16 + _enough_tokens(task, "label")),
    }


def _enough_tokens(task: Task, output_format: str) -> int:
    """Room for the longest label, so that a model that rambles is cut off early."""
    if output_format != "label":
        return task.max_output_tokens
    longest = max(len(label.encode()) for label in task.labels)
    return min(task.max_output_tokens, 8 + longest)  # a token is at least one byte


def _terse(task: Task) -> str:
    first = re.split(r"(?<=[.!?])\s", task.instructions.strip(), maxsplit=1)[0]
    return first if first != task.instructions.strip() else _TERSE[task.kind]


def _reminder(plain: PromptSolver) -> str:
    first = re.split(r"(?<=[.!?])\s", plain.instructions.strip(), maxsplit=1)[0]
    form = {
        "label": "Answer with one label only.",
        "json": "Answer with JSON only.",
        "text": "",
    }[plain.output_format]
    return f"{first} {form}".strip()
