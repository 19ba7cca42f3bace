"""What the parts of RESULTS.md are written with: tables, machine and date, figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["Result", "plain", "ran", "scored", "solver_line", "table"]

Result = Mapping[str, Any]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'|'.join('---' for _ in heads)}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def ran(found: Result) -> str:
    """Machine, date and commit of a result."""
    at = found["machine"]
    slow = ", no units for bfloat16" if at.get("bfloat16") is False else ""
    return (
        f"{at['cpu']}, {at['cores']} cores, {at['memory_gib']} GiB{slow}; "
        f"{found['date'][:10]}, commit {found['commit']}, "
        f"load before {found['load_before'][0]:.2f}."
    )


def plain(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def scored(one: Result) -> str:
    return f"{one['score']:.3f} ({one['low']:.2f} to {one['high']:.2f})"


def solver_line(step: str, name: str, seen: Result, build: str) -> list[str]:
    early = " (stopped early)" if seen.get("stopped_early") else ""
    return [
        step,
        f"{name}{early}",
        f"{seen['score']:.3f}",
        f"{seen['low']:.3f} to {seen['high']:.3f}",
        str(seen["n"]),
        f"{plain(seen['input_tokens'])} / {plain(seen['output_tokens'])}",
        f"{plain(seen['p50_seconds'], 2)} / {plain(seen['p95_seconds'], 2)}",
        build,
    ]
