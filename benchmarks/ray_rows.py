"""A million rows through Ray Data, against one process: rows/s, the driver's memory, rows counted.

A linear solver over customer messages that are made as they are read, so that nothing but the
program itself is in memory. Counted is every index that comes back, and what was answered.

    python benchmarks/ray_rows.py [--rows 1000000] [--workers 2] [--write]
"""

from __future__ import annotations

import tempfile
import time
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, overload

from environment import finish, parser, where

from stepladder.answers import Answers
from stepladder.core import DataSource, Example, MetricSpec, Output, Target, Task, Workshop
from stepladder.executors.ray_data import RayCluster
from stepladder.solvers.linear import fit_linear

SUBJECTS = ("card", "transfer", "account", "exchange", "refund", "terminal", "statement")
VERBS = ("arrived", "failed", "vanished", "bounced", "changed", "doubled", "expired", "stalled")
LABELS = ("payments", "money", "profile", "rates", "returns", "shops", "papers")
TASK = Task(
    name="rows",
    kind="classification",
    instructions="What is the message about?",
    target=Target(0.9),
    metric=MetricSpec("accuracy"),
    data=DataSource(examples="made here"),
    labels=LABELS,
)


class Messages(Sequence[str]):
    """So many messages, each made when it is asked for."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return self._rows

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [self[index] for index in range(*at.indices(self._rows))]
        subject, verb = SUBJECTS[at % 7], VERBS[at // 7 % 8]
        return f"Hello, my {subject} {verb} on day {at // 56 % 28}, what now? Case {at:07d}."


def main() -> None:
    options = parser(str(__doc__))
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--workers", type=int, default=2)
    chosen = options.parse_args()
    result: dict[str, Any] = {**where(), "rows": chosen.rows, "workers": chosen.workers}
    inputs = Messages(chosen.rows)
    with tempfile.TemporaryDirectory() as scratch:
        workshop = Workshop(_no_model, Path(scratch) / "artifacts", lambda event, told: None)
        train = [Example(str(at), inputs[at], LABELS[at % 7]) for at in range(2000)]
        solver = fit_linear(train, workshop)
        answers = Answers(Path(scratch) / "answers.sqlite")
        result["one_process"] = counted(solver.answer(inputs, workshop), chosen.rows)
        cluster = RayCluster(TASK, answers, workers=chosen.workers, cores=1)
        first = list(cluster.answer(solver, inputs[:4096], workshop))  # starts the cluster
        assert len(first) == 4096
        result["ray"] = counted(cluster.answer(solver, inputs, workshop), chosen.rows)
        cluster.close()
        answers.close()
    mine, theirs = result["one_process"], result["ray"]
    result["same_answers"] = mine["answers"] == theirs["answers"]
    result["speed"] = round(theirs["rows_per_second"] / mine["rows_per_second"], 2)
    finish("ray_rows", result, write=chosen.write)


def counted(outputs: Iterable[tuple[int, Output]], rows: int) -> dict[str, Any]:
    """Rows a second, how often each index came, a sum over all answers, memory on the way."""
    seen = bytearray(rows)
    total, memory = 0, []
    started = time.perf_counter()
    for came, (at, output) in enumerate(outputs, start=1):
        seen[at] += 1
        total += zlib.crc32(f"{at} {output.value} {output.confidence!r} {output.error}".encode())
        if came % (rows // 10) == 0:
            memory.append(own_mib())
    seconds = time.perf_counter() - started
    return {
        "seconds": round(seconds, 1),
        "rows_per_second": round(rows / seconds),
        "rows_once": seen.count(1),
        "rows_missing": seen.count(0),
        "rows_doubled": rows - seen.count(1) - seen.count(0),
        "answers": f"{total:x}",
        "memory_mib": memory,
    }


def own_mib() -> float:
    """Memory of this process alone, in MiB: without what it shares with others, such as blocks."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon:"):
            return round(int(line.split()[1]) / 1024, 1)
    return float("nan")


def _no_model(name: str) -> Any:
    raise LookupError(name)


if __name__ == "__main__":
    main()
