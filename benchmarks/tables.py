"""RESULTS.md out of results/*.json, so that no figure in it is typed by hand.

    python benchmarks/tables.py [--check]

`--check` fails when RESULTS.md is not what the results say.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from calls_tables import calls
from custom_tables import custom_kinds, distilled, from_scratch
from engine_tables import live_engine
from labels_tables import labels
from train_tables import train_speed

HERE = Path(__file__).parent
HEAD = """# Results

Scores are on dev, with two-sided 95 % intervals, unless said otherwise. `results/*.json` hold
everything, and `python benchmarks/tables.py` writes this page from them. The decision guarantee has
[tables of its own](decision_guarantee.md). What was tried, failures too, is in
[the log](../docs/log.md).
"""
CUSTOM = (
    "banking77", "banking77_10", "clinc150", "cuad_clauses", "nusax_senti", "phee_events",
    "maintie",
)  # fmt: skip
FROM_SCRATCH = ("symbols", "banking77", "nusax_senti")
WEAK = 0.1  # a score with which beating it shows nothing
Result = Mapping[str, Any]


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--check", action="store_true")
    text = "\n".join([HEAD, *sections()])
    page = HERE / "RESULTS.md"
    if options.parse_args().check:
        sys.exit(0 if page.read_text(encoding="utf-8") == text else "RESULTS.md is out of date")
    page.write_text(text, encoding="utf-8")


def sections() -> Iterator[str]:
    """The parts of the page, one per result that is there."""
    for name, write in (
        ("ladder_pharmacovigilance", ladder),
        ("ladder_customer-intents", ladder),
        ("throughput", throughput),
        ("overhead", overhead),
        ("check_100k", check_100k),
        ("hosted", hosted),
        ("hosted_climb", hosted_climb),
        ("live_engine", live),
        ("serve_latency", serve_latency),
        ("retrieval", retrieval),
        ("retrieval_climb", retrieval_climb),
        ("retrieval_large", retrieval_large),
        ("groundedness", groundedness),
        ("injection", injection),
        ("calls", calls),
        ("serve_memory", serve_memory),
        ("train_speed", train_speed),
        ("labels", more_labels),
        ("database", database),
        *((f"custom_{name}", custom_kinds) for name in CUSTOM),
        *((f"scratch_{name}", from_scratch) for name in FROM_SCRATCH),
        ("distill_phee_events", distilled),
    ):
        path = HERE / "results" / f"{name}.json"
        if path.is_file():
            yield "\n".join([*write(json.loads(path.read_text(encoding="utf-8"))), ""])


def more_labels(found: Result) -> Iterator[str]:
    yield f"## More labels\n\n{ran(found)}\n"
    yield from labels(found)


def live(found: Result) -> Iterator[str]:
    yield f"## The live engine\n\n{ran(found)}\n"
    yield from live_engine(found)


def ladder(found: Result) -> Iterator[str]:
    sizes = ", ".join(f"{name} {count:,}" for name, count in found["examples"].items())
    yield f"## The ladder on {found['task']}\n"
    yield f"{found['model']}; {sizes}. {ran(found)}\n"
    rows = [
        _solver(each["step"], each["solver"], each, f"{each['build_seconds']:.0f}")
        for each in found["trials"]
    ]
    rows.append(_solver("beside", "prompt with 20 examples", found["prompt_with_20_examples"], "-"))
    heads = ["step", "solver", "score", "95 % interval", "n", "tokens in / out", "p50 / p95 s"]
    yield from table([*heads, "build s"], rows)
    yield f"\nVerdict: {found['verdict']}. {found['reason']}\n"
    for one in found["confirmations"]:
        outcome = "passed" if one["passed"] else "refused"
        yield (
            f"- sealed test, {one['step']}: {one['score']:.3f}, at least {one['low']:.3f} "
            f"(n = {one['n']}), {outcome}"
        )
    yield "\nThe fine-tuned model in pairs on the same dev examples:\n"
    heads = ["against", "gain", "95 % interval", "relative", "share of its input tokens"]
    yield from table(heads, [_pair(name, one) for name, one in found["fine_tune_against"].items()])
    prompted = [one["score"] for one in found["trials"] if one["step"] == "prompt"]
    if max(prompted, default=1.0) < WEAK:
        yield (
            f"\nThe best prompt without demonstrations scores {max(prompted):.3f}: a gain over it "
            "is trivial with so small a model. What counts is the gain over few-shot."
        )
    racing = found["racing"]
    yield f"\nRacing saved {racing['share_saved']:.0%} of {racing['planned']:,} dev answers."


def throughput(found: Result) -> Iterator[str]:
    yield "## Throughput\n"
    yield (
        f"{found['examples']} examples, {found['input_tokens_mean']:.0f} input tokens on average, "
        f"of which about {found['shared_tokens_about']} are shared, at most "
        f"{found['answer_tokens_at_most']} tokens out. {ran(found)}\n"
    )
    rows = [[path, f"{rate:.2f}"] for path, rate in found["requests_per_second"].items()]
    yield from table(["path", "requests/s"], rows)
    limits = found["limits"]
    yield (
        f"\n`evaluate` over the engine by hand: {found['evaluate_over_engine']:.2f} (wanted: "
        f"{limits['evaluate_over_engine']}). `evaluate` over transformers: "
        f"{found['evaluate_over_transformers']:.1f} times (wanted: "
        f"{limits['evaluate_over_transformers']:g}). Same answers as the engine by hand: "
        f"{found['same_answers_as_engine']:.0%}."
    )


def overhead(found: Result) -> Iterator[str]:
    yield f"## Own overhead\n\n{ran(found)}\n"
    rows = [
        [
            f"{one['examples']:,.0f}",
            f"{one['wall_microseconds_per_example']:.0f}",
            f"{one['cpu_microseconds_per_example']:.0f}",
            f"{one['peak_bytes_per_example']:.0f}",
        ]
        for one in found["measured"]
    ]
    heads = ["examples", "wall µs/example", "CPU µs/example", "peak bytes/example"]
    yield from table(heads, rows)
    kept = "yes" if found["kept"] else "no"
    yield f"\nLimits (200 µs and 2,048 bytes at 100,000 examples) kept: {kept}."


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
        [name, *(_scored(one[each]) for each in measures), f"{one['queries_per_second']:,.0f}"]
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
        "few to show it.\n"
    )
    speed = found["speed"].items()
    yield from table(["work", "per second"], [[name, f"{rate:,.0f}"] for name, rate in speed])
    seconds = found["index_seconds"]
    yield (
        f"\nThe index was made in {seconds['first']:.0f} s, nearly all of it the encoder, and "
        f"found again in {seconds['again']:.2f} s."
    )


def _scored(one: Result) -> str:
    return f"{one['score']:.3f} ({one['low']:.2f} to {one['high']:.2f})"


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
        [f"{one['step']} / {one['solver']}", "dev", _scored(one), str(one["n"]),
         _plain(one["input_tokens"]), _plain(one["p50_seconds"], 2)]
        for one in found["dev"]
    ]  # fmt: skip
    rows += [
        [f"best of {step}", "test", _scored(one), str(one["n"]), _plain(one["input_tokens"]),
         _plain(one["p50_seconds"], 2)]
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
    rows = [[one["name"], one["note"], *(_scored(one[m]) for m in measures)] for one in searched]
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


def serve_latency(found: Result) -> Iterator[str]:
    yield f"## What the server adds\n\n{ran(found)}\n"
    yield (
        f"{found['calls']:,} calls a row at {found['rate_per_second']:.0f} a second, answers of "
        f"{found['answer_tokens']} tokens from an engine that costs nothing; the client's time "
        "less the engine's.\n"
    )
    theirs = found["litellm"].get("rows", {})
    rows = [
        [
            clients,
            f"{one['rate']:.0f}",
            f"{one['median_ms']:.1f}",
            f"{one['p99_ms']:.1f}",
            f"{theirs[clients]['median_ms']:.1f}" if clients in theirs else "",
            f"{theirs[clients]['p99_ms']:.1f}" if clients in theirs else "",
        ]
        for clients, one in found["ours"].items()
    ]
    heads = ["clients", "calls/s", "median ms", "p99 ms", "LiteLLM: median ms", "p99 ms"]
    yield from table(heads, rows)
    if "skipped" in found["litellm"]:
        yield f"\nLiteLLM was not measured: {found['litellm']['skipped']}."
    elif found["litellm"].get("loosened"):
        yield f"\nLiteLLM with other versions than it pins: {found['litellm']['loosened']}."
    limits = found["limits"]
    kept = all(
        one["median_ms"] <= limits["median_ms"] and one["p99_ms"] <= limits["p99_ms"]
        for one in found["ours"].values()
    )
    yield (
        f"\nLimits (median {limits['median_ms']:.0f} ms, p99 {limits['p99_ms']:.0f} ms) kept: "
        f"{'yes' if kept else 'no'}. Memory after each thousand of 10,000 calls, in MiB: "
        f"{', '.join(f'{each:.0f}' for each in found['memory_mib'])}."
    )


def serve_memory(found: Result) -> Iterator[str]:
    yield f"## The server's memory over requests of every kind\n\n{ran(found)}\n"
    figures = ", ".join(f"{each:.0f}" for each in found["memory_mib"])
    growth, limit = found["growth_mib_per_thousand"], found["limits"]["growth_mib_per_thousand"]
    yield (
        f"MiB at the start and after each thousand of {found['requests']:,} requests (answers, "
        f"files, batches, jobs, feedback): {figures}. After the first thousand it grows by "
        f"{growth:.2f} MiB a thousand; the limit ({limit:g}) is kept: "
        f"{'yes' if growth <= limit else 'no'}."
    )


def database(found: Result) -> Iterator[str]:
    yield f"## The server's database beside the plain driver\n\n{ran(found)}\n"
    yield (
        f"{found['rows']:,} recorded calls, {found['jobs']} tuning jobs, {found['megabytes']} MB "
        "of files. Plain: the driver by hand, without what the server keeps beside (indexes, "
        "checks, hashes, leases). Who makes a call waits for none of it: a thread writes.\n"
    )
    rows = [_kept_in(name, found[name.lower()]) for name in ("SQLite", "PostgreSQL")]
    heads = ["calls/s recorded", "plain", "caller waits µs", "claim and end ms", "plain"]
    yield from table(["database", *heads, "MB/s in", "plain", "MB/s out", "plain"], rows)


def _kept_in(name: str, one: Result) -> list[str]:
    record, claim, files = one["record"], one["claim"], one["files"]
    waits = record["caller_us"]
    return [
        name,
        f"{record['ours_rows_per_second']:,.0f}",
        f"{record['plain_rows_per_second']:,.0f}",
        f"{waits['median']:.0f} (p99 {waits['p99']:.0f})",
        f"{claim['ours_ms']['median']:.1f}",
        f"{claim['plain_ms']['median']:.1f}",
        f"{files['ours_in_mb_per_second']:,.0f}",
        f"{files['plain_in_mb_per_second']:,.0f}",
        f"{files['ours_out_mb_per_second']:,.0f}",
        f"{files['plain_out_mb_per_second']:,.0f}",
    ]


def check_100k(found: Result) -> Iterator[str]:
    yield "## Checking 100,000 rows\n"
    yield f"{found['date']}, commit {found['commit']}, load before {found['load_before']}.\n"
    rows = [
        [
            sets,
            f"{one['seconds']:.1f}",
            f"{one['cpu_seconds']:.1f}",
            f"{one['peak_bytes'] / 1e6:.0f}",
        ]
        for sets, one in found["runs"].items()
    ]
    yield from table(["sets", "seconds", "CPU seconds", "peak MB"], rows)


def hosted(found: Result) -> Iterator[str]:
    yield f"## 1,000 calls to a hosted model\n\n{ran(found)}\n"
    yield (
        "Wall time over the ideal (calls x latency / concurrency), against a service in a process "
        "on the same two cores that waits, says the prompt again, and computes next to nothing.\n"
    )
    ways = {
        "stepladder": "stepladder",
        "sdk": "the SDK by hand",
        "http": "plain HTTP by hand",
        "without_sdk": "stepladder without the SDK",
    }
    rows = [
        [
            f"{1000 * one['latency_seconds']:.0f} ms",
            str(one["concurrency"]),
            *(f"{one['times_ideal'][way]:.2f}" for way in ways),
            f"{one['cpu_milliseconds_per_call']['stepladder']:.1f}",
            f"{one['cpu_milliseconds_per_call']['sdk']:.1f}",
        ]
        for one in found["measured"]
    ]
    cpu = ["stepladder's CPU ms a call", "the SDK's"]
    yield from table(["latency", "concurrency", *ways.values(), *cpu], rows)
    kept = ", ".join(found["within_the_limit"]["stepladder"]) or "none"
    yield (
        f"\nWanted: at most {found['limit_times_ideal']} times the ideal. "
        f"Kept by stepladder: {kept}. "
        "What bounds it at many short calls: Python runs one thread at a time, and each call "
        "computes for about a millisecond, most of it in the SDK, which by hand takes more: see "
        "[calls a second](../docs/decisions/0020-calls-a-second.md)."
    )
    faults = found["faults"]
    yield (
        f"\nWith {faults['share_going_wrong']:.0%} of {faults['calls']:,} calls going wrong in "
        f"{len(faults['went_wrong'])} ways: {faults['lost']} answers lost, "
        f"{faults['answered_more_than_once']} answered more than once; "
        f"{faults['work_done_again_because_its_answer_broke']} worked on again because the answer "
        "broke on its way."
    )


def hosted_climb(found: Result) -> Iterator[str]:
    yield f"## A climb on hosted models\n\n{ran(found)}\n"
    yield f"{found['note']}\n"
    rows = [
        _solver(each["step"], each["solver"], each, f"{each['build_seconds']:.0f}")
        for each in found["trials"]
    ]
    heads = ["step", "solver", "score", "95 % interval", "n", "tokens in / out", "p50 / p95 s"]
    yield from table([*heads, "build s"], rows)
    dollars, service = found["dollars_by_the_price_table"], found["service"]
    yield (
        f"\nVerdict: {found['verdict']}. {found['reason']}\n\n{service['calls']:,} calls, "
        f"{service['answered_twice']} answered twice, {service['tuning_jobs_created']} tuning job; "
        f"${dollars['calls']:.2f} for calls and ${dollars['tuning']:.2f} for tuning by the price "
        f"table; {found['wall_seconds']:.0f} s."
    )


def groundedness(found: Result) -> Iterator[str]:
    yield f"## Groundedness on COVID-QA\n\n{ran(found)}\n"
    yield (
        f"The experts' answers to {found['questions']} questions, held against passages; articles "
        "are the units of the intervals.\n"
    )
    against = ("gold", "another of the article", "any other")
    rows = [
        [
            name,
            *(
                f"{one['score']:.3f} ({one['low']:.3f} to {one['high']:.3f})"
                for one in (found[each][name] for each in against)
            ),
        ]
        for name in found["gold"]
    ]
    yield from table(["words count in", *(f"{each} passage" for each in against)], rows)


def injection(found: Result) -> Iterator[str]:
    yield f"## Planted instructions\n\n{ran(found)}\n"
    worst = found["worst_case"]
    yield (
        f"{worst['plants']} kinds of planted instructions, in documents, in the results of a "
        "Python function, in the descriptions and results of an MCP server and of an HTTP service. "
        "What the program did because of them, outside of what it may do, and how many answers "
        "said what was planted (that is the model's own doing):\n"
    )
    models = [("obeys all it finds", worst)]
    if "embedded" in found:
        own = found["embedded"]
        models.append((f"{own['model']}, {own['date'][:10]}", own))
    rows = [row for name, one in models for row in _by_way(one, name, spoken=one is worst)]
    heads = ["model", "way in", "calls asked for", "run: looking up, writing a note"]
    yield from table([*heads, "run beyond", "said what was planted"], rows)
    yield ""
    for name, one in models:
        done = one["obeyed_by_the_harness"].items()
        told = ", ".join(f"{key.replace('_', ' ')} {count}" for key, count in done)
        yield f"- Done by the program ({name}): {told}."
    mcp, served = worst["mcp"], worst["served"]
    yield (
        f"- The MCP server asked {mcp['asked_in_turn']} times for a model's answer, a person's or "
        f"our folders, and was given {mcp['given_in_turn']}.\n"
        f"- As inputs of a served bundle, by both protocols, whole and streamed: "
        f"{sum(served['answers'].values())} answers, obeyed "
        f"{sum(served['obeyed_by_the_harness'].values())}."
    )


def _by_way(one: Result, model: str, *, spoken: bool) -> Iterator[list[str]]:
    documents = one["documents"]
    said = f"{documents['answers_that_say_it']} of {documents['answers']}"
    yield [model, "documents", "-", "-", "-", said]
    ways = {"results": "Python function", "mcp": "MCP server", "http": "HTTP service"}
    for key, way in ways.items():
        if key not in one:
            continue
        found = one[key]
        states = found["calls_by_state"]
        # held to lists of calls, the embedded model has no last words
        said = f"{found['answers_that_say_it']} of {found['answers']}" if spoken else "-"
        yield [
            model,
            way,
            str(found["calls_asked_for"]),
            str(states.get("done", 0) + states.get("failed", 0)),
            str(found["ran_outside_the_allow_list"]),
            said,
        ]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'|'.join('---' for _ in heads)}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def ran(found: Result) -> str:
    """Machine, date and commit of a result."""
    at = found["machine"]
    return (
        f"{at['cpu']}, {at['cores']} cores, {at['memory_gib']} GiB; {found['date'][:10]}, commit "
        f"{found['commit']}, load before {found['load_before'][0]:.2f}."
    )


def _solver(step: str, name: str, seen: Result, build: str) -> list[str]:
    early = " (stopped early)" if seen.get("stopped_early") else ""
    return [
        step,
        f"{name}{early}",
        f"{seen['score']:.3f}",
        f"{seen['low']:.3f} to {seen['high']:.3f}",
        str(seen["n"]),
        f"{_plain(seen['input_tokens'])} / {_plain(seen['output_tokens'])}",
        f"{_plain(seen['p50_seconds'], 2)} / {_plain(seen['p95_seconds'], 2)}",
        build,
    ]


def _pair(name: str, one: Result) -> list[str]:
    relative, share = one["relative"], one["share_of_its_input_tokens"]
    return [
        name,
        f"{one['gain']:+.3f}",
        f"{one['low']:+.3f} to {one['high']:+.3f}",
        "-" if relative is None else f"{relative:+.0%}",
        "-" if share is None else f"{share:.0%}",
    ]


def _plain(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    main()
