"""Rows of preferences: one conversation with a better and a worse answer, in either service's form.

Each answer is read behind the conversation as `rows.py` reads a row to be learned, so that what is
compared is what the served model would say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...core import Json
from ...trainers import Conversation, Pair
from .failing import Unusable

__all__ = ["gemini_pair", "openai_pair"]

Learned = tuple[Conversation, ...]
Read = Callable[[Mapping[str, Json]], tuple[int, Learned]]

OUTPUTS = ("preferred_output", "non_preferred_output")
OPENAI_KEYS = {"input", *OUTPUTS}


def openai_pair(row: Mapping[str, Json], read: Read) -> tuple[int, tuple[Pair]]:
    """How many turns the longer way has, and the pair.

    Raises Unusable and Refusal, with what is wrong.
    """
    if unknown := sorted(row.keys() - OPENAI_KEYS):
        raise Unusable(
            f"the field {unknown[0]!r} is not one of preferences; known: "
            f"{', '.join(sorted(OPENAI_KEYS))}"
        )
    given = row.get("input")
    if not isinstance(given, Mapping) or not isinstance(given.get("messages"), list):
        raise Unusable("'input' has to be an object with 'messages'")

    def behind(name: str) -> tuple[int, Learned]:
        said = row.get(name)
        if not isinstance(said, list) or len(said) != 1:
            raise Unusable(f"{name!r} has to be a list with one turn of the assistant")
        return read({**given, "messages": [*given["messages"], *said]})

    return _pair(behind(OUTPUTS[0]), behind(OUTPUTS[1]))


def gemini_pair(row: Mapping[str, Json], read: Read) -> tuple[int, tuple[Pair]]:
    """As `openai_pair`; the completion with the higher score is the better answer."""
    completions = row.get("completions")
    if not isinstance(completions, list) or len(completions) != 2:
        raise Unusable("'completions' has to be a list of two")
    scores = [_score(one, place) for place, one in enumerate(completions)]
    if scores[0] == scores[1]:
        raise Unusable("both 'completions' have the same 'score', so none is preferred")
    worse, better = sorted(completions, key=lambda one: float(one["score"]))
    rest = {name: value for name, value in row.items() if name != "completions"}
    turns = rest.get("contents")
    if not isinstance(turns, list):
        raise Unusable("'contents' has to be a list of turns")

    def behind(completion: Mapping[str, Json]) -> tuple[int, Learned]:
        return read({**rest, "contents": [*turns, completion["completion"]]})

    return _pair(behind(better), behind(worse))


def _score(completion: Any, place: int) -> float:
    score = completion.get("score") if isinstance(completion, Mapping) else None
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise Unusable(f"'completions[{place}].score' has to be a number")
    if "completion" not in completion:
        raise Unusable(f"'completions[{place}].completion' is missing")
    return float(score)


def _pair(better: tuple[int, Learned], worse: tuple[int, Learned]) -> tuple[int, tuple[Pair]]:
    (messages, chosen), (_, rejected) = better[1][-1], worse[1][-1]
    if chosen == rejected:
        raise Unusable("both answers are the same, so none can be preferred")
    return better[0], (Pair(messages, chosen, rejected),)
