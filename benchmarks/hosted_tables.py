"""The parts of RESULTS.md on hosted models; `tables.py` puts them in their places."""

from __future__ import annotations

from collections.abc import Iterator

from page import Result, ran, solver_line, table

__all__ = ["hosted", "hosted_climb"]


def hosted(found: Result) -> Iterator[str]:
    yield f"## 1,000 calls to a hosted model\n\n{ran(found)}\n"
    yield (
        "Wall time over the ideal (calls x latency / concurrency), against a service in a process "
        "on the same two cores that waits, says the prompt again, and computes next to nothing.\n"
    )
    ways = {
        "stepladder": "stepladder, google-genai",
        "sdk": "google-genai by hand",
        "openai": "stepladder, openai",
        "openai_sdk": "openai by hand",
        "http": "plain HTTP by hand",
        "without_sdk": "stepladder without the SDK",
    }
    by_sdk = ("stepladder", "sdk", "openai", "openai_sdk")
    rows = [
        [
            f"{1000 * one['latency_seconds']:.0f} ms",
            str(one["concurrency"]),
            *(f"{one['times_ideal'][way]:.2f}" for way in ways),
            *(f"{one['cpu_milliseconds_per_call'][way]:.1f}" for way in by_sdk),
        ]
        for one in found["measured"]
    ]
    cpu = [f"CPU ms a call: {ways[way]}" for way in by_sdk]
    yield from table(["latency", "concurrency", *ways.values(), *cpu], rows)
    kept = found["within_the_limit"]
    told = (f"{ways[way]}: {', '.join(kept[way]) or 'none'}" for way in ("stepladder", "openai"))
    yield (
        f"\nWanted: at most {found['limit_times_ideal']} times the ideal. Kept by "
        f"{'; '.join(told)}. What bounds it at many short calls: Python runs one thread at a time, "
        "and each call computes for about a millisecond, most of it in the SDK: see "
        "[calls a second](../docs/decisions/0028-plain-calls-below-the-sdks.md)."
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
        solver_line(each["step"], each["solver"], each, f"{each['build_seconds']:.0f}")
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
