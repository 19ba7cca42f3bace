"""task.toml as `init` writes it: keys that a person will read and correct, with why beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .init import Look

__all__ = ["task_text"]


def task_text(name: str, data_name: str, look: Look) -> str:
    """The text of task.toml for what was seen; `[target] score` is left to the user."""
    why = {guess.key: guess.reason for guess in look.guesses}
    lines = [
        "# What is to be solved, and what is well enough. Lines marked 'guessed' are for you to",
        "# check; the rest of the keys are in the documentation of task.toml.",
        "",
        f"name = {_toml(name)}",
        f"kind = {_toml(look.kind)}  # guessed: {_line(why['kind'])}",
        f"# guessed: {_line(why['instructions'])}",
        f"instructions = {_toml(look.instructions)}",
        f"metric = {_toml(look.metric)}  # guessed: {_line(why['metric'])}",
        *_answers(look),
        "",
        "[target]",
        "# The score that is well enough for the work the answers are used in: yours to decide.",
        f"# {_line(why['target.score'])}.",
        f"# score = {look.suggested_score:g}",
        "",
        *_data(data_name, look, why),
        "",
        "[economics]",
        "# requests_per_month = 10_000  # without it, costs are told per 1,000 requests only",
        "# dollars_per_error = 1.0",
    ]
    return "\n".join(lines) + "\n"


def _answers(look: Look) -> list[str]:
    if look.schema is not None:
        return ['schema_file = "schema.json"  # guessed: every answer of the examples fits it']
    if look.labels and look.labels_apart:
        return ['labels_file = "labels.txt"  # guessed: the answers that occur, one a line']
    if look.labels:
        return [f"labels = {_toml(list(look.labels))}  # guessed: the answers that occur"]
    return []


def _data(data_name: str, look: Look, why: Mapping[str, str]) -> list[str]:
    source = look.source
    lines = ["[data]", f"examples = {_toml(data_name)}"]
    if source.format is not None:
        lines.append(f"format = {_toml(source.format)}  # guessed: {_line(why['data.format'])}")
        return lines
    for key, value in (("input", source.input), ("expected", source.expected), ("id", source.id)):
        if value is not None:
            lines.append(f"{key} = {_toml(value)}  # guessed from the column's name")
    if source.group is not None:
        lines.append(f"group = {_toml(source.group)}  # guessed: its rows stay in one set")
    else:
        lines.append('# group = "patient_id"  # the column whose rows must stay in one set')
    return lines


def _toml(value: object) -> str:
    """JSON strings and lists of them are TOML too, save for the one character JSON leaves bare."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _line(text: str) -> str:
    """Text on one line of comment; TOML allows no control characters there."""
    return "".join(c if c.isprintable() else " " for c in text)
