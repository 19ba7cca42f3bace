"""A vote of the train examples whose vectors are nearest, each by how near it is.

A new label is learnt by adding its examples, without fitting anything. Fitted, as far as there is
something to choose, by `trainers/heads.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..core import Input, Output, Workshop
from ..encoders.running import BATCH, vectors
from .artifact import open_artifact
from .embedding_head import Head, load_head
from .prompt import render_input
from .tfidf import load_array
from .timed import timed

__all__ = ["EmbeddingNearestSolver", "vote"]


@dataclass(frozen=True)
class EmbeddingNearestSolver:
    """Answers what most of the `k` nearest examples expect; a neighbour counts exp(cosine / width).

    Confidence is the winner's share of the votes.
    """

    artifact: str
    k: int
    width: float
    kind: str = field(default="embedding_nearest", init=False)

    def answer(self, inputs: Sequence[Input], workshop: Workshop) -> Iterator[tuple[int, Output]]:
        """A label, or a list of labels, for each input."""
        folder = open_artifact(workshop.artifacts, self.artifact)
        yield from timed(self.kind, inputs, lambda batch: self._label(folder, batch), BATCH)

    def _label(self, folder: Path, inputs: Sequence[Input]) -> list[Output]:
        head, known, expected = _load(folder)
        found = vectors([render_input(one) for one in inputs], folder)
        return head.outputs(vote(found @ known.T, expected, self.k, self.width))


def vote(cosines: Any, expected: Any, k: int, width: float) -> Any:
    """Each label's share of the votes, shape (texts, labels).

    Args:
        cosines: of each text with each example, shape (texts, examples); -inf is no neighbour.
        expected: 1 where an example has a label, shape (examples, labels).
        k: how many neighbours vote, at most all.
        width: of the kernel: a neighbour that is nearer by `width` counts e times as much.
    """
    k = min(k, cosines.shape[1])
    near = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
    close = np.take_along_axis(cosines, near, axis=1).astype(np.float64)
    weights = np.exp((close - close.max(axis=1, keepdims=True)) / width)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.einsum("nk,nkl->nl", weights, expected[near].astype(np.float64))


@lru_cache(maxsize=8)
def _load(folder: Path) -> tuple[Head, Any, Any]:
    head = load_head(folder)
    rows = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    expected = np.zeros((len(rows), len(head.labels)), dtype=np.float32)
    for row, labels in enumerate(rows):
        expected[row, labels] = 1
    return head, load_array(folder, "embeddings"), expected
