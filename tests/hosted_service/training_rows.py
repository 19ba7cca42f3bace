"""Training files of both protocols as rows, with what the service would say against them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import gemini, openai_chat
from .answering import prompt_tokens
from .asking import Refused, count
from .batches import read_lines
from .models import traits
from .names import camel
from .tuned import Row

__all__ = ["MOST_TOKENS", "openai_rows", "preference_rows", "vertex_rows"]

MOST_TOKENS = 131_072
_SOME_LABEL = traits("gemini-3.5-flash")


def vertex_rows(data: bytes, base: str) -> tuple[list[Row], list[int]]:
    """Supervised rows, and which lines (from 1) were left out for being too long.

    Raises Refused with the line and its fault.
    """
    rows: list[Row] = []
    dropped: list[int] = []
    for number, line in enumerate(read_lines(data), start=1):
        body = camel(line)
        contents = body.get("contents") or []
        _check(bool(contents), number, "contents is empty")
        roles = [content.get("role", "user") for content in contents]
        _check(roles[-1] == "model", number, "the last turn must have the role model")
        _check(roles[0] == "user", number, "the first turn must have the role user")
        _check(set(roles) <= {"user", "model", "function"}, number, f"unknown role in {roles}")
        if base.startswith("gemini-2.5"):
            called = any("functionCall" in p for c in contents for p in c.get("parts", []))
            fault = "contains an unsupported modality [function call] in the parts field"
            _check(not called, number, fault)
        parts = contents[-1].get("parts") or []
        answer = "".join(part.get("text", "") for part in parts)
        _check(bool(parts), number, "the last turn has no parts")
        try:
            asked = gemini.read({**body, "contents": contents[:-1]}, _SOME_LABEL)
        except Refused as refused:
            _check(False, number, refused.message)
            raise
        _keep(Row(asked, answer, prompt_tokens(asked) + count(answer)), number, rows, dropped)
    _check(bool(rows), 1, "the file has no examples")
    return rows, dropped


def preference_rows(data: bytes) -> tuple[list[Row], list[int]]:
    """Rows of pairs: the better completion is learnt, both are billed, the prompt twice."""
    rows: list[Row] = []
    dropped: list[int] = []
    for number, line in enumerate(read_lines(data), start=1):
        body = camel(line)
        pair = body.get("completions") or []
        _check(len(pair) == 2, number, "completions must have exactly two entries")
        scores = [float(item.get("score", 0)) for item in pair]
        _check(set(scores) == {0.0, 1.0}, number, "one completion must score 1, the other 0")
        texts = ["".join(p.get("text", "") for p in i["completion"]["parts"]) for i in pair]
        asked = gemini.read(body, _SOME_LABEL)
        tokens = 2 * prompt_tokens(asked) + sum(map(count, texts))
        _keep(Row(asked, texts[scores.index(1.0)], tokens), number, rows, dropped)
    _check(bool(rows), 1, "the file has no examples")
    return rows, dropped


def openai_rows(data: bytes) -> list[Row]:
    """Supervised or preference rows of chat; raises Refused with the line and its fault."""
    rows = []
    for number, line in enumerate(read_lines(data), start=1):
        if "preferred_output" in line:
            messages = [*line["input"]["messages"], *line["preferred_output"]]
        else:
            messages = line.get("messages") or []
        _check(len(messages) >= 2, number, "an example needs at least two messages")
        last = messages[-1]
        _check(last.get("role") == "assistant", number, "the last message is no assistant's")
        answer = str(last.get("content") or "")
        body: Mapping[str, Any] = {"model": "gpt-4o-mini", "messages": messages[:-1]}
        try:
            asked = openai_chat.read(body, traits("gpt-4o-mini"))
        except Refused as refused:
            _check(False, number, refused.message)
            raise
        rows.append(Row(asked, answer, prompt_tokens(asked) + count(answer)))
    _check(len(rows) >= 10, len(rows), "the file must have at least 10 examples")
    return rows


def _check(holds: bool, number: int, fault: str) -> None:
    if not holds:
        raise Refused(400, f"Dataset has invalid rows. Row {number}: {fault}.")


def _keep(row: Row, number: int, rows: list[Row], dropped: list[int]) -> None:
    if row.tokens > MOST_TOKENS:
        dropped.append(number)
    else:
        rows.append(row)
