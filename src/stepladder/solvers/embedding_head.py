"""From scores of labels to answers: one label or several, with a probability that can be believed.

What is set here is chosen on train by `trainers/calibration.py`. Where scores come from is the
solvers' own matter.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core import Output

__all__ = ["HEAD_FILE", "Head", "load_head"]

HEAD_FILE = "head.json"


@dataclass(frozen=True)
class Head:
    """Labels in the order of the scores, and how scores become an answer.

    Scores are divided by `temperature` (Guo et al., 2017). With `thresholds`, one per label, the
    answer is the list of labels whose probability reaches theirs; without, the likeliest label.
    """

    labels: tuple[str, ...]
    temperature: float = 1.0
    thresholds: tuple[float, ...] | None = None

    def probabilities(self, scores: Any) -> Any:
        """Of each label, float64, shape (texts, labels): sums of 1, or one by one with thresholds.

        Scores are the logits, of the same shape.
        """
        scaled = np.asarray(scores, dtype=np.float64) / self.temperature
        if self.thresholds is not None:
            return 1 / (1 + np.exp(-np.clip(scaled, -500, 500)))
        shares = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)

    def outputs(self, probabilities: Any) -> list[Output]:
        """An answer for each row. Its confidence is the chance that the whole answer is right.

        For several labels this takes them as independent of each other.
        """
        if self.thresholds is None:
            best = probabilities.argmax(axis=1)
            return [
                Output(self.labels[at], self.labels[at], confidence=float(row[at]))
                for at, row in zip(best, probabilities, strict=True)
            ]
        chosen = probabilities >= np.array(self.thresholds)
        sure = np.where(chosen, probabilities, 1 - probabilities).prod(axis=1)
        return [_several(self.labels, row, float(p)) for row, p in zip(chosen, sure, strict=True)]

    def file(self) -> bytes:
        """What to store in an artifact as `head.json`."""
        return json.dumps(asdict(self), ensure_ascii=False).encode()


def load_head(folder: Path) -> Head:
    """What `file` stored."""
    facts = json.loads((folder / HEAD_FILE).read_text(encoding="utf-8"))
    thresholds = facts["thresholds"]
    return Head(
        tuple(facts["labels"]),
        facts["temperature"],
        None if thresholds is None else tuple(thresholds),
    )


def _several(labels: Sequence[str], chosen: Any, confidence: float) -> Output:
    value = [label for label, told in zip(labels, chosen, strict=True) if told]
    return Output(value, json.dumps(value, ensure_ascii=False), confidence=confidence)
