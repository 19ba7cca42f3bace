"""Rows out of files: CSV, JSON lines and Parquet as a stream of (place, columns).

Encoding, quoting and size are dealt with here, with the line named. What the columns mean is the
business of `formats.py`.
"""

from __future__ import annotations

import csv
import datetime
import decimal
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..core import Json
from ..errors import TaskError
from ..registry import need
from .findings import Finding, OnProblem

__all__ = [
    "LARGEST_LINE", "CsvText", "Record", "allow_long_cells", "read_csv", "read_jsonl",
    "read_parquet",
]  # fmt: skip

Record = tuple[str, dict[str, Json]]  # ("file:line", columns)

LARGEST_LINE = 64 * 2**20  # bytes; a longer one is a file of another kind, not an example
UTF8_BOM = b"\xef\xbb\xbf"
DELIMITERS = (",", ";", "\t", "|")
QUOTED = re.compile(r'"(?:[^"]|"")*"')
SAVE_AS_UTF8 = "save the file as UTF-8"


class CsvText(str):
    """A cell of a text-only format: it may hold JSON, which a JSON string never does."""

    __slots__ = ()


class Unreadable(Exception):
    """A row that cannot be read: what is wrong, and the cure."""

    def __init__(self, message: str, cure: str) -> None:
        super().__init__(message)
        self.finding = (message, cure)


def read_jsonl(path: Path, on_problem: OnProblem) -> Iterator[Record]:
    """Each line that is a JSON object; blank lines are skipped."""
    with open_binary(path) as file:
        for number, raw in numbered_lines(file):
            place = f"{path.name}:{number}"
            try:
                text = decode(raw)
                if text.strip():
                    yield place, parse_object(text)
            except Unreadable as error:
                on_problem(Finding("malformed row", error.finding[0], place, error.finding[1]))


def allow_long_cells() -> None:
    """The limit is the process's own: raised to what we accept anywhere, and never lowered."""
    csv.field_size_limit(max(csv.field_size_limit(), LARGEST_LINE))


def read_csv(path: Path, on_problem: OnProblem) -> Iterator[Record]:
    """Each record under the header, cells as text; the place is the line a record begins on."""
    allow_long_cells()
    with open_binary(path) as file:
        lines = _text_lines(path, file, on_problem)
        first = next(lines, "")
        delimiter = _delimiter(first, path)
        rows = csv.reader(_chain(first, lines), delimiter=delimiter, strict=True)
        header: list[str] = []
        while True:
            place = f"{path.name}:{rows.line_num + 1}"
            try:
                cells = next(rows, None)
            except csv.Error as error:
                on_problem(Finding("malformed row", _csv_message(error), place, _csv_cure(error)))
                continue
            if cells is None:
                return
            if not any(cells):
                continue
            if not header:
                header = _header(cells, place)
            elif len(cells) != len(header):
                message = f"the row has {len(cells)} cells, the header has {len(header)}"
                cure = "quote cells that hold the delimiter or a line break"
                on_problem(Finding("malformed row", message, place, cure))
            else:
                filled = zip(header, cells, strict=True)
                yield place, {name: CsvText(cell) for name, cell in filled if cell != ""}


def read_parquet(path: Path, on_problem: OnProblem) -> Iterator[Record]:
    """Each row of a Parquet file; the place counts rows from 1, and null cells are left out."""
    parquet = need("pyarrow.parquet", extra="parquet", what="reading Parquet")
    arrow = need("pyarrow", extra="parquet", what="reading Parquet")
    number = 0
    with open_binary(path) as file:
        try:
            for batch in parquet.ParquetFile(file).iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    place = f"{path.name}:{number}"
                    try:
                        yield place, {k: plain(v) for k, v in row.items() if v is not None}
                    except Unreadable as error:
                        message, cure = error.finding
                        on_problem(Finding("malformed row", message, place, cure))
        except (arrow.ArrowException, OSError) as error:
            raise TaskError(
                f"{path.name} is not a readable Parquet file: {error}",
                hint="write it again, or give the format with [data] format",
            ) from error


def open_binary(path: Path) -> BinaryIO:
    """The file, opened; raises TaskError when it is absent or may not be read."""
    try:
        return path.open("rb")
    except OSError as error:
        raise TaskError(
            f"{path.name!r} cannot be read: {error.strerror or error}",
            hint=f"put the file at {str(path)!r}, or name another one; [data] names a task's own",
        ) from error


