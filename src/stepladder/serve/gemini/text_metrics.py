"""Exact match, BLEU and ROUGE of a prediction against a reference, each a score in [0, 1].

BLEU is sacreBLEU's, with its usual tokens and smoothing; ROUGE is the F-measure of rouge-score,
whose tokens are a-z and 0-9. Needs the extra `text-metrics`. No wire form is known here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from ...registry import need
from .. import Refusal

__all__ = ["Pair", "Scorer", "bleu", "exact_match", "rouge"]

Pair = tuple[str, str]  # prediction, reference
Scorer = Callable[[Sequence[Pair]], list[float]]

ROUGE = re.compile(r"rouge([1-9]|L|Lsum)")
DEFAULT_ROUGE = "rougeLsum"
MOST_CELLS = 20_000_000  # of the tables of longest common subsequences: some ten seconds


def exact_match(pairs: Sequence[Pair]) -> list[float]:
    """1 where the two are the same text, character by character, else 0."""
    return [float(prediction == reference) for prediction, reference in pairs]


def bleu(*, effective_order: bool = False) -> Scorer:
    """BLEU of each pair by itself; see sacreBLEU for `effective_order`.

    Raises:
        MissingExtra: the package sacrebleu is not installed.
    """
    package = need("sacrebleu.metrics", extra="text-metrics", what="BLEU")
    metric = package.BLEU(effective_order=effective_order)
    # of a corpus of one: the same figure, without a warning about it for each sentence
    return lambda pairs: [metric.corpus_score([said], [[wanted]]).score / 100
                          for said, wanted in pairs]  # fmt: skip


def rouge(kind: str = "", *, stem: bool = False, split: bool = False) -> Scorer:
    """The F-measure of one ROUGE variant, "rouge1" to "rouge9", "rougeL" or "rougeLsum".

    "rougeLsum" takes lines for sentences; `split` finds the sentences of a text that is one line.

    Raises:
        Refusal: the variant is unknown, or a pair is too long to compare in reasonable time.
        MissingExtra: the package rouge-score is not installed.
    """
    kind = kind or DEFAULT_ROUGE
    if not ROUGE.fullmatch(kind):
        raise Refusal(
            "invalid",
            f"no ROUGE is called {kind!r}",
            hint="known: rouge1 to rouge9, rougeL, rougeLsum",
            param="rougeType",
        )
    scorer = _scorer(kind, stem)

    def score(pairs: Sequence[Pair]) -> list[float]:
        if kind.startswith("rougeL"):
            _check_work(pairs)
        if split and kind == "rougeLsum":
            pairs = [(_in_lines(said), _in_lines(wanted)) for said, wanted in pairs]
        return [float(scorer.score(wanted, said)[kind].fmeasure) for said, wanted in pairs]

    return score


@lru_cache(maxsize=32)
def _scorer(kind: str, stem: bool) -> Any:
    package = need("rouge_score.rouge_scorer", extra="text-metrics", what="ROUGE")
    return package.RougeScorer([kind], use_stemmer=stem)


def _check_work(pairs: Sequence[Pair]) -> None:
    """Comparing subsequences takes as many steps as one text has words times those of the other."""
    cells = sum(_words(said) * _words(wanted) for said, wanted in pairs)
    if cells > MOST_CELLS:
        raise Refusal(
            "invalid",
            "the texts are too long for ROUGE-L in one request",
            hint="send fewer instances at once, or ask for rouge1 or rouge2",
            param="rougeInput.instances",
        )


def _words(text: str) -> int:
    return len(re.findall(r"[a-zA-Z0-9]+", text))


def _in_lines(text: str) -> str:
    """One sentence a line. Punkt is not trained here, so an abbreviation may end a sentence."""
    punkt = need("nltk.tokenize.punkt", extra="text-metrics", what="ROUGE with split sentences")
    return "\n".join(punkt.PunktSentenceTokenizer().tokenize(text))
