"""Solvers of a plugin, as the workers of a cluster find them: by an entry point."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stepladder.core import Input, Output, Workshop
from stepladder.errors import ModelError

__all__ = ["Fussy", "install"]


@dataclass(frozen=True)
class Fussy:
    """Says what it is given, unless that is an order: to break, stop everything, die, or stall.

    It stalls once, until somebody writes to the pipe whose path is its word.
    """

    word: str = "said"
    kind: str = field(default="fussy", init=False)

    def answer(self, inputs: Sequence[Input], workshop: Workshop) -> Iterator[tuple[int, Output]]:
        for index, given in enumerate(inputs):
            if given == "break":
                raise ZeroDivisionError("broken by this row")
            if given == "stop":
                raise ModelError("nothing works here", hint="mend it")
            if given == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if given == "stall" and _first(Path(self.word + ".mark")):
                Path(self.word).read_text(encoding="utf-8")
            if given != "skip":
                yield index, Output(f"{self.word} {given}")


def _first(mark: Path) -> bool:
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def install(folder: Path) -> None:
    """Write the plugin's metadata, as pip would: `folder` on the path makes it known."""
    info = folder / "fussy-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fussy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[stepladder.solver]\nfussy = plugin_solvers:Fussy\n", encoding="utf-8"
    )
