"""What a server and the process of its engine say to each other: pickled, between the two alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..live import Made, Prompt, Ticket

__all__ = ["Cancel", "Ended", "Failed", "News", "Ready", "Settings", "Start"]

Ended = tuple[Ticket, Made]


@dataclass(frozen=True, slots=True)
class Settings:
    """What an engine is opened with. `engine` is the built folder of the model in `folder`.

    Long prompts are computed in pieces of `piece_tokens`, whole blocks of 32.
    """

    folder: Path
    engine: Path
    eos_id: int
    context_tokens: int
    exact: bool = False
    most_running: int = 32
    piece_tokens: int = 256


@dataclass(frozen=True, slots=True)
class Start:
    """Queue a sequence that arrived at that time of `time.perf_counter`."""

    ticket: Ticket
    prompt: Prompt
    arrived: float


@dataclass(frozen=True, slots=True)
class Cancel:
    """End a sequence."""

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The model cannot be loaded."""

    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class News:
    """Sequences that have begun, what was made of which, and how many run now."""

    begun: tuple[Ticket, ...]
    made: tuple[Ended, ...]
    running: int
