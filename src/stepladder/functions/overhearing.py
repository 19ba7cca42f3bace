"""What a program says on the side (its standard error): kept off the terminal, its end remembered.

A server of functions may write whatever it likes there, also what would steer a terminal or pass
for a line of our own log.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, field
from threading import Thread
from typing import TextIO

__all__ = ["Overheard", "overhear"]

_LINES = 20
_LONGEST = 400  # characters; what is longer is taken as several lines
_SECONDS = 1.0  # what is still on its way when a program has ended


@dataclass
class Overheard:
    """Where a program may write, and the last lines that it wrote."""

    file: TextIO
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES))
    _listening: Thread | None = None

    def last_line(self) -> str:
        """The last line that says anything, for people; nothing more is heard after this."""
        self.end()
        return self.lines[-1] if self.lines else ""

    def end(self) -> None:
        """Wait for what was already said. Ending twice is free."""
        self.file.close()
        if self._listening is not None:
            self._listening.join(_SECONDS)  # something that it started may still hold the pipe


def overhear() -> Overheard:
    """A pipe that is read until it is ended, so that no program ever waits for it."""
    reading, writing = os.pipe()
    heard = Overheard(os.fdopen(writing, "w", encoding="utf-8"))
    heard._listening = Thread(target=_listen, args=(reading, heard.lines), daemon=True)
    heard._listening.start()
    return heard


def _listen(reading: int, lines: deque[str]) -> None:
    with open(reading, encoding="utf-8", errors="replace") as said:
        while line := said.readline(_LONGEST):
            plain = "".join(one if one.isprintable() else " " for one in line).strip()
            if plain:
                lines.append(plain)
