"""Examples into files, in the formats that `formats.py` reads; and from one format to another.

A file appears whole or not at all: it is written beside its place and renamed.
"""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from ..core import DataSource, Example, Json, Message
from ..errors import StoreError, TaskError
from ..registry import need
from .chat import as_text, conversation
from .chat_gemini import to_gemini
from .chat_openai import messages_to_json, to_openai
from .findings import OnProblem, raise_problem
from .formats import FORMATS, SUFFIXES, read_examples

__all__ = ["Conversion", "convert", "write_examples", "write_whole"]

CHAT = ("openai", "gemini")
OWN = ("id", "input", "expected", "group")


@dataclass(frozen=True)
class Conversion:
    """What `convert` wrote: how many examples, how to read them back, and what was left behind."""

    examples: int
    source: DataSource
    lost: tuple[str, ...] = ()


def convert(
    source_path: Path,
    path: Path,
    *,
    source: DataSource | None = None,
    form: str | None = None,
    instructions: str = "",
    on_problem: OnProblem = raise_problem,
) -> Conversion:
    """Write the examples of one file as another; the format is told by `form` or the name.

    `instructions` become the system turn of conversations that have none.

    OpenAI's and Gemini's formats hold the conversation and nothing else: ids, groups and metadata
    (save tools and settings of theirs) are left behind, and `lost` says which of them there were.
    """
    examples = list(read_examples(source_path, source, on_problem=on_problem))
    form = form or _form_of(path)
    if instructions and form in CHAT:
        examples = [_instructed(example, instructions) for example in examples]
    written = write_examples(examples, path, form)
    named = source is not None and source.id is not None
    return Conversion(len(examples), written, _lost(examples, form, named))


def write_examples(examples: Iterable[Example], path: Path, form: str | None = None) -> DataSource:
    """Write examples to `path`; the DataSource that comes back reads them again.

    Raises:
        TaskError: the format cannot hold these examples.
        StoreError: the file cannot be written.
    """
    form = form or _form_of(path)
    if form not in WRITERS:
        raise TaskError(f"no format is called {form!r}", hint=f"known: {', '.join(FORMATS)}")
    return WRITERS[form](examples, path)


@contextmanager
def write_whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes its place at `path` only when all went well."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        try:
            with beside.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)  # gone already when all went well
    except OSError as error:
        raise StoreError(
            f"{str(path)!r} cannot be written: {error.strerror or error}",
            hint="make room, or choose a folder that may be written to",
        ) from error


def _form_of(path: Path) -> str:
    form = SUFFIXES.get(path.suffix.lower())
    if form is None:
        raise TaskError(
            f"the format of {path.name!r} cannot be told from its name",
            hint=f"name one of {', '.join(FORMATS)}, or a file that ends in one of "
            f"{' '.join(SUFFIXES)}",
        )
    return form


def _instructed(example: Example, instructions: str) -> Example:
    turns = conversation(example)
    if any(message.role == "system" for message in turns):
        return example
    return replace(example, input=(Message("system", instructions), *turns))


def _lost(examples: Sequence[Example], form: str, named: bool) -> tuple[str, ...]:
    if form not in CHAT:
        return ()
    lost = {"ids": named, "groups": any(e.group is not None for e in examples)}
    names = dict.fromkeys(name for example in examples for name in example.metadata)
    kept = {"tools"} | ({"parallel_tool_calls"} if form == "openai" else {"generationConfig"})
    return (*(what for what, found in lost.items() if found), *(n for n in names if n not in kept))


