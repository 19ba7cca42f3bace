"""Mean sentence chrF: shared runs of characters, the usual score of translations (Popović 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

from ..core import Counts, Example, Output
from ..registry import need
from .text import as_text, failed, references, whole

__all__ = ["ChrF"]


@dataclass(frozen=True)
class ChrF:
    """Sentence chrF of each answer by sacrebleu, divided by 100 so that it lies in [0, 1].

    `word_order` 2 gives chrF++. The mean over sentences is not the corpus chrF of papers, which
    pools counts over the set. A list of expected texts means several references. A failed answer
    scores 0. Needs the extra `text-metrics`.
    """

    word_order: int = 0
    name = "chrf"
    scale: ClassVar[Literal["bounded"]] = "bounded"

    def score(self, example: Example, output: Output) -> Counts:
        if failed(output):
            return whole(0.0)
        texts = list(references(example.expected))
        score = _scorer(self.word_order).sentence_score(as_text(output.value), texts).score
        return whole(min(score / 100, 1.0))


@lru_cache(maxsize=8)
def _scorer(word_order: int) -> Any:
    package = need("sacrebleu.metrics", extra="text-metrics", what="metric 'chrf'")
    return package.CHRF(word_order=word_order)
