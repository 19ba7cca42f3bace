"""From what a model said to a value: tolerant of dressing, never guessing.

Dressing is a code fence, prose around the answer, quotes, "Label:" in front, other case. What is
cut off, ambiguous or absent is a failure with its kind. Whether a value is *right*, or fits the
schema, is for the metric and the diagnosis.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from ..core import Json

__all__ = ["ParseFailure", "Parsed", "parse_json", "parse_label", "parse_text"]

ParseFailure = Literal["empty", "not_json", "cut_off_json", "unknown_label", "ambiguous_label"]

_CLOSING = {"{": "}", "[": "]"}
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Parsed:
    """A value, or None and the kind of failure."""

    value: Json
    failure: ParseFailure | None = None


def parse_text(text: str) -> Parsed:
    """The text without surrounding whitespace."""
    stripped = text.strip()
    return Parsed(stripped) if stripped else Parsed(None, "empty")


def parse_label(text: str, labels: Sequence[str]) -> Parsed:
    """The one label that the text names, spelled as in `labels`.

    In this order: the whole text is a label; it is one but for case, punctuation and a lead such
    as "Label:"; its first line is; exactly one label occurs in it as whole words.
    """
    stripped = text.strip()
    if not stripped:
        return Parsed(None, "empty")
    if not labels or stripped in labels:
        return Parsed(stripped)
    by_words = _labels_by_words(tuple(labels))
    first_line = stripped.splitlines()[0]
    for attempt in (stripped, first_line):
        for said in (attempt, _without_lead(attempt)):
            bare = said.strip().strip("\"'`*.").strip()
            if bare in labels:
                return Parsed(bare)
            if label := by_words.get(_words(said)):
                return Parsed(label)
    return _only_mention(stripped, by_words)


def parse_json(text: str) -> Parsed:
    """The first JSON object or array in the text, wherever it stands.

    An object that starts and does not end is a failure, although a complete one may lie inside it.
    """
    if not text.strip():
        return Parsed(None, "empty")
    position = 0
    while (start := _next_opening(text, position)) is not None:
        try:
            value, _ = _DECODER.raw_decode(text, start)
        except (json.JSONDecodeError, RecursionError):
            end = _balanced_end(text, start)
            if end is None:
                return Parsed(None, "cut_off_json")
            position = end
        else:
            return Parsed(value) if _is_finite(value) else Parsed(None, "not_json")
    return Parsed(None, "not_json")


def _words(text: str) -> str:
    return " ".join(re.sub(r"[\W_]+", " ", text.casefold()).split())


def _without_lead(text: str) -> str:
    """Drop a short lead with a colon, as in "Label: refund" or "The answer is: refund"."""
    lead, colon, rest = text.partition(":")
    return rest if colon and len(lead.split()) <= 4 else text


@lru_cache(maxsize=64)
def _labels_by_words(labels: tuple[str, ...]) -> dict[str, str]:
    """Labels by their bare words, without those that only punctuation or case tells apart."""
    found: dict[str, list[str]] = {}
    for label in labels:
        found.setdefault(_words(label), []).append(label)
    return {words: owners[0] for words, owners in found.items() if words and len(owners) == 1}


def _only_mention(text: str, by_words: dict[str, str]) -> Parsed:
    """The single label that the text mentions; one inside another's mention does not count."""
    haystack = f" {_words(text)} "
    mentioned = []
    for words in sorted(by_words, key=len, reverse=True):
        if f" {words} " in haystack:
            mentioned.append(by_words[words])
            haystack = haystack.replace(f" {words} ", " | ")
    if not mentioned:
        return Parsed(None, "unknown_label")
    return Parsed(mentioned[0]) if len(mentioned) == 1 else Parsed(None, "ambiguous_label")


def _next_opening(text: str, position: int) -> int | None:
    found = [at for at in (text.find("{", position), text.find("[", position)) if at >= 0]
    return min(found, default=None)


def _balanced_end(text: str, start: int) -> int | None:
    """Where the bracket that opens at `start` is closed, minding strings; None if it is not."""
    waiting: list[str] = []
    in_string = False
    position = start
    while position < len(text):
        character = text[position]
        if in_string:
            position += character == "\\"
            in_string = character != '"'
        elif character == '"':
            in_string = True
        elif character in _CLOSING:
            waiting.append(_CLOSING[character])
        elif waiting and character == waiting[-1]:
            waiting.pop()
            if not waiting:
                return position + 1
        position += 1
    return None


def _is_finite(value: Json) -> bool:
    """Whether no NaN or Infinity, which are not JSON, got in."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True
