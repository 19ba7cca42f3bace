"""Examples out of files and into files: which format, and which column means what.

Rows come from `rows.py`, conversations from `chat.py`. Whether the examples are any good is the
business of `checks.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from ..core import DataSource, Example, Input, Json, Kind
from ..errors import TaskError
from .chat import Malformed, simplify
from .chat_gemini import from_gemini
from .chat_openai import from_openai, messages_from_json
from .findings import Finding, OnProblem, raise_problem
from .rows import CsvText, Record, read_csv, read_jsonl, read_parquet

__all__ = ["FORMATS", "format_of", "read_examples", "read_unlabelled"]

METADATA = ("meta", "metadata")  # a column of this name that holds an object is spread out
ROW_READERS: dict[str, Callable[[Path, OnProblem], Iterator[Record]]] = {
    "csv": read_csv,
    "jsonl": read_jsonl,
    "parquet": read_parquet,
    "openai": read_jsonl,
    "gemini": read_jsonl,
}
FORMATS = tuple(ROW_READERS)
CONVERSATIONS = {"openai": from_openai, "gemini": from_gemini}
SUFFIXES = {
    ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip


class MissingField(Exception):
    """A row lacks what it needs: the message and the cure."""


def read_examples(
    path: Path,
    source: DataSource | None = None,
    *,
    kind: Kind | None = None,
    on_problem: OnProblem = raise_problem,
) -> Iterator[Example]:
    """The examples of one file, as they are read.

    Args:
        path: the file.
        source: its format and which columns mean what; None for the default names.
        kind: of the task; labels become text, and answers that are records are parsed.
        on_problem: what to do with a row that cannot be used: raise (the default), or collect
            and go on.

    Raises:
        TaskError: the file as a whole cannot be read, or `on_problem` raised it.
    """
    source = source or DataSource()
    form = source.format or format_of(path)
    if form not in ROW_READERS:
        raise TaskError(f"no format is called {form!r}", hint=f"known: {', '.join(FORMATS)}")
    namer = _Namer(source.id)
    for place, row in ROW_READERS[form](path, on_problem):
        try:
            answered, expected, rest = _parts(row, form, source)
            expected = _fit(expected, kind)
            group = _take_name(row, rest, source.group, "group")
            yield Example(
                namer(row, rest, answered, expected), answered, expected, group,
                _metadata(rest), place,
            )  # fmt: skip
        except MissingField as error:
            message, cure = error.args
            on_problem(Finding("missing field", message, place, cure))
        except Malformed as error:
            cure = "see the documentation of data formats"
            on_problem(Finding("malformed row", str(error), place, cure))


def read_unlabelled(
    path: Path, source: DataSource, *, on_problem: OnProblem = raise_problem
) -> Iterator[Example]:
    """The inputs of a file of rows like the task's, with None for what is expected.

    What is expected is not read even where a row has it. Raises like `read_examples`, and where
    the file has no rows.
    """
    form = format_of(path)
    if form in CONVERSATIONS:
        raise TaskError(
            f"{path.name!r} holds conversations in the format {form!r}, which end with an answer",
            hint="write rows with the task's input column(s); a column may hold a conversation",
        )
    namer, rows = _Namer(source.id), 0
    for rows, (place, row) in enumerate(ROW_READERS[form](path, on_problem), 1):  # noqa: B007
        try:
            rest = dict(row)
            answered = _input(row, rest, source)
            rest.pop(source.expected, None)
            group = _take_name(row, rest, source.group, "group")
            name = namer(row, rest, answered, None)
            yield Example(name, answered, None, group, _metadata(rest), place)
        except MissingField as error:
            message, cure = error.args
            on_problem(Finding("missing field", message, place, cure))
        except Malformed as error:
            cure = "see the documentation of data formats"
            on_problem(Finding("malformed row", str(error), place, cure))
    if not rows:
        raise TaskError(f"{path.name!r} has no rows", hint="give a file with inputs")


def format_of(path: Path) -> str:
    """Which format a file has, by its suffix and, for JSON lines, by its first row."""
    form = SUFFIXES.get(path.suffix.lower())
    if form is None:
        array = path.suffix.lower() == ".json"
        listed = "write one object a line into a file that ends in .jsonl; or " if array else ""
        raise TaskError(
            f"the format of {path.name!r} cannot be told from its name",
            hint=f"{listed}give it as [data] format (one of {', '.join(FORMATS)}), or rename the "
            f"file to end in one of {' '.join(SUFFIXES)}",
        )
    if form != "jsonl":
        return form
    for _, row in islice(read_jsonl(path, lambda finding: None), 1):
        if isinstance(row.get("contents"), list):
            return "gemini"
        if isinstance(row.get("messages"), list) and "input" not in row:
            return "openai"
    return form


def dig(row: Mapping[str, Json], path: str) -> Json:
    """The value at a column name or dotted path; raises KeyError."""
    if path in row:
        return row[path]
    head, dot, rest = path.partition(".")
    while dot:
        inner = row.get(head)
        if isinstance(inner, Mapping):
            return dig(inner, rest)
        more, dot, rest = rest.partition(".")
        head = f"{head}.{more}"
    raise KeyError(path)


def digest(answered: Input, expected: Json) -> str:
    """A short name for an example that has none, by what it says."""
    text = json.dumps([_jsonable(answered), expected], ensure_ascii=False, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass
class _Namer:
    """Gives examples ids: their own, or one by content, numbered when content repeats."""

    column: str | None
    seen: dict[str, int] = field(default_factory=dict)

    def __call__(
        self, row: Mapping[str, Json], rest: dict[str, Json], answered: Input, expected: Json
    ) -> str:
        own = _take_name(row, rest, self.column, "id")
        if own is None and self.column is None and isinstance(rest.get("id"), str | int):
            own = str(rest.pop("id"))
        if own is not None:
            return own
        name = digest(answered, expected)
        self.seen[name] = self.seen.get(name, 0) + 1
        return name if self.seen[name] == 1 else f"{name}-{self.seen[name]}"


def _parts(
    row: dict[str, Json], form: str, source: DataSource
) -> tuple[Input, Json, dict[str, Json]]:
    if form in CONVERSATIONS:
        return CONVERSATIONS[form](row)
    rest = dict(row)
    answered = _input(row, rest, source)
    expected = _take(row, rest, source.expected, "expected")
    return answered, expected, rest


def _input(row: Mapping[str, Json], rest: dict[str, Json], source: DataSource) -> Input:
    if not isinstance(source.input, str):
        return {name: _take(row, rest, name, "input") for name in source.input}
    value = _take(row, rest, source.input, "input")
    if isinstance(value, list):
        return simplify(messages_from_json(value))
    if isinstance(value, bool | int | float):
        return str(value)
    return str(value) if isinstance(value, CsvText) else value


def _take(row: Mapping[str, Json], rest: dict[str, Json], path: str, what: str) -> Json:
    try:
        value = dig(row, path)
    except KeyError:
        columns = ", ".join(repr(name) for name in row)
        cure = f"fill it in, or name the right column with [data] {what}; the row has {columns}"
        raise MissingField(f"no {path!r}", cure) from None
    if value is None or (value in ("", [], {}) and what == "input"):
        raise MissingField(f"{path!r} is empty", "fill it in, or remove the row")
    if isinstance(value, str) and what == "input" and not value.strip():
        raise MissingField(f"{path!r} is blank", "fill it in, or remove the row")
    rest.pop(path, None)
    return value


def _take_name(
    row: Mapping[str, Json], rest: dict[str, Json], path: str | None, what: str
) -> str | None:
    if path is None:
        return None
    value = _take(row, rest, path, what)
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise MissingField(f"{path!r} is not text or a whole number", f"name another {what} column")
    return str(value)


def _fit(expected: Json, kind: Kind | None) -> Json:
    """The expected answer in the form its kind of task has."""
    if kind == "classification" and isinstance(expected, bool | int | float):
        return json.dumps(expected)
    if kind in {"extraction", "calls"} and isinstance(expected, str):
        try:
            return json.loads(expected)
        except ValueError as error:
            cure = "write the answer as JSON, or set kind to another than 'extraction' and 'calls'"
            raise MissingField(f"the expected answer is not JSON: {error}", cure) from None
    return str(expected) if isinstance(expected, CsvText) else expected


def _metadata(rest: dict[str, Json]) -> dict[str, Json]:
    metadata: dict[str, Json] = {}
    for name, value in rest.items():
        if name in METADATA and isinstance(value, dict):
            metadata.update(value)
        else:
            metadata[name] = str(value) if isinstance(value, CsvText) else value
    return metadata


def _jsonable(answered: Input) -> Json:
    return [repr(message) for message in answered] if isinstance(answered, tuple) else answered
