"""The parts of RESULTS.md on retrieval; `tables.py` puts them in their places."""

from __future__ import annotations

from collections.abc import Iterator

from page import Result, plain, ran, scored, table

__all__ = ["retrieval", "retrieval_climb", "retrieval_folds", "retrieval_large"]


def retrieval(found: Result) -> Iterator[str]:
    yield "## Retrieval on COVID-QA\n"
    counts = found["questions"]
    yield (
        f"{counts['test']} test questions about {found['articles_of_test']} articles, "
        f"{found['passages']:,} passages; the reranker's six weights were fitted on "
        f"{counts['train']} train questions. {ran(found)} Intervals are over articles: there are "
        "few, so they are wide.\n"
    )
    measures = list(found["hybrid, reranked, against BM25"])
    rows = [
        [name, *(scored(one[each]) for each in measures), f"{one['queries_per_second']:,.0f}"]
        for name, one in found["retrievers"].items()
    ]
    yield from table(["retriever", *measures, "queries/s"], rows)
    floor = ", ".join(f"{name} {value:.3f}" for name, value in found["published_floor"].items())
    yield f"\nBM25 as published with the data: {floor}.\n"
    yield "Hybrid, reranked, against BM25 in pairs:\n"
    units = (("questions", "the same, questions as units"),
             ("articles", "hybrid, reranked, against BM25"))  # fmt: skip
    rows = [
        [unit, name, f"{one['difference']:+.3f}", f"{one['low']:+.3f} to {one['high']:+.3f}",
         f"{one['p_value']:.4f}"]
        for unit, key in units
        for name, one in found[key].items()
    ]  # fmt: skip
    yield from table(["unit", "measure", "gain", "95 % interval", "p"], rows)
    yield (
        "\nWith questions as units the gain is shown; with articles as units, which supposes that "
        f"questions about one article stand or fall together, {found['articles_of_test']} are too "
        "few to show it; the next part has all articles.\n"
    )
    speed = found["speed"].items()
    yield from table(["work", "per second"], [[name, f"{rate:,.0f}"] for name, rate in speed])
    seconds = found["index_seconds"]
    yield (
        f"\nThe index was made in {seconds['first']:.0f} s, nearly all of it the encoder, and "
        f"found again in {seconds['again']:.2f} s."
    )


def retrieval_folds(found: Result) -> Iterator[str]:
    yield "## Retrieval on COVID-QA, every article held out once\n"
    yield (
        f"{found['questions']} questions about {found['articles']} articles in {found['folds']} "
        f"folds; the reranker was fitted on the other folds. {ran(found)}\n"
    )
    measures = list(found["scores"]["BM25"])
    rows = [[name, *(f"{one[m]:.3f}" for m in measures)] for name, one in found["scores"].items()]
    yield from table(["retriever", *measures], rows)
    yield (
        "\nAgainst BM25 in pairs, with articles as units: a bootstrap's interval, and the paired "
        "randomisation test.\n"
    )
    rows = [
        [name, measure, f"{one['difference']:+.3f}", f"{one['low']:+.3f} to {one['high']:+.3f}",
         f"{one['p_value']:.4f}", f"{one['articles_better']} / {one['articles_worse']}"]
        for name, gains in found["against BM25"].items()
        for measure, one in gains.items()
    ]  # fmt: skip
    heads = ["retriever", "measure", "gain", "95 % interval", "p", "articles better / worse"]
    yield from table(heads, rows)


def retrieval_climb(found: Result) -> Iterator[str]:
    yield "## Passages against demonstrations on COVID-QA\n"
    counts = found["examples"]
    yield (
        f"{found['model']}, {found['metric']}, in a climb of two steps: {counts['train']} train "
        f"and {counts['dev']} dev questions, then the best of each on the same {counts['test']} "
        f"test questions about {found['articles_of_test']} articles. {ran(found)} It took "
        f"{found['minutes']:.0f} minutes.\n"
    )
    rows = [
        [f"{one['step']} / {one['solver']}", "dev", scored(one), str(one["n"]),
         plain(one["input_tokens"]), plain(one["p50_seconds"], 2)]
        for one in found["dev"]
    ]  # fmt: skip
    rows += [
        [f"best of {step}", "test", scored(one), str(one["n"]), plain(one["input_tokens"]),
         plain(one["p50_seconds"], 2)]
        for step, one in found["test"].items()
    ]  # fmt: skip
    yield from table(["solver", "set", found["metric"], "n", "tokens in", "p50 s"], rows)
    yield "\nPassages less demonstrations, in pairs on test:\n"
    rows = [
        [unit, f"{one['difference']:+.3f}", f"{one['low']:+.3f} to {one['high']:+.3f}",
         f"{one['p_value']:.4f}"]
        for unit, one in found["gain_on_test"].items()
    ]  # fmt: skip
    yield from table(["unit", "gain", "95 % interval", "p"], rows)
    told = found["citations_on_test"]
    yield (
        f"\nOf {told['answers']} answers, {told['gold passage shown']} were given with a gold "
        f"document among the passages; {told['citing']} cite, {told['citing a gold passage']} of "
        "them a gold document.\n"
    )
    yield "What the search on train compared:\n"
    searched = [one for one in found["searched"] if one["name"].startswith("searched")]
    measures = [name for name in searched[0] if name not in ("name", "note")]
    rows = [[one["name"], one["note"], *(scored(one[m]) for m in measures)] for one in searched]
    yield from table(["way", "index", *measures], rows)


def retrieval_large(found: Result) -> Iterator[str]:
    yield "## A large index\n"
    yield (
        f"{found['passages']:,} passages of sentences from real texts put together at random; "
        f"vectors are real ones with noise, not computed. {ran(found)}\n"
    )
    built = found["build_seconds"].items()
    rows = [[f"making {part}, s", f"{value:,.0f}"] for part, value in built]
    rows += [
        ["most memory while making it, GiB", f"{found['peak_gibibytes_building']:.1f}"],
        ["on the disk, GiB", f"{found['disk_gibibytes']:.1f}"],
    ]
    for name, one in found["milliseconds_per_query"].items():
        rows.append(
            [f"{name}: ms per query, median / p95", f"{one['median']:.1f} / {one['p95']:.1f}"]
        )
    rows.append(["recall@10 of the graph", f"{found['recall@10_of_the_graph']:.3f}"])
    if again := found.get("one_document_changed"):
        rows += [
            [f"one document changed: {part} again, s", f"{value:,.0f}"]
            for part, value in again["seconds"].items()
        ]
        rows.append(["one document changed: passages encoded", str(again["passages_encoded"])])
    yield from table(["what", "measured"], rows)
