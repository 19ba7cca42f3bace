"""PDF, DOCX and HTML to text, by pypdf, python-docx and lxml.

Files are data: nothing in them is run, no address in them is fetched, no entity is resolved, and
what a page hides from its readers is no part of it. What was converted is kept by the hash of the
file, so that a file is converted again when it changed.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from ..errors import TaskError
from ..registry import need

__all__ = ["CONVERTED", "CONVERTERS", "convert"]

CONVERTED = "converted.sqlite"  # among a run's artifacts
VERSION = "2"  # another one for another text from the same file
_MOST_UNPACKED = 512 * 2**20
_MOST_MARKUP = 64 * 2**20  # of one part that is parsed, which takes several times as much memory
# what parsers raise that were made for files that somebody meant well
_DAMAGED = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError,
    RuntimeError, SyntaxError, TypeError, ValueError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_WHAT = "reading the files of 'knowledge'"
_BLOCKS = (
    "address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figcaption",
    "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav",
    "ol", "p", "pre", "section", "table", "tr", "ul",
)  # fmt: skip
_UNSEEN = ("script", "style", "noscript", "template", "head", "svg", "iframe", "object")
# what a page may hold, by its number as well, and lxml does not take back
_CONTROLS = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_HIDING = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)\b", re.IGNORECASE)


class Unreadable(Exception):
    """The file is damaged, locked or too large, in words."""


def convert(path: Path, name: str, kept: Path | None) -> tuple[str, str]:
    """The title, which may be empty, and the text.

    Raises:
        TaskError: the file is damaged, encrypted, too large when unpacked, or says nothing.
        MissingExtra: its converter is not installed.
    """
    content = path.read_bytes()
    kind = path.suffix.lower()
    key = hashlib.sha256(f"{VERSION}{kind} ".encode() + content).hexdigest()
    found = _kept(kept / CONVERTED, key) if kept else None
    if found is None:
        try:
            found = CONVERTERS[kind](content)
        except Unreadable as error:
            raise TaskError(
                f"{name!r} cannot be read: {error}",
                hint="save it again, or as text, or take it out",
            ) from error
        if not found[1].strip():
            raise TaskError(
                f"there is no text in {name!r}",
                hint="a scanned page is an image: run it through text recognition first",
            )
        if kept:
            _keep(kept / CONVERTED, key, found)
    return found


def _from_pdf(content: bytes) -> tuple[str, str]:
    pypdf: Any = need("pypdf", extra="retrieval", what=_WHAT)
    try:
        reader = pypdf.PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("it is encrypted with a password")
        pages = [page.extract_text() for page in reader.pages]
        title = str((reader.metadata or {}).get("/Title") or "")
    except (pypdf.errors.PyPdfError, *_DAMAGED) as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from error
    # a word that was cut at the end of a line is one word
    return title.strip(), re.sub(r"(\w)-\n(?=[a-z])", r"\1", "\n\n".join(pages))


def _from_docx(content: bytes) -> tuple[str, str]:
    docx: Any = need("docx", extra="retrieval", what=_WHAT)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            parts = packed.infolist()
            if sum(part.file_size for part in parts) > _MOST_UNPACKED:
                raise Unreadable("it unpacks to more than 512 MiB")
            if any(_is_markup(part) and part.file_size > _MOST_MARKUP for part in parts):
                raise Unreadable("a part of it has more than 64 MiB of markup")
        document = docx.Document(io.BytesIO(content))
        blocks = [_block(block) for block in document.iter_inner_content()]
    except _DAMAGED as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from error
    return str(document.core_properties.title or "").strip(), "\n\n".join(filter(None, blocks))


def _is_markup(part: zipfile.ZipInfo) -> bool:
    return part.filename.lower().endswith((".xml", ".rels"))


def _block(block: Any) -> str:
    """A paragraph, or the rows of a table."""
    if hasattr(block, "rows"):
        return "\n".join(" | ".join(cell.text for cell in row.cells) for row in block.rows)
    return str(block.text).strip()


def _from_html(content: bytes) -> tuple[str, str]:
    html: Any = need("lxml.html", extra="retrieval", what=_WHAT)
    etree: Any = need("lxml.etree", extra="retrieval", what=_WHAT)
    utf8: str | None = "utf-8"
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        utf8 = None  # then as the page itself says
    parser = html.HTMLParser(no_network=True, encoding=utf8, remove_comments=True)
    try:
        page = html.document_fromstring(content, parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError) as error:
        raise Unreadable(str(error)) from error
    title = " ".join((page.findtext(".//title") or "").split())
    for unseen in page.xpath("|".join(f"//{tag}" for tag in _UNSEEN)):
        unseen.drop_tree()
    for hidden in page.xpath("//body//*[@hidden or @style]"):
        if "hidden" in hidden.attrib or _HIDING.search(hidden.get("style", "")):
            hidden.drop_tree()
    for block in page.iter(*_BLOCKS):
        block.tail = "\n" + _CONTROLS.sub("", block.tail or "")
        block.text = "\n" + _CONTROLS.sub("", block.text or "")
    lines = [" ".join(line.split()) for line in page.text_content().split("\n")]
    return title, re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


CONVERTERS: dict[str, Callable[[bytes], tuple[str, str]]] = {
    ".pdf": _from_pdf,
    ".docx": _from_docx,
    ".html": _from_html,
    ".htm": _from_html,
}


def _kept(file: Path, key: str) -> tuple[str, str] | None:
    """What this file said before; None where that is not known, or no longer readable."""
    if not file.is_file():
        return None
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(file, timeout=60)) as db:
        for (row,) in db.execute("SELECT text FROM converted WHERE key = ?", (key,)):
            title, text = json.loads(row)
            return title, text
    return None


def _keep(file: Path, key: str, found: tuple[str, str]) -> None:
    """Best effort: what cannot be kept is converted again."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(file, timeout=60)) as db, db:
        db.execute(
            "CREATE TABLE IF NOT EXISTS converted (key TEXT PRIMARY KEY, text TEXT NOT NULL)"
            " WITHOUT ROWID"
        )
        db.execute(
            "INSERT OR IGNORE INTO converted VALUES (?, ?)",
            (key, json.dumps(found, ensure_ascii=False)),
        )
