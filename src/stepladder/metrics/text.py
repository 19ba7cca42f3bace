"""How metrics read an answer: as text, folded for comparison, cut into words.

Shared by the metrics of this folder. It decides nothing about scores.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from ..core import Counts, Json, Output
from ..errors import StepladderError

__all__ = [
    "WORD", "Fold", "as_text", "check_choice", "failed", "fold", "overlap", "references", "whole",
    "words",
]  # fmt: skip

Fold = Literal["none", "case", "words"]

ARTICLES = frozenset({"a", "an", "the"})
WORD = re.compile(r"\w+")


def failed(output: Output) -> bool:
    """Whether there is no answer to score: the call failed, or its text could not be parsed."""
    return output.error is not None or output.value is None


def whole(value: float) -> Counts:
    """The counts of a metric that is a plain mean: one stratum, weight one."""
    return (("all", float(value), 1.0),)


def as_text(value: Json) -> str:
    """A JSON value as the text to compare: a string is itself, 55.0 is "55", True is "true"."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def fold(text: str, how: Fold = "case") -> str:
    """The text without the differences that do not count.

    "none" keeps it as it is. "case" applies Unicode NFKC, drops case, and makes every run of white
    space one space. "words" goes on to drop punctuation and the articles a, an and the.
    """
    if how == "none":
        return text
    if how == "words":
        return " ".join(words(text))
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def words(text: str) -> list[str]:
    """The words of a text in order, without case, punctuation and English articles.

    A word is a run of letters, digits and underscores in any script. Unlike SQuAD's own script,
    punctuation inside a word cuts it ("x-ray" is two words), so that spacing around a hyphen costs
    nothing.
    """
    found = WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return [word for word in found if word not in ARTICLES]


def overlap(expected: str, answered: str) -> float:
    """The F1 of the words two texts share, from 0 to 1; texts without words must be equal."""
    wanted, said = words(expected), words(answered)
    if not wanted or not said:
        return float(wanted == said and fold(expected) == fold(answered))
    shared = sum((Counter(wanted) & Counter(said)).values())
    return 2 * shared / (len(wanted) + len(said))


def references(expected: Json) -> Sequence[str]:
    """The texts that an answer may match: a list means alternatives."""
    if isinstance(expected, list | tuple):
        return [as_text(each) for each in expected]
    return [as_text(expected)]


def check_choice(option: str, value: object, known: Sequence[str]) -> None:
    """Raise StepladderError unless `value` is one of the known values of a metric's option."""
    if value not in known:
        raise StepladderError(
            f"metric option {option} = {value!r} is not known", hint=f"known: {', '.join(known)}"
        )
