"""How well a retriever finds what is right, example by example, as rows that can be compared.

With gold documents: hit@k, recall@k, mrr@k and ndcg@k, over documents, each at the place of its
best passage. Without: answer@k, whether the expected answer stands in one of the first k passages.
Intervals and paired tests are those of `stats.py` and `compare.py`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence

from ..core import Example, Json, Row
from ..errors import StepladderError, TaskError
from ..stats import Interval, interval
from ..units import Scale
from .retriever import Hit

__all__ = ["GOLD", "MEASURES", "gold_of", "retrieval_interval", "retrieval_rows", "scale_of"]

GOLD = "gold_docs"  # the metadata field that names an example's gold documents
MEASURES = ("hit", "recall", "mrr", "ndcg", "answer")


def gold_of(example: Example, field: str = GOLD) -> frozenset[str]:
    """The ids of the documents that answer the example; none where its metadata names none.

    Raises:
        TaskError: the field is neither an id nor a list of ids.
    """
    value = _field(example.metadata, field)
    named = [value] if isinstance(value, str) else value or []
    if not isinstance(named, list | tuple) or not all(isinstance(one, str) for one in named):
        raise TaskError(
            f"example {example.id!r} has {field!r} {value!r}",
            hint="give the id of a document, or a list of ids",
        )
    return frozenset(named)


def scale_of(measure: str) -> Scale:
    """Whether a measure is right or wrong of each example, or a number from 0 to 1.

    Raises:
        StepladderError: it is not like "recall@5".
    """
    name, _ = _parsed(measure)
    return "binary" if name in ("hit", "answer") else "bounded"


def retrieval_rows(
    measure: str, examples: Sequence[Example], found: Sequence[Sequence[Hit]], field: str = GOLD
) -> tuple[Row, ...]:
    """One row per example that can be judged: one with gold documents, or an answer to look for.

    `measure` is like "recall@5"; `found` has the hits of each example, best first.

    Raises:
        StepladderError: the measure is unknown.
        TaskError: no example can be judged.
    """
    name, k = _parsed(measure)
    rows = []
    for example, hits in zip(examples, found, strict=True):
        if name == "answer":
            wanted = _folded(example.expected)
            score = _answer(wanted, hits[:k]) if wanted else None
        else:
            gold = gold_of(example, field)
            score = _SCORES[name](_ranks(gold, hits, k), len(gold), k) if gold else None
        if score is not None:
            rows.append(Row(example.id, (("", score, 1.0),), example.group))
    if not rows:
        raise TaskError(
            f"no example can be judged by {measure!r}",
            hint=f"name the gold documents of examples in the field {field!r} of their metadata, "
            "or use answer@k where the expected answers are texts",
        )
    return tuple(rows)


def retrieval_interval(measure: str, rows: Sequence[Row], alpha: float = 0.05) -> Interval:
    """The mean with its two-sided interval; examples of one group are one unit of evidence."""
    ordered = sorted(rows, key=lambda row: row.id)
    groups = [row.group for row in ordered]
    return interval([row.counts for row in ordered], scale_of(measure), alpha, groups=groups)


def _parsed(measure: str) -> tuple[str, int]:
    name, _, k = measure.partition("@")
    if name not in MEASURES or not k.isdecimal() or int(k) < 1:
        raise StepladderError(
            f"no measure of retrieval is called {measure!r}",
            hint=f"known: {', '.join(f'{each}@k' for each in MEASURES)}, as in recall@5",
        )
    return name, int(k)


def _ranks(gold: frozenset[str], hits: Sequence[Hit], k: int) -> list[int]:
    """From 1 on, of the gold documents among the first `k` documents."""
    documents = list(dict.fromkeys(hit.passage.document for hit in hits))[:k]
    return [rank for rank, document in enumerate(documents, 1) if document in gold]


def _ndcg(ranks: Sequence[int], gold: int, k: int) -> float:
    best = math.fsum(1 / math.log2(rank + 1) for rank in range(1, min(gold, k) + 1))
    return math.fsum(1 / math.log2(rank + 1) for rank in ranks) / best


_SCORES = {
    "hit": lambda ranks, gold, k: float(bool(ranks)),
    "recall": lambda ranks, gold, k: len(ranks) / gold,
    "mrr": lambda ranks, gold, k: 1 / ranks[0] if ranks else 0.0,
    "ndcg": _ndcg,
}


def _answer(wanted: str, hits: Sequence[Hit]) -> float:
    return float(any(f" {wanted} " in f" {_folded(hit.passage.text)} " for hit in hits))


def _folded(value: Json) -> str:
    """Words in lower case, so that marks, spaces and capitals do not count."""
    if not isinstance(value, str):
        return ""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", value).casefold()))


def _field(metadata: Mapping[str, Json], field: str) -> Json:
    """`field`, or `a.b` within `a`."""
    value: Json = metadata
    for part in field.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
