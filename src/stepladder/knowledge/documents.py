"""What there is to answer from, as documents: a folder `knowledge/` or a file `corpus.jsonl`.

Reads and checks; a file of another kind, an unreadable one or an id that two documents share is an
error that names it, so that nothing is left out in silence. Cutting is in `passages.py`.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ..data.rows import LARGEST_LINE, allow_long_cells
from ..errors import TaskError
from .converters import CONVERTERS, convert

__all__ = ["CORPUS", "FOLDER", "Document", "knowledge_of", "make_document", "read_documents"]

FOLDER = "knowledge"
CORPUS = "corpus.jsonl"
_ROWS = (".jsonl", ".csv")
_TEXTS = (".md", ".markdown", ".txt", ".text")
_MOST_BYTES = 512 * 2**20  # of one file that is read whole


@dataclass(frozen=True, slots=True)
class Document:
    """One text with its name. `source` is the file that it came from, `sha256` of what it says."""

    id: str
    source: str
    title: str
    text: str
    sha256: str


def make_document(id: str, source: str, title: str, text: str) -> Document:
    """The document with its hash, over the title and the text; halves of characters are marked."""
    id, source, title, text = (
        one.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        for one in (id, source, title, text)
    )
    said = json.dumps([title, text], ensure_ascii=False).encode()
    return Document(id, source, title, text, hashlib.sha256(said).hexdigest())


def knowledge_of(task_folder: Path) -> Path | None:
    """The task's `knowledge/` or `corpus.jsonl`; None where it has neither.

    Raises:
        TaskError: it has both.
    """
    found = [path for path in (task_folder / FOLDER, task_folder / CORPUS) if path.exists()]
    if len(found) == 2:
        raise TaskError(
            f"{str(task_folder)!r} has both {FOLDER!r} and {CORPUS!r}",
            hint=f"move {CORPUS} into {FOLDER}/: files of rows are read there too",
        )
    return found[0] if found else None


def read_documents(knowledge: Path, kept: Path | None = None) -> Iterator[Document]:
    """The documents of a folder or of one file, in the order of their paths and rows.

    A PDF, DOCX or HTML file is converted once as long as it does not change, where a folder is
    given as `kept`. Files whose names begin with "." are not looked at.

    Raises:
        TaskError: a file or row cannot be read, is of a kind that is not read, or has an id that
            another has; or there is no document at all.
        MissingExtra: a converter is not installed.
    """
    return _unlike(_documents(knowledge, kept), knowledge)


def _documents(knowledge: Path, kept: Path | None) -> Iterator[Document]:
    if knowledge.is_file():
        yield from _read(knowledge, knowledge.name, kept)
        return
    root = knowledge.resolve()
    for path in sorted(knowledge.rglob("*")):
        name = path.relative_to(knowledge)
        if any(part.startswith(".") for part in name.parts):
            continue
        if path.is_symlink():
            _check_link(path, root)
        if not path.is_dir():
            yield from _read(path, name.as_posix(), kept)


def _check_link(path: Path, root: Path) -> None:
    """Raise TaskError unless the link leads to a file in the folder; others are not followed."""
    try:
        inside = path.resolve().is_relative_to(root) and path.is_file()
    except (OSError, RuntimeError):  # it leads to itself
        inside = False
    if not inside:
        raise TaskError(
            f"{str(path)!r} is a link that leads out of {FOLDER!r}, or to no file",
            hint="copy what it leads to into the folder",
        )


def _unlike(documents: Iterable[Document], knowledge: Path) -> Iterator[Document]:
    """The same, as long as no two have one id."""
    seen: dict[str, str] = {}
    for document in documents:
        if document.id in seen:
            raise TaskError(
                f"two documents are called {document.id!r}: in {seen[document.id]!r} and in "
                f"{document.source!r}",
                hint="give each row an id of its own",
            )
        seen[document.id] = document.source
        yield document
    if not seen:
        raise TaskError(
            f"there is no document in {str(knowledge)!r}",
            hint="put files there: PDF, DOCX, HTML, Markdown, text, CSV or JSONL",
        )


def _read(path: Path, name: str, kept: Path | None) -> Iterator[Document]:
    kind = path.suffix.lower()
    if kind not in (*_ROWS, *_TEXTS, *CONVERTERS):
        raise TaskError(
            f"{name!r} is of a kind that is not read",
            hint=f"known: {', '.join(sorted((*_ROWS, *_TEXTS, *CONVERTERS)))}; take it out, or "
            "save it as one of these",
        )
    if not path.is_file():  # a pipe would be waited for, and a device read without end
        raise TaskError(f"{name!r} is no file", hint="take it out of the folder")
    try:
        if kind == ".jsonl":
            yield from _read_jsonl(path, name)
        elif kind == ".csv":
            yield from _read_csv(path, name)
        else:
            if path.stat().st_size > _MOST_BYTES:
                raise TaskError(f"{name!r} is larger than 512 MiB", hint="cut it into several")
            if kind in _TEXTS:
                text = path.read_text(encoding="utf-8-sig")
                title = _heading(text) or path.stem
            else:
                title, text = convert(path, name, kept)
            yield make_document(name, name, title or path.stem, text)
    except UnicodeDecodeError as error:
        raise TaskError(
            f"{name!r} is not UTF-8 text: {error.reason} at byte {error.start}",
            hint="save it as UTF-8",
        ) from error
    except OSError as error:
        raise TaskError(f"{name!r} cannot be read: {error}", hint="look at its rights") from error


def _read_jsonl(path: Path, name: str) -> Iterator[Document]:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(_lines(lines, name), 1):
            if not line.strip():
                continue
            place = f"{name}:{number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise TaskError(f"{place} is not JSON: {error}", hint="mend the line") from error
            if not isinstance(row, dict) or not isinstance(row.get("text"), str):
                raise TaskError(
                    f"{place} has no 'text'",
                    hint='every line is like {"id": "a", "title": "b", "text": "c"}',
                )
            title = row.get("title") or ""
            yield make_document(str(row.get("id") or place), name, str(title), row["text"])


def _read_csv(path: Path, name: str) -> Iterator[Document]:
    """A column `text` is the text; without one, a row is a line per column."""
    allow_long_cells()
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(_lines(stream, name), strict=True)
        try:
            for row in rows:
                place = f"{name}:{rows.line_num}"
                if None in row or None in row.values():
                    raise TaskError(
                        f"{place} has not as many cells as the first line has names",
                        hint="mend the line: a comma within a cell needs quotes around the cell",
                    )
                whole = "\n".join(f"{key}: {value}" for key, value in row.items() if value)
                text = row.get("text") or whole
                title = row.get("title") or ""
                yield make_document(row.get("id") or place, name, title, text)
        except csv.Error as error:
            raise TaskError(
                f"{name}:{rows.line_num} is not CSV: {error}", hint="mend the line"
            ) from error


def _lines(stream: TextIO, name: str) -> Iterator[str]:
    """The lines of a file of rows; TaskError for one that is no row any more."""
    for number, line in enumerate(iter(lambda: stream.readline(LARGEST_LINE), ""), 1):
        if len(line) == LARGEST_LINE:
            raise TaskError(
                f"{name}:{number} is longer than 64 MiB", hint="cut it into several rows"
            )
        yield line


def _heading(text: str) -> str:
    """The first line, if it is a Markdown heading."""
    first = text.lstrip().partition("\n")[0]
    return first.lstrip("#").strip() if first.startswith("#") else ""
