"""The fields of a body, read strictly, one by one: whatever is wrong is told by the field's path.

Every protocol module of this folder reads its bodies through it. Nothing here knows which fields a
call has, or what they mean. null is a field that is not there, as OpenAI's own clients send it.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from ...core import Json
from .. import Refusal

__all__ = ["Fields", "metadata", "wrong"]


@dataclass(frozen=True, slots=True)
class Fields:
    """An object of a request and where it is in it; `path` is empty for the body itself.

    What is read is of the type asked for, or None where it is not there. Raises Refusal "invalid"
    with the field's path for everything else.
    """

    given: Mapping[str, Json]
    path: str = ""

    @classmethod
    def of(cls, value: Json, path: str = "") -> Fields:
        """The fields of a value that has to be an object."""
        if not isinstance(value, dict):
            raise wrong(path or "the body", "an object", value)
        return cls(value, path)

    def at(self, name: str) -> str:
        """The path of a field."""
        return f"{self.path}.{name}" if self.path else name

    def known(self, names: Collection[str]) -> None:
        """Refuse what is not one of these names."""
        for name in self.given:
            if name not in names:
                raise _unknown(name, self, names)

    def has(self, name: str) -> bool:
        """Whether a field is there and not null."""
        return self.given.get(name) is not None

    def text(self, name: str, *, most: int | None = None, least: int = 0) -> str | None:
        """A string of `least` to `most` characters."""
        value = self.given.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise wrong(self.at(name), "a string", value)
        if len(value) < least or (most is not None and len(value) > most):
            bounds = f"{least} to {most}" if most is not None else f"at least {least}"
            raise wrong(self.at(name), f"a string of {bounds} characters", value)
        return value

    def needed_text(self, name: str, *, least: int = 1) -> str:
        """A string that has to be there."""
        value = self.text(name, least=least)
        if value is None:
            raise self.missing(name)
        return value

    def whole(self, name: str, low: int, high: int) -> int | None:
        """A whole number from `low` to `high`, both included."""
        value = self.given.get(name)
        if value is None:
            return None
        number = _as_whole(value)
        if number is None or not low <= number <= high:
            raise wrong(self.at(name), f"a whole number from {low} to {high}", value)
        return number

    def number(self, name: str, low: float, high: float) -> float | None:
        """A finite number from `low` to `high`, both included."""
        value = self.given.get(name)
        if value is None:
            return None
        if not _is_number(value) or not low <= value <= high:
            raise wrong(self.at(name), f"a number from {low:g} to {high:g}", value)
        return float(value)

    def flag(self, name: str) -> bool | None:
        """Either true or false."""
        value = self.given.get(name)
        if value is None or isinstance(value, bool):
            return value
        raise wrong(self.at(name), "true or false", value)

    def one_of(self, name: str, choices: Collection[str]) -> str | None:
        """One of these strings."""
        value = self.given.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or value not in choices:
            raise wrong(self.at(name), f"one of {', '.join(map(repr, choices))}", value)
        return value

    def inner(self, name: str) -> Fields | None:
        """An object."""
        value = self.given.get(name)
        return None if value is None else Fields.of(value, self.at(name))

    def needed_inner(self, name: str) -> Fields:
        """An object that has to be there."""
        found = self.inner(name)
        if found is None:
            raise self.missing(name)
        return found

    def items(self, name: str, *, least: int = 0, most: int | None = None) -> list[Json] | None:
        """A list of `least` to `most` values of any kind."""
        value = self.given.get(name)
        if value is None:
            return None
        if not isinstance(value, list):
            raise wrong(self.at(name), "a list", value)
        if len(value) < least or (most is not None and len(value) > most):
            bounds = f"{least} to {most}" if most is not None else f"at least {least}"
            raise self.fault(name, f"has to have {bounds} entries, not {len(value)}")
        return value

    def objects(self, name: str, *, least: int = 0, most: int | None = None) -> Iterator[Fields]:
        """The objects of a list, each with its own path."""
        for number, one in enumerate(self.items(name, least=least, most=most) or ()):
            yield Fields.of(one, f"{self.at(name)}[{number}]")

    def missing(self, name: str) -> Refusal:
        """The refusal of a body without this field."""
        path = self.at(name)
        return Refusal("invalid", f"{path!r} is missing", hint="the call needs it", param=path)

    def fault(self, name: str, words: str, *, hint: str = "") -> Refusal:
        """The refusal of a field for a reason of its own; `words` follow its path."""
        path = self.at(name)
        return Refusal("invalid", f"{path!r} {words}", hint=hint, param=path)


def wrong(path: str, wanted: str, value: Json) -> Refusal:
    """The refusal of a value of another type or range."""
    if isinstance(value, list | dict):
        shown = "a list" if isinstance(value, list) else "an object"
    else:
        shown = json.dumps(value[:80] if isinstance(value, str) else value, ensure_ascii=False)
    return Refusal("invalid", f"{path!r} has to be {wanted}, not {shown}", param=path)


def metadata(body: Fields) -> dict[str, str]:
    """The caller's own notes: up to 16 short strings by short names."""
    found = body.inner("metadata")
    if found is None:
        return {}
    if len(found.given) > 16:
        raise body.fault("metadata", f"has to have at most 16 entries, not {len(found.given)}")
    notes = {}
    for name in found.given:
        if not 0 < len(name) <= 64:
            raise body.fault("metadata", f"has to have names of 1 to 64 characters, not {name!r}")
        value = found.text(name, most=512)
        if value is None:
            raise wrong(found.at(name), "a string", None)
        notes[name] = value
    return notes


def _unknown(name: str, where: Fields, names: Collection[str]) -> Refusal:
    path = where.at(name)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(names))}"
    return Refusal("invalid", f"no argument is called {path!r}", hint=hint, param=path)


def _as_whole(value: Json) -> int | None:
    """1 and 1.0 are the same number in JSON; true is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) else None


def _is_number(value: Json) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or math.isfinite(value)
