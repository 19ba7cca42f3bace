"""RESULTS.md out of results/*.json, so that no figure in it is typed by hand.

    python benchmarks/tables.py [--check]

`--check` fails when RESULTS.md is not what the results say.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from calls_tables import calls
from custom_tables import custom_kinds, distilled, from_scratch
from engine_tables import live_engine, ray_rows
from hosted_tables import hosted, hosted_climb
from labels_tables import labels
from page import Result, ran, solver_line, table
from retrieval_tables import retrieval, retrieval_climb, retrieval_folds, retrieval_large
from serve_tables import database, serve_latency, serve_memory
from train_tables import passes, train_speed

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
WEAK = 0.1  # a score with which beating it shows nothing


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
        ("retrieval_folds", retrieval_folds),
        ("retrieval_climb", retrieval_climb),
        ("retrieval_large", retrieval_large),
        ("groundedness", groundedness),
        ("injection", injection),
        ("calls", calls),
        ("serve_memory", serve_memory),
        ("train_speed", train_speed),
        ("passes", passes),
        ("passes_60", passes),
        ("labels", more_labels),
        ("database", database),
        ("ray_rows", ray_rows),
        *((f"custom_{name}", custom_kinds) for name in CUSTOM),
        ("scratch", from_scratch),
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
        solver_line(each["step"], each["solver"], each, f"{each['build_seconds']:.0f}")
        for each in found["trials"]
    ]
    rows.append(
        solver_line("beside", "prompt with 20 examples", found["prompt_with_20_examples"], "-")
    )
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


def _pair(name: str, one: Result) -> list[str]:
    relative, share = one["relative"], one["share_of_its_input_tokens"]
    return [
        name,
        f"{one['gain']:+.3f}",
        f"{one['low']:+.3f} to {one['high']:+.3f}",
        "-" if relative is None else f"{relative:+.0%}",
        "-" if share is None else f"{share:.0%}",
    ]


if __name__ == "__main__":
    main()
