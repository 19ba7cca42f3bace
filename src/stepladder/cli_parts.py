"""What the command line's files share: options, results as text or JSON, the run that is meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from .errors import StepladderError

__all__ = ["AsJson", "latest_run", "print_result"]

AsJson = Annotated[bool, typer.Option("--json", help="print JSON for machines instead")]


def latest_run(where: Path) -> Path:
    """The run folder itself, or the run of a task that was decided last."""
    if where.is_file() or (where / "decision.json").is_file():
        return where
    decided = sorted(
        (where / "runs").glob("*/decision.json"), key=lambda path: path.stat().st_mtime
    )
    if not decided:
        raise StepladderError(
            f"{str(where)!r} has no finished climb", hint=f"run: stepladder climb {where}"
        )
    return decided[-1].parent


def print_result(record: Any, as_json: bool, text: str) -> None:
    """The record for machines, or the text for people."""
    from .report.record import plain

    typer.echo(json.dumps(plain(record), indent=1, ensure_ascii=False) if as_json else text)
