"""Writes docs/reference/cli.md from the command line's own help. `tests/test_docs.py` checks it.

python docs/generate_cli.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "reference" / "cli.md"
WIDTH = "100"
HEAD = """\
# Command line

<!-- Written by docs/generate_cli.py from --help; do not edit. -->

Exit codes: 0 met (or done), 1 not met, undecided or blocked, 2 misuse, 3 a bug (with a traceback),
130 interrupted. Everything that prints for people also prints JSON for machines with `--json`.
Errors are one message and one cure, on standard error.
"""


def cli_page() -> str:
    """The page: one section per command, with the text that --help prints."""
    sections = [f"## {name}\n\n```text\n{text}\n```\n" for name, text in _helps()]
    return "\n".join([HEAD, *sections])


def _helps() -> Iterator[tuple[str, str]]:
    from typer.main import get_command
    from typer.testing import CliRunner

    from stepladder.cli import app

    runner = CliRunner(env={"COLUMNS": WIDTH, "NO_COLOR": "1"})
    for path in _paths(get_command(app), ()):
        text = runner.invoke(app, [*path, "--help"], terminal_width=int(WIDTH)).stdout
        lines = [line.rstrip() for line in text.strip().splitlines()]
        yield " ".join(("stepladder", *path)), "\n".join(lines)


def _paths(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from _paths(inner, (*path, name))


if __name__ == "__main__":
    PAGE.write_text(cli_page(), encoding="utf-8")
