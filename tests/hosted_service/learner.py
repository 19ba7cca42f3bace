"""The stand-in for a language model: it reads labels and examples in the prompt and scores them.

An untuned model scores every label by the words it shares with the input (TF-IDF over label names
and descriptions) and by the nearest examples in the prompt; a dearer one, or one that thinks, also
looks at character n-grams. A tuned model is a classifier fitted on the rows of its job: see
`tuned.py`. Nothing here knows a data set.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from .asking import Asked

__all__ = ["Prompt", "read_prompt", "score", "words"]

_LIST = re.compile(r"^(?:labels|categories|classes|options)\s*:\s*$", re.IGNORECASE)
_ITEM = re.compile(r"^\s*[-*]\s+([^:\n]+?)\s*(?::\s*(.*))?$")
_PAIR = re.compile(r"(?:^|\n\n)Input: (.*?)\nAnswer:[ \t]*([^\n]*)", re.DOTALL)
_WORD = re.compile(r"[^\W_]+")
_PLAIN = frozenset(
    _WORD.findall(
        """a an and are as at be been but by can could did do does for from get got had has have how
        i if in is it its me my not of on or our so that the their them then there they this to was
        we what when where which who why will with would you your please"""
    )
)
_SHARPNESS = 9.0  # how sure a difference in score makes it


@dataclass(frozen=True)
class Prompt:
    """What a prompt says, apart."""

    instructions: str
    labels: tuple[tuple[str, str], ...]  # name, description
    examples: tuple[tuple[str, str], ...]  # input, answer
    question: str


def read_prompt(asked: Asked) -> Prompt:
    """Labels from the constraint, else from a list in the text, else from the examples."""
    turns = list(asked.turns)
    said, question = [], ""
    for place, (role, text) in enumerate(turns):
        if role == "assistant" and place and turns[place - 1][0] == "user":
            said.append((turns[place - 1][1], text))
    for role, text in reversed(turns):
        if role == "user":
            question = text
            break
    told = asked.system or (turns[0][1] if turns else "")
    if pairs := _PAIR.findall(question):
        said += [(text, answer.strip()) for text, answer in pairs if answer.strip()]
        question = pairs[-1][0] if not pairs[-1][1].strip() else question
    listed = dict(_listed(told))
    if asked.choices:
        labels = tuple((name, listed.get(name, "")) for name in asked.choices)
    elif listed:
        labels = tuple(listed.items())
    else:
        labels = tuple((name, "") for name in dict.fromkeys(bare(answer) for _, answer in said))
    if not asked.system and listed:
        question = _after_list(question)
    return Prompt(told, labels, tuple((text, bare(answer)) for text, answer in said), question)


def bare(answer: str) -> str:
    """The label in an answer that wraps it as the only value of a JSON object."""
    if answer.startswith("{"):
        try:
            value = json.loads(answer)
        except ValueError:
            return answer
        if isinstance(value, dict) and len(value) == 1:
            (only,) = value.values()
            return only if isinstance(only, str) else answer
    return answer


@lru_cache(maxsize=64)
def _listed(text: str) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    inside = False
    for line in text.splitlines():
        if _LIST.match(line.strip()):
            inside = True
        elif inside and (item := _ITEM.match(line)):
            found[item[1]] = item[2] or ""
        elif inside and line.strip():
            inside = False
    return tuple(found.items())


def _after_list(text: str) -> str:
    """A user turn that opens with the instructions ends with the input, after a blank line."""
    return text.rpartition("\n\n")[2] if "\n\n" in text else text


@lru_cache(maxsize=20_000)
def words(text: str) -> tuple[str, ...]:
    """The words that carry meaning, without their endings."""
    return tuple(
        _stem(word) for word in _WORD.findall(text.lower()) if word not in _PLAIN and len(word) > 1
    )


def _stem(word: str) -> str:
    for ending in ("ing", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def _grams(text: str) -> Iterable[str]:
    for word in words(text):
        padded = f"<{word}>"
        yield from (padded[i : i + 3] for i in range(len(padded) - 2))
        yield from (padded[i : i + 4] for i in range(len(padded) - 3))


class Index:
    """TF-IDF over a few texts; `similar` is the cosine of a text to each."""

    def __init__(self, texts: Sequence[str], *, grams: bool) -> None:
        self._grams = grams
        bags = [Counter(self._features(text)) for text in texts]
        held = Counter(feature for bag in bags for feature in bag)
        self._idf = {f: math.log((1 + len(texts)) / (0.5 + n)) for f, n in held.items()}
        self._places: dict[str, list[tuple[int, float]]] = {}
        for place, bag in enumerate(bags):
            weights = {f: (1 + math.log(n)) * self._idf[f] for f, n in bag.items()}
            norm = math.sqrt(sum(w * w for w in weights.values())) or 1.0
            for feature, weight in weights.items():
                self._places.setdefault(feature, []).append((place, weight / norm))
        self._size = len(texts)

    def _features(self, text: str) -> Iterable[str]:
        yield from words(text)
        if self._grams:
            yield from _grams(text)

    def similar(self, text: str) -> list[float]:
        scores = [0.0] * self._size
        norm = 0.0
        for feature, n in Counter(self._features(text)).items():
            if feature in self._idf:
                weight = (1 + math.log(n)) * self._idf[feature]
                norm += weight * weight
                for place, other in self._places[feature]:
                    scores[place] += weight * other
        return [s / math.sqrt(norm) for s in scores] if norm else scores


@lru_cache(maxsize=256)
def _index(texts: tuple[str, ...], grams: bool) -> Index:
    return Index(texts, grams=grams)


def score(prompt: Prompt, *, closer: bool) -> dict[str, float]:
    """The natural log of each label's probability; `closer` also looks at character n-grams."""
    names = tuple(name for name, _ in prompt.labels)
    texts = tuple(f"{name.replace('_', ' ')} {described}" for name, described in prompt.labels)
    found = dict(zip(names, _index(texts, closer).similar(prompt.question), strict=True))
    if prompt.examples:
        shown = tuple(text for text, _ in prompt.examples)
        near: dict[str, float] = {}
        for (_, label), like in zip(
            prompt.examples, _index(shown, closer).similar(prompt.question), strict=True
        ):
            near[label] = max(near.get(label, 0.0), like)
        for label, like in near.items():
            if label in found:
                found[label] += 1.2 * like
    return log_shares({name: _SHARPNESS * value for name, value in found.items()})


def log_shares(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores as logs of probabilities that add up to one."""
    if not scores:
        return {}
    top = max(scores.values())
    total = top + math.log(sum(math.exp(value - top) for value in scores.values()))
    return {name: value - total for name, value in scores.items()}
