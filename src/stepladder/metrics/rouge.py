"""Mean ROUGE: how much of a reference text the answer repeats (Lin 2004)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

from ..core import Counts, Example, Output
from ..registry import need
from .text import WORD, as_text, check_choice, failed, references, whole

__all__ = ["Rouge"]

VARIANTS = ("rouge1", "rouge2", "rouge3", "rougeL", "rougeLsum")
TOKENS = ("english", "unicode")


@dataclass(frozen=True)
class Rouge:
    """The F-measure of one ROUGE variant per answer, in [0, 1], by the package rouge-score.

    `tokens` "english" is what published figures use: it drops every character outside a-z and 0-9,
    so it scores other scripts as 0; "unicode" keeps the letters of every script and does not stem.
    A list of expected texts means alternatives; the best one counts. A failed answer scores 0.
    Needs the extra `text-metrics`.
    """

    variant: str = "rougeL"
    stem: bool = True
    tokens: Literal["english", "unicode"] = "english"
    name = "rouge"
    scale: ClassVar[Literal["bounded"]] = "bounded"

    def __post_init__(self) -> None:
        check_choice("variant", self.variant, VARIANTS)
        check_choice("tokens", self.tokens, TOKENS)

    def score(self, example: Example, output: Output) -> Counts:
        if failed(output):
            return whole(0.0)
        scorer = _scorer(self.variant, self.stem, self.tokens)
        said = as_text(output.value)
        scores = (scorer.score(text, said) for text in references(example.expected))
        return whole(max((each[self.variant].fmeasure for each in scores), default=0.0))


class _UnicodeTokens:
    def tokenize(self, text: str) -> list[str]:
        return WORD.findall(text.casefold())


@lru_cache(maxsize=8)
def _scorer(variant: str, stem: bool, tokens: str) -> Any:
    package = need("rouge_score.rouge_scorer", extra="text-metrics", what="metric 'rouge'")
    tokenizer = _UnicodeTokens() if tokens == "unicode" else None
    return package.RougeScorer([variant], use_stemmer=stem, tokenizer=tokenizer)
