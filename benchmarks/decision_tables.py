"""Writes the tables of `decision_guarantee.md` from the result files, which hold every setting.

python benchmarks/decision_tables.py
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
Line = dict[str, Any]


def main() -> None:
    page = Path(__file__).with_name("decision_guarantee.md")
    words, mark, _ = page.read_text(encoding="utf-8").partition("\n`decision_guarantee.py`: ")
    if not mark:
        raise SystemExit(f"{page.name} has lost the line that its tables follow")
    page.write_text("\n".join([words, *tables(), ""]), encoding="utf-8")


def tables() -> Iterator[str]:
    guarantee = json.loads((RESULTS / "decision_guarantee.json").read_text())
    coverage = json.loads((RESULTS / "bound_coverage.json").read_text())
    for name, one in (("decision_guarantee", guarantee), ("bound_coverage", coverage)):
        yield (
            f"`{name}.py`: {one['date']}, commit {one['commit']}, {one['machine']}, "
            f"{one['workers']} workers, {one['seconds']} s\n"
        )
    lines: list[Line] = guarantee["settings"]
    yield "### Stopping below the target\n"
    yield from shown(["metric", "truth", "difficulty", "n", "k", *RULES], map(wrong, below(lines)))
    yield "\n### Every candidate opened, whatever dev says\n"
    yield from shown(
        ["metric", "difficulty", "n", "passed below target (95 % interval)"], reckless(lines)
    )
    yield "\n### Stopping on an able candidate / on one below the target\n"
    head = ["metric", "truth", "difficulty", "n", "k", *RULES, "limit", "openings"]
    yield from shown(head, power(lines))
    yield "\n### Bounds above the truth\n"
    head = ["metric", "truth", "n", "level", "ours", "BCa", "percentile", "margin", "BCa margin"]
    yield from shown(head, covered(coverage["rows"], coverage["levels"]))


LEVEL = 0.025  # of the first opening
RULES = ("stepladder", "max dev", "mean chosen")


def below(lines: Iterable[Line]) -> list[Line]:
    """Where nothing is able: the fewest and the most candidates, independent (the worse case)."""
    found = [one for one in lines if one["stepladder"]["power"] is None]
    return [one for one in found if one["difficulty"] == "independent" and one["k"] != 10]


def wrong(one: Line) -> list[str]:
    ours = one["stepladder"]
    spread = f"{ours['below_target']:.3f} ({ours['low']:.3f}-{ours['high']:.3f})"
    return [*named(one), spread, *(f"{one[rule]['below_target']:.3f}" for rule in RULES[1:])]


def reckless(lines: Iterable[Line]) -> Iterable[list[str]]:
    for one in lines:
        if "reckless" in one:
            rate = one["reckless"]
            spread = f"{rate['below_target']:.3f} ({rate['low']:.3f}-{rate['high']:.3f})"
            yield [one["metric"], one["difficulty"], str(one["n"]), spread]


def power(lines: Iterable[Line]) -> Iterable[list[str]]:
    """Where some are able: ten correlated candidates; power / rate of stopping below."""
    for one in lines:
        some = one["stepladder"]["power"] is not None
        if some and one["difficulty"] == "correlated" and one["k"] == 10:
            rates = [f"{one[r]['power']:.2f} / {one[r]['below_target']:.3f}" for r in RULES]
            limit, openings = one["limit"]["power"], one["stepladder"]["openings"]
            yield [*named(one), *rates, f"{limit:.2f}", f"{openings:.2f}"]


def covered(rows: Iterable[Line], levels: Sequence[float]) -> Iterable[list[str]]:
    for one in rows:
        for i, level in [(levels.index(0.025), 0.025)]:
            shares = [
                one.get(rule, {}).get("above_truth") for rule in ("ours", "BCa", "percentile")
            ]
            margins = [one.get(rule, {}).get("margin") for rule in ("ours", "BCa")]
            found = [f"{each[i]:.3f}" if each else "" for each in [*shares, *margins]]
            yield [one["metric"], f"{one['truth']:.3g}", str(one["n"]), f"{level:g}", *found]


def named(one: Line) -> list[str]:
    return [str(one[name]) for name in ("metric", "truth", "difficulty", "n", "k")]


def shown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    for line in lines:
        yield "| " + " | ".join(line) + " |"


if __name__ == "__main__":
    main()
