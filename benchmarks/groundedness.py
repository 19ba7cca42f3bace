"""Whether groundedness tells what is in a passage from what is not, on COVID-QA.

The experts' answers against the passage that they were marked in, against another passage of the
same article, and against one of the whole corpus; articles are the units of the intervals. No model
is asked: answers in a model's own words are not what this measures.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from environment import finish, parser, where

from stepladder.core import Citation, Example, Output
from stepladder.metrics.groundedness import Groundedness
from stepladder.stats import interval

DATA = Path(__file__).parents[1] / "examples" / "policy-answers"
WAYS = {
    "runs of 3": Groundedness(),
    "runs of 2": Groundedness(run=2),
    "runs of 5": Groundedness(run=5),
    "words": Groundedness(match="words"),
}


def main() -> None:
    chosen = parser(__doc__ or "").parse_args()
    rows = [
        json.loads(line)
        for name in ("train", "dev", "test")
        for line in (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    rows = [row for row in rows if row["meta"].get("gold_docs")]
    passages = {
        row["id"]: Citation(f"{row['id']}#0", "corpus.jsonl", row["text"])
        for row in map(json.loads, (DATA / "corpus.jsonl").read_text(encoding="utf-8").splitlines())
    }
    told = {
        against: {name: scored(rows, pick, metric) for name, metric in WAYS.items()}
        for against, pick in picks(passages).items()
    }
    finish("groundedness", {**where(), "questions": len(rows), **told}, write=chosen.write)


def picks(
    passages: Mapping[str, Citation],
) -> dict[str, Callable[[Mapping[str, Any]], tuple[Citation, ...]]]:
    """Which passages an answer is held against; the same for each way to measure."""
    drawn = random.Random(0)
    of_article = defaultdict(list)
    for id in passages:
        of_article[id.rpartition("-")[0]].append(id)
    kept: dict[tuple[str, str], str | None] = {}

    def other(row: Mapping[str, Any], kind: str) -> tuple[Citation, ...]:
        gold = row["meta"]["gold_docs"]
        among = of_article[row["meta"]["article"]] if kind == "article" else list(passages)
        left = [id for id in among if id not in gold]
        if (row["id"], kind) not in kept:
            kept[row["id"], kind] = drawn.choice(left) if left else None
        id = kept[row["id"], kind]
        return () if id is None else (passages[id],)

    return {
        "gold": lambda row: tuple(passages[id] for id in row["meta"]["gold_docs"]),
        "another of the article": lambda row: other(row, "article"),
        "any other": lambda row: other(row, "any"),
    }


def scored(
    rows: list[dict[str, Any]],
    pick: Callable[[Mapping[str, Any]], tuple[Citation, ...]],
    metric: Groundedness,
) -> dict[str, float]:
    counts, groups = [], []
    for row in rows:
        if cited := pick(row):
            output = Output(row["output"], row["output"], citations=cited)
            counts.append(metric.score(Example(row["id"], "", row["output"]), output))
            groups.append(row["meta"]["article"])
    bound = interval(counts, metric.scale, 0.05, groups=groups)
    values = {"score": bound.score, "low": bound.low, "high": bound.high}
    return {**{name: round(value, 4) for name, value in values.items()}, "n": len(counts)}


if __name__ == "__main__":
    main()
