"""How well and how fast the documents of a question are found, on COVID-QA passages.

Every retriever with intervals on the test questions; the learned reranker is fitted on train alone
and compared with BM25 in pairs. Articles are the units: questions about one stand or fall together.
Indexing and queries per second are measured against bm25s and usearch by themselves, in turns, in
the same run. `--passages 1000000` measures time and memory of a large index instead, of sentences
of the real texts put together at random; its vectors are real ones with noise, because computing a
million takes hours here, and are no evidence of quality.
"""

from __future__ import annotations

import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
from environment import finish, parser, where
from usearch.index import Index as PlainGraph

from stepladder.compare import paired_gain
from stepladder.core import Example, Row
from stepladder.knowledge import dense, index
from stepladder.knowledge.documents import Document, make_document, read_documents
from stepladder.knowledge.index import IndexShape, build_index, open_index
from stepladder.knowledge.rerank import fit_ranker
from stepladder.knowledge.scoring import (
    gold_of,
    retrieval_interval,
    retrieval_rows,
    scale_of,
)
from stepladder.knowledge.searching import IndexRetriever, candidates

DATA = Path(__file__).parents[1] / "examples" / "policy-answers"
MEASURES = ("hit@1", "hit@5", "recall@5", "ndcg@10", "mrr@10")
FLOOR = {"hit@1": 0.507, "hit@5": 0.737}  # BM25 as published with the data, k1 1.2, b 0.75
SHAPE = IndexShape(size=400, overlap=0)  # the corpus is cut into passages already
ROUNDS = 5


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--passages", type=int, help="measure an index of so many instead")
    chosen = options.parse_args()
    place = where()
    with tempfile.TemporaryDirectory() as folder:
        if chosen.passages:
            result = {**place, **large(chosen.passages, Path(folder))}
            finish("retrieval_large", result, write=chosen.write)
        else:
            finish("retrieval", {**place, **covidqa(Path(folder))}, write=chosen.write)


