"""On which line of a TOML file a key stands, so that a complaint about it can name the line.

`tomllib` keeps no positions. This scan knows tables, dotted keys and multi-line strings and
arrays; what stands inside an inline value is found at the line of the key it belongs to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["line_of", "lines_of"]

KEY = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
DOTTED = rf"{KEY}(?:\s*\.\s*{KEY})*"
TABLE = re.compile(rf"\s*\[\[?\s*({DOTTED})\s*\]\]?")
ASSIGNMENT = re.compile(rf"\s*({DOTTED})\s*=\s*(.*)")
# what may open or close in a value; strings and comments on one line hide the brackets in them
TOKEN = re.compile(r"""["]{3}|[']{3}|"(?:[^"\\]|\\.)*"|'[^']*'|[#].*|[\[\]{}]""")
CLOSING = {
    '"' * 3: re.compile(r'(?<!\\)(?:\\\\)*"{3,5}'),  # quotes that no backslash takes away
    "'" * 3: re.compile(r"'{3,5}"),
}

Path = tuple[str, ...]


def lines_of(text: str) -> dict[Path, int]:
    """The line, from 1, of every table and key of a valid TOML document."""
    found: dict[Path, int] = {}
    table: Path = ()
    lines = text.split("\n")
    number = 0
    while number < len(lines):
        line = lines[number]
        start = number
        number += 1
        if match := TABLE.match(line):
            table = _names(match[1])
            found.setdefault(table, start + 1)
        elif match := ASSIGNMENT.match(line):
            path = (*table, *_names(match[1]))
            for end in range(len(table) + 1, len(path) + 1):
                found.setdefault(path[:end], start + 1)
            depth, quote = _after(match[2], 0, "")
            while (depth or quote) and number < len(lines):
                depth, quote = _after(lines[number], depth, quote)
                number += 1
    return found


def line_of(lines: dict[Path, int], path: Sequence[object]) -> int | None:
    """The line of the key at `path`, or of the nearest key or table above it."""
    names = tuple(str(name) for name in path)
    for depth in range(len(names), 0, -1):
        if (line := lines.get(names[:depth])) is not None:
            return line
    return None


def _names(dotted: str) -> Path:
    return tuple(name.strip("\"'") for name in re.findall(KEY, dotted))


def _after(line: str, depth: int, quote: str) -> tuple[int, str]:
    """How many brackets are open after `line`, and which multi-line string, if any."""
    at = 0
    while True:
        if quote:
            closing = CLOSING[quote].search(line, at)
            if closing is None:
                return depth, quote
            at = closing.end()
        token = TOKEN.search(line, at)
        if token is None:
            return depth, ""
        at = token.end()
        quote = token[0] if token[0] in CLOSING else ""
        depth += (token[0] in "[{") - (token[0] in "]}")
