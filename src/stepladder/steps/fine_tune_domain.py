"""The domain's raw text: read from the task's folder, with a part held out to measure what it does.

How it is learned is for `trainers/texts.py`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import TaskError

__all__ = ["DomainText", "read_domain"]

KINDS = (".txt", ".md", ".jsonl")
HELD_OUT = 0.05  # of the texts
FEWEST = 20  # texts; fewer of them are cut into paragraphs, so that some can be held out


@dataclass(frozen=True)
class DomainText:
    """Texts to learn from and texts to measure on."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]

    @property
    def characters(self) -> int:
        """Of what is learned from."""
        return sum(map(len, self.train))


def read_domain(path: Path, seed: int) -> DomainText:
    """The texts of a file, or of all .txt, .md and .jsonl files in a folder and below.

    A line of a .jsonl file is a JSON string, or an object with "text". Raises TaskError, with file
    and line, for what cannot be read, and where there is no text.
    """
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix in KINDS)
    texts = [text for file in files for text in _texts(file) if text.strip()]
    if not texts:
        raise TaskError(
            f"there is no text in {str(path)!r}",
            hint=f"put files there that end in {', '.join(KINDS)}",
        )
    if len(texts) < FEWEST:
        texts = [part for text in texts for part in text.split("\n\n") if part.strip()]
    order = list(range(len(texts)))
    random.Random(seed).shuffle(order)
    held = {*order[: min(200, int(HELD_OUT * len(texts)) or (len(texts) > 1))]}
    return DomainText(
        tuple(text for place, text in enumerate(texts) if place not in held),
        tuple(text for place, text in enumerate(texts) if place in held),
    )


def _texts(path: Path) -> Iterator[str]:
    try:
        whole = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(
            f"the domain's text {str(path)!r} cannot be read: {error}",
            hint="save it as UTF-8 text, or take it out of the folder",
        ) from error
    if path.suffix != ".jsonl":
        yield whole
        return
    for number, line in enumerate(whole.splitlines(), 1):
        if line.strip():
            yield _text_of(line, f"{path.name}:{number}")


def _text_of(line: str, place: str) -> str:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise TaskError(f"{place}: not JSON: {error}", hint="mend or drop the line") from error
    text = row.get("text") if isinstance(row, dict) else row
    if not isinstance(text, str):
        raise TaskError(f"{place}: no text", hint='a line is a string, or an object with "text"')
    return text
