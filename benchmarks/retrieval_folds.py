"""Whether the learned reranker beats BM25 article by article, on all of COVID-QA's questions.

The official test file has 25 articles, too few to tell when articles and not questions are the
units. Here all 81 articles are held out once: they are dealt into folds, and the reranker that
orders a fold's passages was fitted on the questions of the other folds alone. The p-value is that
of the paired randomisation test (Noreen 1989) over articles: neither retriever is better, so that
within an article the two could be exchanged. The interval is a BCa bootstrap over articles (Efron
1987). Both are SciPy's.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from environment import finish, parser, where
from retrieval import DATA, MEASURES, SHAPE, examples
from scipy import stats

from stepladder.core import Example, Row
from stepladder.knowledge.documents import read_documents
from stepladder.knowledge.index import Index, build_index, open_index
from stepladder.knowledge.rerank import fit_ranker
from stepladder.knowledge.scoring import gold_of, retrieval_rows
from stepladder.knowledge.searching import IndexRetriever, candidates

FOLDS = 5
DRAWS = 20_000


def main() -> None:
    chosen = parser(__doc__ or "").parse_args()
    place = where()
    with tempfile.TemporaryDirectory() as folder:
        finish("retrieval_folds", {**place, **folds(Path(folder))}, write=chosen.write)


def folds(artifacts: Path) -> dict[str, Any]:
    asked = [example for name in ("train", "dev", "test") for example in examples(name)]
    opened = open_index(
        artifacts, build_index(read_documents(DATA / "corpus.jsonl"), SHAPE, artifacts)
    )
    articles = sorted({str(example.group) for example in asked})
    dealt = np.random.default_rng(0).permutation(len(articles)) % FOLDS
    fold_of = dict(zip(articles, dealt.tolist(), strict=True))
    rows: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for fold in range(FOLDS):
        held_out = [one for one in asked if fold_of[str(one.group)] == fold]
        ranker = _ranker(opened, [one for one in asked if fold_of[str(one.group)] != fold])
        for label, retriever in {
            "BM25": IndexRetriever(opened, "words"),
            "BM25, reranked": IndexRetriever(opened, "words", ranker),
            "hybrid, reranked": IndexRetriever(opened, "hybrid", ranker),
        }.items():
            found = retriever.search([str(one.input) for one in held_out], 50)
            for measure in MEASURES:
                rows[label][measure] += retrieval_rows(measure, held_out, found)
    return {
        "questions": len(asked),
        "articles": len(articles),
        "folds": FOLDS,
        "scores": {
            label: {measure: _r(_mean(each)) for measure, each in by_measure.items()}
            for label, by_measure in rows.items()
        },
        "against BM25": {
            label: {each: compared(rows[label][each], rows["BM25"][each]) for each in MEASURES}
            for label in rows
            if label != "BM25"
        },
    }


def compared(rows: Sequence[Row], others: Sequence[Row]) -> dict[str, float]:
    """The gain per question, its interval and p-value, with articles as units."""
    gains: dict[str, list[float]] = defaultdict(list)
    for row, other in zip(rows, others, strict=True):
        assert row.id == other.id
        gains[str(row.group)].append(_value(row) - _value(other))
    sums = np.array([sum(found) for found in gains.values()])
    counts = np.array([len(found) for found in gains.values()])

    def per_question(total: Any, count: Any, axis: int = -1) -> Any:
        return total.sum(axis=axis) / count.sum(axis=axis)

    interval = stats.bootstrap(
        (sums, counts), per_question, paired=True, n_resamples=DRAWS, rng=0
    ).confidence_interval
    test = stats.permutation_test(
        (sums, np.zeros_like(sums)),
        lambda ours, theirs, axis: (ours - theirs).sum(axis=axis),
        permutation_type="samples",
        n_resamples=DRAWS,
        rng=0,
    )
    return {
        "difference": _r(per_question(sums, counts)),
        "low": _r(interval.low),
        "high": _r(interval.high),
        "p_value": float(test.pvalue),
        "articles_better": int((sums > 0).sum()),
        "articles_worse": int((sums < 0).sum()),
    }


def _ranker(opened: Index, train: Sequence[Example]) -> Any:
    rows = defaultdict(list)
    for row, passage in enumerate(opened.passages(range(len(opened)))):
        rows[passage.document].append(row)
    queries = [str(example.input) for example in train]
    gold = [[row for id in gold_of(example) for row in rows[id]] for example in train]
    return fit_ranker(opened, queries, candidates(opened, "hybrid", queries, 50), gold)


def _value(row: Row) -> float:
    ((_, found, out_of),) = row.counts
    return found / out_of


def _mean(rows: Sequence[Row]) -> float:
    return float(np.mean([_value(row) for row in rows]))


def _r(value: float) -> float:
    return round(float(value), 4)


if __name__ == "__main__":
    main()
