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
# pieces of a value that may hide brackets: strings of all four kinds, and comments; a multi-line
# string that is not closed yet counts as an open bracket
HIDING = re.compile(
    r"""
      ["]{3} (?:[^\\]|\\.)*? ["]{3}
    | [']{3} .*? [']{3}
    | (?P<open> ["]{3} | [']{3} )
    | " (?:[^"\\\n]|\\.)* "
    | ' [^'\n]* '
    | [#] [^\n]*
    """,
    re.DOTALL | re.VERBOSE,
)

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
            for depth in range(len(table) + 1, len(path) + 1):
                found.setdefault(path[:depth], start + 1)
            value = match[2]
            while not _whole(value) and number < len(lines):
                value += "\n" + lines[number]
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


def _whole(value: str) -> bool:
    visible = HIDING.sub(lambda match: "[" if match["open"] else "", value)
    return sum(visible.count(c) for c in "[{") <= sum(visible.count(c) for c in "]}")
