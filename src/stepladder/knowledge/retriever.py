"""The seam of searching: queries in, the best passages of each out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from .passages import Passage

__all__ = ["Hit", "Retriever"]


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found. Scores of one retriever compare with each other only."""

    passage: Passage
    score: float


@runtime_checkable
class Retriever(Protocol):
    """Finds passages. Safe to call from several threads."""

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """At most `k` hits per query, best first; none for a query that nothing answers to."""
        ...