def covidqa(artifacts: Path) -> dict[str, Any]:
    train, test = examples("train"), examples("test")
    started = time.perf_counter()
    name = build_index(read_documents(DATA / "corpus.jsonl"), SHAPE, artifacts)
    built = time.perf_counter() - started
    started = time.perf_counter()
    assert build_index(read_documents(DATA / "corpus.jsonl"), SHAPE, artifacts) == name
    again = time.perf_counter() - started
    opened = open_index(artifacts, name)
    rows = {p.document: [] for p in opened.passages(range(len(opened)))}
    for row, passage in enumerate(opened.passages(range(len(opened)))):
        rows[passage.document].append(row)
    asked = [str(example.input) for example in train]
    gold = [[row for id in gold_of(example) for row in rows[id]] for example in train]
    ranker = fit_ranker(opened, asked, candidates(opened, "hybrid", asked, 50), gold)
    retrievers = {
        "BM25": IndexRetriever(opened, "words"),
        "MiniLM": IndexRetriever(opened, "meaning"),
        "hybrid": IndexRetriever(opened, "hybrid"),
        "BM25, reranked": IndexRetriever(opened, "words", ranker),
        "hybrid, reranked": IndexRetriever(opened, "hybrid", ranker),
    }
    scores, measured = {}, {}
    for label, retriever in retrievers.items():
        started = time.perf_counter()
        found = retriever.search([str(example.input) for example in test], 50)
        seconds = time.perf_counter() - started
        measured[label] = {each: retrieval_rows(each, test, found) for each in MEASURES}
        scores[label] = {each: _interval(each, measured[label][each]) for each in MEASURES}
        scores[label]["queries_per_second"] = round(len(test) / seconds, 1)
    best, floor = measured["hybrid, reranked"], measured["BM25"]
    return {
        "questions": {"train": len(train), "test": len(test)},
        "articles_of_test": len({example.group for example in test}),
        "passages": len(opened),
        "published_floor": FLOOR,
        "retrievers": scores,
        "reranker": ranker.record(),
        "hybrid, reranked, against BM25": {
            each: _gain(best[each], floor[each], each) for each in MEASURES
        },
        "the same, questions as units": {
            each: _gain(_ungrouped(best[each]), _ungrouped(floor[each]), each) for each in MEASURES
        },
        "index_seconds": {"first": round(built, 1), "again": round(again, 2)},
        "speed": speed(opened, [str(example.input) for example in test]),
        "kilobytes": {p.name: p.stat().st_size // 1000 for p in sorted(opened.folder.iterdir())},
    }


def speed(opened: index.Index, queries: Sequence[str]) -> dict[str, Any]:
    """Ours and the plain library's, in turns; medians of rounds."""
    texts = list(opened.texts(range(len(opened))))
    vectors = np.asarray(opened.vectors, dtype=np.float32)
    asked = index.encode(queries)
    plain = bm25s.BM25(k1=1.2, b=0.75)
    graph = PlainGraph(ndim=vectors.shape[1], metric="ip", dtype="f16")

    def index_words() -> None:
        with tempfile.TemporaryDirectory() as folder:
            index.write_words(texts, Path(folder), 1.2, 0.75)

    def index_words_plainly() -> None:
        plain.index(bm25s.tokenize(texts, stopwords=None, show_progress=False), show_progress=False)

    def search_words_plainly() -> None:
        tokens = bm25s.tokenize(list(queries), stopwords=None, show_progress=False)
        plain.retrieve(tokens, k=10, show_progress=False)

    def search_graph() -> None:
        for query in asked:  # one at a time, as a server asks
            graph.search(query, 10)

    def search_vectors() -> None:
        for query in asked:
            dense.nearest(opened.vectors, query[None], 10)

    index_words_plainly()
    graph.add(np.arange(len(vectors)), vectors)
    works: dict[str, tuple[Callable[[], Any], int]] = {
        "BM25 indexing, passages/s": (index_words, len(texts)),
        "bm25s by itself, passages/s": (index_words_plainly, len(texts)),
        "BM25, queries/s": (lambda: opened.by_words(queries, 10), len(queries)),
        "bm25s by itself, queries/s": (search_words_plainly, len(queries)),
        "vectors, all compared, queries/s": (search_vectors, len(queries)),
        "usearch by itself, queries/s": (search_graph, len(queries)),
        "encoder, queries/s": (lambda: index.encode(queries), len(queries)),
        "encoder, passages/s": (lambda: index.encode(texts[:64]), 64),
    }
    rates: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, (work, count) in works.items():
            started = time.perf_counter()
            work()
            rates[name].append(count / (time.perf_counter() - started))
    return {name: round(statistics.median(found), 1) for name, found in rates.items()}


def large(count: int, artifacts: Path) -> dict[str, Any]:
    chance = np.random.default_rng(0)
    texts = [document.text for document in read_documents(DATA / "corpus.jsonl")]
    real = index.encode(texts[:256])
    encoded = [0]

    def near_real(asked: Sequence[str]) -> Any:
        encoded[0] += len(asked)
        made = real[chance.integers(0, len(real), len(asked))]
        made = made + chance.normal(0, 0.03, made.shape)
        return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)

    dense.encode = near_real
    index.encode = near_real
    name, seconds = _built(_made_up(texts, count), artifacts)
    peak = _gibibytes()
    found = {**_searched(open_index(artifacts, name), near_real), "build_seconds": seconds}
    encoded[0], index.encode = 0, near_real
    _, again = _built(_made_up(texts, count, changed=count // 2), artifacts)
    return {
        **found,
        "peak_gibibytes_building": round(peak, 2),
        "one_document_changed": {"seconds": again, "passages_encoded": encoded[0]},
    }


def _built(documents: Iterator[Document], artifacts: Path) -> tuple[str, dict[str, float]]:
    """The index's name, and the seconds of its parts."""
    parts: list[tuple[str, float]] = []

    def tell(event: str, fields: Any) -> None:
        parts.append((fields["part"], time.perf_counter()))
        print(fields, f"{_gibibytes():.1f} GiB", flush=True)

    started = time.perf_counter()
    name = build_index(documents, SHAPE, artifacts, tell)
    ended = time.perf_counter()
    ends = [at for _, at in parts[1:]] + [ended]
    seconds = {"passages": round(parts[0][1] - started, 1)}
    for (part, at), end in zip(parts, ends, strict=True):
        seconds[part] = round(end - at, 1)
    return name, seconds


def _searched(opened: index.Index, near_real: Callable[[Sequence[str]], Any]) -> dict[str, Any]:
    """Its size, how fast it answers, and how much of the nearest its graph finds."""
    queries = [str(example.input) for example in examples("test")[:100]]
    asked = near_real(queries)
    index.encode = lambda queries: asked[: len(queries)]
    exact = dense.nearest(opened.vectors, asked, 10)
    through = opened.by_meaning(queries, 10)
    found = [
        len({*a.tolist()} & {*b.tolist()}) / 10
        for (a, _), (b, _) in zip(exact, through, strict=True)
    ]
    return {
        "passages": len(opened),
        "disk_gibibytes": round(_size(opened.folder) / 2**30, 2),
        "milliseconds_per_query": {
            "words": _milliseconds(lambda q: opened.by_words([q], 10), queries),
            "graph": _milliseconds(lambda q: opened.by_meaning([q], 10), queries),
            "all vectors compared": _milliseconds(
                lambda q: dense.nearest(opened.vectors, asked[:1], 10), queries[:5]
            ),
        },
        "recall@10_of_the_graph": round(float(np.mean(found)), 3),
    }


def _made_up(texts: Sequence[str], count: int, changed: int | None = None) -> Iterator[Document]:
    """Five sentences each, drawn from the real texts; one that changed has another at its end."""
    chance = np.random.default_rng(1)
    sentences = [one for text in texts for one in text.split(". ") if len(one) > 40]
    for number in range(count):
        drawn = [sentences[at] for at in chance.integers(0, len(sentences), 5)]
        drawn += ["This was added later"] if number == changed else []
        yield make_document(f"d{number}", "made-up", "", ". ".join(drawn))


def examples(name: str) -> list[Example]:
    with (DATA / f"{name}.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [
        Example(row["id"], row["input"], row["output"], row["meta"]["article"], row["meta"])
        for row in rows
    ]


def _interval(measure: str, rows: Sequence[Row]) -> dict[str, Any]:
    found = retrieval_interval(measure, rows)
    return {"score": _r(found.score), "low": _r(found.low), "high": _r(found.high)}


def _gain(a: Sequence[Row], b: Sequence[Row], measure: str) -> dict[str, Any]:
    gain = paired_gain(a, b, scale_of(measure), 0.05, against="BM25")
    return {
        "difference": _r(gain.difference), "low": _r(gain.low), "high": _r(gain.high),
        "p_value": gain.p_value, "n": gain.n, "method": gain.method,
    }  # fmt: skip


def _ungrouped(rows: Sequence[Row]) -> list[Row]:
    return [Row(row.id, row.counts) for row in rows]


def _milliseconds(work: Callable[[str], Any], queries: Sequence[str]) -> dict[str, float]:
    work(queries[0])
    taken = []
    for query in queries:
        started = time.perf_counter()
        work(query)
        taken.append(1000 * (time.perf_counter() - started))
    return {"median": _r(statistics.median(taken)), "p95": _r(float(np.quantile(taken, 0.95)))}


def _gibibytes() -> float:
    """The most memory that this process had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _r(value: float) -> float:
    return round(float(value), 4)


if __name__ == "__main__":
    main()
