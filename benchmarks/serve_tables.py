"""The parts of RESULTS.md on the server; `tables.py` puts them in their places."""

from __future__ import annotations

from collections.abc import Iterator

from page import Result, ran, table

__all__ = ["database", "serve_latency", "serve_memory"]


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
