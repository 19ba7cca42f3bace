"""Extraction without a model: spans seen in train, looked up in the text, put into the answer.

For each place in the answer (a path of keys) it knows the spans that train put there. It has no
context: a drug's name is tagged wherever it stands. Places whose values are not copied from the
text, such as an event's type, get their usual value. All records of a list become one record.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..core import Example, Input, Json, Output, Workshop
from ..errors import NotApplicable
from .artifact import open_artifact, save_artifact
from .prompt import render_input
from .timed import timed

__all__ = ["DictionarySolver", "fit_dictionary"]

_LONGEST = 12  # words of a span; longer ones do not come back in another text
_WORD = re.compile(r"\w+|[^\w\s]")
_ITEM = "[]"  # in a path: any element of a list

Path_ = tuple[str, ...]
Words = tuple[str, ...]


@dataclass(frozen=True)
class DictionarySolver:
    """Tags spans that train knows; confidence is the mean precision of those it used."""

    artifact: str
    kind: str = field(default="dictionary", init=False)

    def answer(self, inputs: Sequence[Input], workshop: Workshop) -> Iterator[tuple[int, Output]]:
        """An answer in the shape of train's for each input."""
        places = _load(open_artifact(workshop.artifacts, self.artifact))
        yield from timed(
            self.kind, inputs, lambda batch: [_tag(places, render_input(one)) for one in batch]
        )


@dataclass(frozen=True)
class _Place:
    """One path of the answer: the spans to look for with their precision, or a usual value."""

    path: Path_
    spans: Mapping[Words, float] = field(default_factory=dict)
    usual: Json = None


def fit_dictionary(
    train: Sequence[Example], workshop: Workshop, *, precision: float = 0.25
) -> DictionarySolver:
    """Learn the spans of each path, and store those that are right often enough.

    A span stays when, of the train texts with it, at least the share `precision` expected it at
    that path. An item raises F1 when it is right more often than half the F1 that is reached
    (Lipton et al., 2014), so the default suits taggers of up to 0.5.

    Raises:
        NotApplicable: no expected answer is a JSON object or list.
    """
    rows = [(render_input(e.input), list(_leaves(e.expected))) for e in train]
    if not any(leaves and leaves[0][0] for _, leaves in rows):
        raise NotApplicable("a dictionary tagger needs JSON answers, and train has none")
    grams = [_grams(_words(text)) for text, _ in rows]
    seen = Counter(gram for found in grams for gram in found)
    by_path: dict[Path_, list[tuple[int, Json]]] = defaultdict(list)
    for row, (_, leaves) in enumerate(rows):
        for path, value in leaves:
            by_path[path].append((row, value))
    places = []
    for path, values in by_path.items():
        copied = [(row, _key(value)) for row, value in values if _key(value) in grams[row]]
        if 2 * len(copied) >= len(values):
            places.append(_Place(path, _precise(copied, seen, precision)))
        elif 2 * len({row for row, _ in values}) >= len(train):
            places.append(_Place(path, usual=_most_common([value for _, value in values])))
    return DictionarySolver(save_artifact(workshop.artifacts, {"places.json": _dump(places)}))


def _precise(
    copied: Sequence[tuple[int, Words]], seen: Mapping[Words, int], precision: float
) -> dict[Words, float]:
    right = Counter(key for _, key in set(copied))
    return {
        key: times / seen[key] for key, times in right.items() if times / seen[key] >= precision
    }


