"""Mean word overlap between answer and expected answer: the usual score of short answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..core import Counts, Example, Output
from .text import as_text, failed, overlap, references, whole

__all__ = ["TokenF1"]


@dataclass(frozen=True)
class TokenF1:
    """F1 of the words that answer and expected answer share, in [0, 1].

    Case, punctuation and the articles a, an and the do not count. A list of expected answers means
    alternatives; the best one counts. A failed answer scores 0.
    """

    name = "token_f1"
    scale: ClassVar[Literal["bounded"]] = "bounded"

    def score(self, example: Example, output: Output) -> Counts:
        if failed(output):
            return whole(0.0)
        said = as_text(output.value)
        return whole(max((overlap(text, said) for text in references(example.expected)), default=0))
