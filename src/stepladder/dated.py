"""Files of dated entries, and how a model's name finds its entry in them.

Prices and facts on models come as TOML tables whose entries say when and where they were read. The
files that come with stepladder are overlaid by the user's own: first the one in the configuration
folder, then one that is named. What the entries mean is the business of `cost.py` and
`catalogue.py`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from platformdirs import user_config_path

from .errors import StepladderError

__all__ = ["Entries", "base_of", "best_fit", "config_folder", "is_tuned", "load_entries"]

Entries = Mapping[str, Sequence[Any]]  # of each table, in the order of the file
Raw = dict[str, Any]

HINT = "every entry needs its figures, `read_on` (a date) and `source`, and nothing else"
OPENAI_TUNED = re.compile(r"(?P<provider>[^:]+):ft:(?P<base>[^:]+)(:.*)?")


def load_entries(
    name: str, tables: Mapping[str, type], keys: Mapping[str, str], override: Path | None
) -> Entries:
    """The entries of a shipped file, with the user's in place of those of the same key.

    Args:
        name: of the file, both among the package's data and in the user's configuration folder.
        tables: the dataclass of each table's entries.
        keys: the field of each table that names what an entry is about.
        override: a file of the same shape that comes over the others.

    Raises:
        StepladderError: A file cannot be read, or an entry is not of the right shape; the message
            names the file and the entry.
    """
    texts = {name: files("stepladder").joinpath(name).read_text(encoding="utf-8")}
    own = config_folder() / name
    for path in (own if own.is_file() else None, override):
        if path is not None:
            texts[str(path)] = _read(path)
    raw: dict[str, list[Raw]] = {table: [] for table in tables}
    entries: dict[str, list[Any]] = {table: [] for table in tables}
    for place, text in texts.items():
        content = _content(text, place, tables)
        for table, kind in tables.items():
            key = keys[table]
            more = _with_likes(content.get(table, ()), raw[table], key, f"{place}: {table}")
            checked = [_entry(one, kind, where) for where, one in more]
            given = {getattr(entry, key) for entry in checked}
            raw[table] = [each for each in raw[table] if each[key] not in given]
            raw[table] += [one for _, one in more]
            entries[table] = [each for each in entries[table] if getattr(each, key) not in given]
            entries[table] += checked
    return entries


def config_folder() -> Path:
    """Where the user's own tables are: $STEPLADDER_CONFIG, or the user's configuration folder."""
    return Path(os.environ.get("STEPLADDER_CONFIG") or user_config_path("stepladder"))


def base_of(model: str) -> str:
    """The model that a tuned one was made from, which has its price and its facts; else itself.

    Tuned are `provider:base@tuned` and, as OpenAI names them, `provider:ft:base:...`.
    """
    base, at, _ = model.partition("@")
    if at:
        return base
    match = OPENAI_TUNED.fullmatch(model)
    return f"{match['provider']}:{match['base']}" if match else model


def is_tuned(model: str) -> bool:
    """Whether the name is that of a tuned model."""
    return base_of(model) != model


def best_fit(patterns: Iterable[str], model: str) -> str | None:
    """The pattern that says most of `model`: its own name, else the longest that ends in a star."""
    fitting = [pattern for pattern in patterns if _fits(pattern, model)]
    return max(fitting, key=lambda name: (not name.endswith("*"), len(name)), default=None)


def _fits(pattern: str, model: str) -> bool:
    return model.startswith(pattern[:-1]) if pattern.endswith("*") else model == pattern


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise StepladderError(
            f"{str(path)!r} cannot be read: {error.strerror}", hint="check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise StepladderError(f"{str(path)!r} is not UTF-8", hint="save it as UTF-8") from error


def _content(text: str, place: str, tables: Mapping[str, type]) -> Mapping[str, Sequence[Raw]]:
    known = f"known, as [[name]]: {', '.join(tables)}"
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StepladderError(f"{place}: {error}", hint="correct the TOML") from error
    if unknown := sorted(set(content) - set(tables)):
        raise StepladderError(f"{place}: unknown table {', '.join(map(repr, unknown))}", hint=known)
    for table, entries in content.items():
        if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
            raise StepladderError(f"{place}: {table} is not a list of tables", hint=known)
    return content


def _with_likes(
    given: Sequence[Raw], before: Sequence[Raw], key: str, place: str
) -> list[tuple[str, Raw]]:
    """Where each entry stands and what it says; `like` takes over what it does not say itself.

    An entry may be like any of the files before and any that stands above it. Like a model with
    several entries (dearer for long inputs, or from a later day on) it becomes as many.
    """
    told: list[tuple[str, Raw]] = []
    for index, entry in enumerate(given, 1):
        where = f"{place}[{index}]"
        if "like" not in entry:
            told.append((where, entry))
            continue
        known = [*before, *(one for _, one in told)]
        pattern = best_fit((str(each.get(key)) for each in known), str(entry["like"]))
        own = _less(entry, "like")
        if pattern is None:
            raise StepladderError(
                f"{where}.like: there is no entry for {entry['like']!r}",
                hint="name one of an earlier file, or one that stands above",
            )
        told += [(where, {**_less(each, key), **own}) for each in known if each.get(key) == pattern]
    return told


def _less(entry: Raw, key: str) -> Raw:
    return {name: value for name, value in entry.items() if name != key}


def _entry(raw: Raw, kind: type, place: str) -> Any:
    from pydantic import ValidationError

    known = {field.name for field in fields(kind)}
    for name, value in raw.items():
        if name not in known:
            raise StepladderError(f"{place}.{name}: not a known key", hint=HINT)
        if isinstance(value, float | int) and value < 0:
            raise StepladderError(f"{place}.{name}: {value} is below zero", hint=HINT)
    try:
        return _adapter(kind).validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = "".join(f".{part}" for part in first["loc"])
        raise StepladderError(f"{place}{key}: {first['msg']}", hint=HINT) from error


@cache
def _adapter(kind: type) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