def numbered_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers, from 1, without a byte-order mark and with lengths bounded."""
    number = 0
    while raw := file.readline(LARGEST_LINE + 1):
        number += 1
        if number == 1:
            if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise TaskError(f"line 1 of {file.name!r} is UTF-16", hint=SAVE_AS_UTF8)
            raw = raw.removeprefix(UTF8_BOM)
        if len(raw) > LARGEST_LINE:
            raise TaskError(
                f"line {number} of {file.name!r} is longer than {LARGEST_LINE >> 20} MiB",
                hint="one example a line; big files belong beside it, named by their path",
            )
        yield number, raw


def decode(raw: bytes) -> str:
    """The line as text; raises Unreadable when it is not UTF-8 or holds NUL."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        bad = raw[error.start]
        message = f"byte {error.start + 1} of the line (0x{bad:02x}) is not UTF-8"
        raise Unreadable(message, SAVE_AS_UTF8) from error
    if "\0" in text:
        message = f"a NUL byte at column {text.index(chr(0)) + 1}"
        raise Unreadable(message, "remove it; the file may be damaged or UTF-16")
    return text


def parse_object(text: str) -> dict[str, Json]:
    """The JSON object in `text`; raises Unreadable with the column of the mistake."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        message = f"not JSON: {error.msg} at column {error.colno}"
        raise Unreadable(message, 'one object a line: {"input": ..., "expected": ...}') from error
    except RecursionError as error:
        raise Unreadable("nested too deeply", "flatten the row") from error
    except ValueError as error:  # a number beyond the interpreter's limit of digits, NaN, Infinity
        raise Unreadable(f"not JSON: {error}", "use null or a string for it") from error
    if not isinstance(value, dict):
        message = f"a JSON {_json_name(value)}, not an object"
        raise Unreadable(message, 'one object a line: {"input": ..., "expected": ...}')
    if "\\u" in text:  # only an escape can bring these in: the bytes themselves were valid UTF-8
        _refuse_odd_characters(json.dumps(value, ensure_ascii=False))
    return value


def plain(value: Any) -> Json:
    """A Parquet value as JSON: dates and decimals become text; raises Unreadable for bytes."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | datetime.timedelta):
        return str(value)
    if isinstance(value, bytes):
        raise Unreadable("a binary column", "store text, or the path of a file")
    return value


def _text_lines(path: Path, file: BinaryIO, on_problem: OnProblem) -> Iterator[str]:
    for number, raw in numbered_lines(file):
        try:
            yield decode(raw)
        except Unreadable as error:
            message, cure = error.finding
            on_problem(Finding("malformed row", message, f"{path.name}:{number}", cure))
            yield "\n"  # keeps the count of lines; a blank row is skipped


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    if first:
        yield first
    yield from rest


def _delimiter(first: str, path: Path) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    bare = QUOTED.sub("", first)
    return max(DELIMITERS, key=bare.count)  # a comma when there is none of them


def _header(cells: list[str], place: str) -> list[str]:
    names = [cell.strip() or f"column_{i + 1}" for i, cell in enumerate(cells)]
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise TaskError(
            f"{place}: the column {twice[0]!r} appears twice in the header", hint="rename one"
        )
    return names


def _csv_message(error: csv.Error) -> str:
    if "unexpected end of data" in str(error):
        return "a quoted cell begins here and never ends"
    return f"not CSV: {error}"


def _csv_cure(error: csv.Error) -> str:
    if "new-line character" in str(error):
        return "save the file with \\n or \\r\\n line endings"
    if "field limit" in str(error):
        return "one example a row; big files belong beside it, named by their path"
    return 'put quotes around the whole cell and double the quotes inside: "say ""yes"""'


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is not a JSON number")


def _json_name(value: Json) -> str:
    names = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _refuse_odd_characters(text: str) -> None:
    if "\\u0000" in text.replace("\\\\", ""):
        raise Unreadable("a NUL character", "remove it")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = f"\\u{ord(text[error.start]):04x}"
        raise Unreadable(f"half of a surrogate pair ({code})", "write both halves") from error
