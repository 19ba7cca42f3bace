"""Writes docs/reference/code.md: each file of the package with the first sentence that it says.

python docs/generate_code_map.py
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "stepladder"
PAGE = Path(__file__).parent / "reference" / "code.md"
HEAD = """\
# The code, file by file

<!-- Written by docs/generate_code_map.py from the modules' docstrings; do not edit. -->

Start with `core.py`, then `climb.py`. The README shows how the folders hang together.
"""


def code_map() -> str:
    """The page: one table per folder, in the order of their paths."""
    folders = sorted({path.parent for path in PACKAGE.rglob("*.py")})
    return "\n".join([HEAD, *(text for folder in folders if (text := _table(folder)))])


def _table(folder: Path) -> str:
    rows = list(_rows(folder))
    if not rows:
        return ""
    name = folder.relative_to(PACKAGE.parent).as_posix()
    return "\n".join([f"## {name}\n", "| file | what it is |", "|---|---|", *rows, ""])


def _rows(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("*.py")):
        said = _first_sentence(path)
        if said or path.name != "__init__.py":
            yield f"| `{path.name}` | {said} |"


def _first_sentence(path: Path) -> str:
    """The docstring up to its first full stop, on one line; empty without a docstring."""
    said = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    paragraph = " ".join(said.split("\n\n")[0].split())
    sentence = paragraph.split(". ")[0].rstrip(".")
    return sentence.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(code_map(), encoding="utf-8")
