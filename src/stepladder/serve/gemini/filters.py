"""The filter language of Google's lists: `state="JOB_STATE_FAILED" AND labels.team=red`.

Comparisons joined by AND, OR and NOT; OR binds tighter than AND, as Google has it. A filter that
names a field which a list does not filter by is refused: it is never taken to fit everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from ...core import Json
from .. import Refusal
from .spelling import camel_case

__all__ = ["Fits", "read_filter"]

Fits = Callable[[Mapping[str, Json]], bool]

WORDS = re.compile(r'\s*("(?:[^"\\]|\\.)*"|!=|<=|>=|[=<>:()]|[^\s"=<>:()!]+)')
SIGNS = frozenset({"=", "!=", "<", "<=", ">", ">=", ":"})
DEEPEST = 50


def read_filter(given: str, fields: Collection[str]) -> Fits:
    """What tells whether the body of a resource fits; an empty filter fits all.

    `fields` are those to filter by, as the body spells them; `labels` stands for each label.

    Raises:
        Refusal: the filter is no filter, or names another field.
    """
    if not given.strip():
        return lambda body: True
    reader = _Reader(_words(given), frozenset(fields), given)
    fits = reader.every()
    if reader.left:
        raise reader.wrong(f"unexpected {reader.left[0]!r}")
    return fits


@dataclass
class _Reader:
    """Takes words from the left; `left` is what has not been read yet."""

    left: list[str]
    fields: frozenset[str]
    given: str
    depth: int = field(default=0)

    def every(self) -> Fits:
        """What is joined by AND."""
        parts = [self.some()]
        while self._take("AND"):
            parts.append(self.some())
        return lambda body: all(part(body) for part in parts)

    def some(self) -> Fits:
        """What is joined by OR."""
        parts = [self.one()]
        while self._take("OR"):
            parts.append(self.one())
        return lambda body: any(part(body) for part in parts)

    def one(self) -> Fits:
        """A comparison or a group, or what it is not."""
        wanted = True
        while self._take("NOT"):
            wanted = not wanted
        inner = self._group()
        return inner if wanted else lambda body: not inner(body)

    def _group(self) -> Fits:
        if not self._take("("):
            return self._comparison()
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.wrong("too many parentheses")
        inner = self.every()
        if not self._take(")"):
            raise self.wrong("a ')' is missing")
        self.depth -= 1
        return inner

    def wrong(self, why: str) -> Refusal:
        return Refusal(
            "invalid",
            f"the filter {self.given[:200]!r} cannot be read: {why}",
            hint=f"comparisons of {', '.join(sorted(self.fields))}, joined by AND, OR and NOT",
            param="filter",
        )

    def _comparison(self) -> Fits:
        if len(self.left) < 3 or self.left[1] not in SIGNS or self.left[2] in SIGNS | {"(", ")"}:
            raise self.wrong('a comparison such as state="JOB_STATE_FAILED" is missing')
        name, sign, value = self.left[:3]
        del self.left[:3]
        path = self._path(name)
        wanted = _unquoted(value)
        return lambda body: _compare(_look_up(body, path), sign, wanted)

    def _path(self, name: str) -> tuple[str, ...]:
        first, _, rest = name.partition(".")
        found = camel_case(first)
        if found not in self.fields or bool(rest) != (found == "labels"):
            raise self.wrong(f"{name!r} cannot be filtered by")
        return (found, rest) if rest else (found,)

    def _take(self, word: str) -> bool:
        if not self.left or self.left[0] != word:
            return False
        del self.left[0]
        return True


def _words(given: str) -> list[str]:
    found: list[str] = []
    at = 0
    while given[at:].strip():
        match = WORDS.match(given, at)
        if match is None:
            raise Refusal(
                "invalid",
                f"the filter {given[:200]!r} cannot be read from {given[at:][:20]!r} on",
                param="filter",
            )
        found.append(match[1])
        at = match.end()
    return found


def _look_up(body: Mapping[str, Json], path: tuple[str, ...]) -> str | None:
    value: Json = body
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return None if value is None else str(value)


def _compare(found: str | None, sign: str, wanted: str) -> bool:
    if sign == "!=":
        return found != wanted
    if found is None:
        return False
    if sign == ":":
        return _matches(found, wanted)
    order = (found > wanted) - (found < wanted)
    return {"=": order == 0, "<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0}[
        sign
    ]


def _matches(found: str, wanted: str) -> bool:
    """Whether the text holds this; with `*` for anything, whether it is this from end to end."""
    first, *others = wanted.split("*")
    if not others:
        return wanted in found
    if not found.startswith(first):
        return False
    *middle, last = others
    at = len(first)
    for part in middle:
        at = found.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return found.endswith(last) and len(found) - len(last) >= at


def _unquoted(word: str) -> str:
    return re.sub(r"\\(.)", r"\1", word[1:-1]) if word.startswith('"') else word
