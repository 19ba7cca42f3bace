"""A linear model over the vector of a text, alone or beside its words (TF-IDF).

The vector is that of the open encoder, or of one tuned for the task, which then lies in the same
artifact. Fitted by `trainers/heads.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..core import Input, Output, Workshop
from ..encoders.running import BATCH, vectors
from .artifact import open_artifact
from .embedding_head import Head, load_head
from .prompt import render_input
from .tfidf import Tfidf, load_array, load_tfidf
from .timed import timed

__all__ = ["EmbeddingLinearSolver"]


@dataclass(frozen=True)
class EmbeddingLinearSolver:
    """Answers a label, or the list of labels, that the weights in `artifact` give a text."""

    artifact: str
    kind: str = field(default="embedding_linear", init=False)

    def answer(self, inputs: Sequence[Input], workshop: Workshop) -> Iterator[tuple[int, Output]]:
        """A label, or a list of labels, for each input."""
        folder = open_artifact(workshop.artifacts, self.artifact)
        yield from timed(self.kind, inputs, lambda batch: _label(folder, batch), BATCH)


@dataclass(frozen=True)
class _Linear:
    head: Head
    of_vector: Any  # (labels, size)
    of_words: Any  # (labels, terms), or None
    intercepts: Any
    tfidf: Tfidf | None


def _label(folder: Path, inputs: Sequence[Input]) -> list[Output]:
    model = _load(folder)
    texts = [render_input(one) for one in inputs]
    scores = vectors(texts, folder) @ model.of_vector.T + model.intercepts
    if model.tfidf is not None:
        scores = scores + model.tfidf.transform(texts) @ model.of_words.T
    return model.head.outputs(model.head.probabilities(scores))


@lru_cache(maxsize=8)
def _load(folder: Path) -> _Linear:
    words = (folder / "words.npy").is_file()
    return _Linear(
        load_head(folder),
        load_array(folder, "weights"),
        load_array(folder, "words") if words else None,
        load_array(folder, "intercepts"),
        load_tfidf(folder) if words else None,
    )
