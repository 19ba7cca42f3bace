"""Runs to export from."""

from __future__ import annotations

from pathlib import Path

from stepladder.data.split import load_split
from stepladder.session import Options, run_climb
from stepladder.task import load_task

__all__ = ["climb_to"]


def climb_to(task: Path, *steps: str) -> Path:
    """The run folder of a climb of these steps, with the whole ladder measured."""
    loaded = load_task(task)
    options = Options(steps=steps, whole_ladder=True)
    _, run = run_climb(loaded, load_split(loaded), options, lambda event, fields: None)
    return run