def _write_lines(rows: Iterable[Json], path: Path) -> None:
    with write_whole(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def _write_jsonl(examples: Iterable[Example], path: Path) -> DataSource:
    grouped = False

    def rows() -> Iterator[Json]:
        nonlocal grouped
        for example in examples:
            grouped |= example.group is not None
            yield _native(example)

    _write_lines(rows(), path)
    return DataSource(
        examples=path.name, format="jsonl", id="id", group="group" if grouped else None
    )


def _native(example: Example) -> dict[str, Json]:
    answered = example.input
    row: dict[str, Json] = {
        "id": example.id,
        "input": messages_to_json(answered) if isinstance(answered, tuple) else answered,
        "expected": example.expected,
    }
    if example.group is not None:
        row["group"] = example.group
    if example.metadata:
        row["metadata"] = dict(example.metadata)
    return row


def _write_openai(examples: Iterable[Example], path: Path) -> DataSource:
    _write_lines(map(to_openai, examples), path)
    return DataSource(examples=path.name, format="openai")


def _write_gemini(examples: Iterable[Example], path: Path) -> DataSource:
    _write_lines(map(to_gemini, examples), path)
    return DataSource(examples=path.name, format="gemini")


def _write_csv(examples: Iterable[Example], path: Path) -> DataSource:
    table, source = _table(list(examples), path, "csv")
    with write_whole(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        writer.writerow(table)
        columns = [[_cell(value) for value in column] for column in table.values()]
        writer.writerows(zip(*columns, strict=True))
        text.detach()
    return source


def _write_parquet(examples: Iterable[Example], path: Path) -> DataSource:
    arrow = need("pyarrow", extra="parquet", what="writing Parquet")
    parquet = need("pyarrow.parquet", extra="parquet", what="writing Parquet")
    table, source = _table(list(examples), path, "parquet")
    columns = {name: _column(values) for name, values in table.items()}
    with write_whole(path) as file:
        parquet.write_table(arrow.table(columns), file)
    return source


def _table(
    examples: Sequence[Example], path: Path, form: str
) -> tuple[dict[str, list[Json]], DataSource]:
    """One column per field and per metadata name; None where an example has none."""
    table: dict[str, list[Json]] = {"id": [e.id for e in examples]}
    fields = _fields(examples, path, form)
    for name in fields:
        table[name] = [e.input[name] for e in examples if isinstance(e.input, dict)]
    if not fields:
        table["input"] = [e.input for e in examples]
    table["expected"] = [
        e.expected if isinstance(e.expected, str) else as_text(e.expected) for e in examples
    ]
    if any(example.group is not None for example in examples):
        table["group"] = [example.group for example in examples]
    for name in dict.fromkeys(name for example in examples for name in example.metadata):
        if name in table or not name.strip():
            raise _cannot_hold(path, form, f"metadata called {name!r}")
        table[name] = [example.metadata.get(name) for example in examples]
    group = "group" if "group" in table else None
    return table, DataSource(
        examples=path.name, format=form, input=fields or "input", id="id", group=group
    )


def _fields(examples: Sequence[Example], path: Path, form: str) -> tuple[str, ...]:
    """The names of the input's fields, or none when inputs are text."""
    shapes = {frozenset(e.input) if isinstance(e.input, dict) else None for e in examples}
    if any(isinstance(example.input, tuple) for example in examples):
        raise _cannot_hold(path, form, "conversations")
    if len(shapes) > 1:
        raise _cannot_hold(path, form, "inputs of several shapes")
    shape = examples[0].input if examples else ""
    if not isinstance(shape, dict):
        return ()
    for example in examples:
        values = example.input.values() if isinstance(example.input, dict) else ()
        if shape.keys() & set(OWN) or not all(isinstance(v, str) and v.strip() for v in values):
            raise _cannot_hold(path, form, "fields that are not text, or have a name of our own")
    return tuple(shape)


def _cannot_hold(path: Path, form: str, what: str) -> TaskError:
    return TaskError(f"{path.name!r}: {form} cannot hold {what}", hint="write 'jsonl' instead")


def _cell(value: Json) -> str:
    return "" if value is None else as_text(value)


def _column(values: list[Json]) -> list[Json]:
    """Values of one plain type as they are; otherwise all as text."""
    types = {type(value) for value in values if value is not None}
    if len(types) <= 1 and types <= {str, bool, int, float}:
        return values
    return [None if value is None else as_text(value) for value in values]


WRITERS: dict[str, Callable[[Iterable[Example], Path], DataSource]] = {
    "csv": _write_csv,
    "jsonl": _write_jsonl,
    "parquet": _write_parquet,
    "openai": _write_openai,
    "gemini": _write_gemini,
}