def _tag(places: Sequence[_Place], text: str) -> Output:
    words = list(_WORD.finditer(text))
    folded = [word.group().casefold() for word in words]
    answer: Json = None
    used: list[float] = []
    tagged: set[Path_] = set()
    leaves: list[tuple[Path_, Json]] = []
    for place in places:
        for start, end, precision in _matches(folded, place.spans):
            span = text[words[start].start() : words[end - 1].end()]
            leaves.append((place.path, span))
            tagged.add(_record(place.path))
            used.append(precision)
    usual = [(p.path, p.usual) for p in places if not p.spans and p.usual is not None]
    # A usual value alone is no finding: a record of a list exists only with a span in it.
    leaves += [leaf for leaf in usual if not _record(leaf[0]) or _record(leaf[0]) in tagged]
    order = {place.path: at for at, place in enumerate(places)}
    for path, value in sorted(leaves, key=lambda leaf: order[leaf[0]]):
        answer = _put(answer, path, value)
    if answer is None:
        answer = _empty(places[0].path) if places else {}
    confidence = sum(used) / len(used) if used else None
    return Output(answer, json.dumps(answer, ensure_ascii=False), confidence=confidence)


def _matches(
    words: Sequence[str], spans: Mapping[Words, float]
) -> Iterator[tuple[int, int, float]]:
    """(start, end, precision) of known spans, the longest at each word, none overlapping."""
    at = 0
    while at < len(words):
        for end in range(min(len(words), at + _LONGEST), at, -1):
            precision = spans.get(tuple(words[at:end]))
            if precision is not None:
                yield at, end, precision
                at = end - 1
                break
        at += 1


def _leaves(value: Json, path: Path_ = ()) -> Iterator[tuple[Path_, Json]]:
    if isinstance(value, Mapping):
        for key, inside in value.items():
            yield from _leaves(inside, (*path, key))
    elif isinstance(value, list | tuple):
        for inside in value:
            yield from _leaves(inside, (*path, _ITEM))
    elif value is not None and value != "":
        yield path, value


def _record(path: Path_) -> Path_:
    """The path of the list element that holds this leaf among others; () when there is none."""
    inner = path[:-1] if path and path[-1] == _ITEM else path
    places = [at for at, key in enumerate(inner) if key == _ITEM]
    return inner[: places[-1] + 1] if places else ()


def _put(answer: Json, path: Path_, value: Json) -> Json:
    """The answer with `value` at `path`: the first of a single value, each new one of a list."""
    if not path:
        return value if answer is None else answer
    key, rest = path[0], path[1:]
    if key != _ITEM:
        answer = {} if answer is None else answer
        answer[key] = _put(answer.get(key), rest, value)
        return answer
    answer = [] if answer is None else answer
    if not rest:
        return answer if value in answer else [*answer, value]
    return [_put(answer[0] if answer else None, rest, value)]


def _empty(path: Path_) -> Json:
    """The answer of this shape that states nothing."""
    if not path or path[0] == _ITEM:
        return []
    return {path[0]: []} if path[1:2] == (_ITEM,) else {}


def _words(text: str) -> Words:
    return tuple(_WORD.findall(text.casefold()))


def _key(value: Json) -> Words:
    return _words(value if isinstance(value, str) else json.dumps(value))


def _grams(words: Words) -> set[Words]:
    longest = range(1, _LONGEST + 1)
    return {words[i : i + n] for n in longest for i in range(len(words) - n + 1)}


def _most_common(values: Sequence[Json]) -> Json:
    keys = [json.dumps(value, sort_keys=True) for value in values]
    return values[keys.index(Counter(keys).most_common(1)[0][0])]


def _dump(places: Sequence[_Place]) -> bytes:
    records: list[dict[str, Any]] = [
        {
            "path": place.path,
            "spans": [[list(words), precision] for words, precision in place.spans.items()],
            "usual": place.usual,
        }
        for place in places
    ]
    return json.dumps(records, ensure_ascii=False).encode()


@lru_cache(maxsize=8)
def _load(folder: Path) -> tuple[_Place, ...]:
    records = json.loads((folder / "places.json").read_text(encoding="utf-8"))
    return tuple(
        _Place(
            tuple(record["path"]),
            {tuple(words): precision for words, precision in record["spans"]},
            record["usual"],
        )
        for record in records
    )
