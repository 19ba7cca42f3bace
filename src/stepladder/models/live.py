"""The seam of an engine that answers many callers at once: sequences join and leave as they run.

Below it are token ids and nothing else; above it (`serve/`) are chat templates, text, stop strings
and protocols. `Model.generate` in `messages.py` is the other way to a model: a whole batch at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from ..messages import Json

__all__ = ["LiveEngine", "Load", "Made", "Prompt", "Sampling", "Sink", "Ticket", "Token"]

Ticket = int  # names one sequence while it runs


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn. Temperature 0 takes the most probable one, always."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """One sequence to go on with, and how.

    At most one of `schema`, `choices` and `grammar` (in the engine's EBNF) bounds what may be said.
    `top_logprobs` None asks for no probability, 0 for that of the chosen tokens, k for the k most
    probable beside them. `adapter` is the folder of a LoRA adapter of the engine's base model.
    """

    ids: tuple[int, ...]
    max_output_tokens: int
    sampling: Sampling = Sampling()
    schema: Mapping[str, Json] | None = None
    choices: tuple[str, ...] = ()
    grammar: str | None = None
    top_logprobs: int | None = None
    adapter: Path | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was made; log-probabilities are natural logarithms."""

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()  # (id, log-probability), the most probable first


@dataclass(frozen=True, slots=True)
class Made:
    """What one step added to a sequence. The last one has `finish`, and nothing comes after it.

    The end-of-sequence token is not among `tokens`. `seconds` counts from `start`; `waited_seconds`
    of them passed before the first step.
    """

    tokens: tuple[Token, ...] = ()
    finish: Literal["stop", "length", "cancelled", "error"] | None = None
    error: str | None = None
    seconds: float = 0.0
    waited_seconds: float = 0.0
    compute_seconds: float | None = None
    cached_tokens: int | None = None  # of the prompt; None where the engine does not tell
    end_logprob: float | None = None  # of the end-of-sequence token, where they are asked for
    refused: bool = False  # with "error": it is the prompt's fault, and it would fail again


Sink = Callable[[Made], None]


@dataclass(frozen=True, slots=True)
class Load:
    """How busy an engine is, in sequences, and how many may run at once."""

    running: int
    waiting: int
    most_running: int


@runtime_checkable
class LiveEngine(Protocol):
    """Goes on with many sequences side by side, each with its own adapter and sampling."""

    def start(self, prompt: Prompt, sink: Sink) -> Ticket:
        """Queue a sequence; returns at once.

        `sink` is called from the engine's own thread, must not block, and is called last with a
        `Made` that has `finish`. A prompt that cannot be run ends with finish "error". Raises
        RuntimeError when the engine is closed.
        """
        ...

    def cancel(self, ticket: Ticket) -> None:
        """End a sequence early (finish "cancelled") and free its place; nothing if it is over."""
        ...

    def load(self) -> Load:
        """How busy it is now."""
        ...

    def close(self) -> None:
        """End what runs, free the memory. No sequence can be started afterwards."""
        ...
