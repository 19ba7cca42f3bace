"""How the service behaves: a test may change any of it at any time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

__all__ = ["Settings"]


@dataclass
class Settings:
    """What a test changes; the defaults are a service without limits that answers at once."""

    latency: float = 0.0  # seconds that a model takes
    concurrency: int | None = None  # calls of a model at once; above it 429
    per_second: float | None = None  # calls of a model; above it 429
    wait_seconds: float | None = 0.05  # what a 429 of a limit says; None: it says nothing
    chunk_seconds: float = 0.0  # between the events of a stream
    cache_least_tokens: int = 1024
    polls: int = 2  # how often a job is asked after before it ends
    jobs_at_once: int | None = None  # tuning jobs; above it 429
    fail_jobs: str = ""  # tuning jobs end with this error
    deployed: bool = True  # whether a machine runs what was tuned at Together and Fireworks
    fail_batches: str = ""  # so do batches
    fail_batch_rows: float = 0.0  # share of the rows of a batch that end with an error

    def change(self, changes: Mapping[str, Any]) -> None:
        """Raises ValueError for a name that is not a setting."""
        known = {field.name for field in fields(self)}
        for name, value in changes.items():
            if name not in known:
                hint = ", ".join(sorted(known))
                raise ValueError(f"no setting is called {name!r}; known: {hint}")
            setattr(self, name, value)
