"""Our own time and memory per example: a climb's measuring with a model that answers at once.

Rendering, caching, scoring, diagnosis, writing rows and the interval are all in; the model is not.
Memory is what `evaluate` adds at its peak over the examples that were there before.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from climbing import LABELS, answers_right, number_task, numbers
from environment import finish, parser, where

from stepladder.core import Usage, Workshop
from stepladder.evaluate import Bench, evaluate
from stepladder.metrics import load_metric
from stepladder.solvers.prompt import PromptSolver
from stepladder.store import CachedModel, RowFile, open_run
from stepladder.testing import FakeModel

SIZES = (10_000, 30_000, 100_000)
LIMIT_MICROSECONDS, LIMIT_BYTES = 200.0, 2048.0


class Forgetful(FakeModel):
    """A fake model that does not keep what it was asked: that would be its memory, not ours."""

    def __init__(self) -> None:
        super().__init__(answers_right(0.9))
        self.seen = _Nothing()  # type: ignore[assignment]


class _Nothing:
    def append(self, request: object) -> None:
        """Forget."""


def measure_one(count: int) -> dict[str, float]:
    """One evaluation of `count` examples in this process."""
    with tempfile.TemporaryDirectory() as folder:
        task = number_task(Path(folder))
        examples = numbers(0, count)
        with open_run(Path(folder) / "runs", "overhead") as run:
            model = CachedModel(Forgetful(), run.answers)
            workshop = Workshop(lambda name: model, run.artifacts, lambda event, fields: None)

            def price(usage: Iterable[Usage]) -> float | None:
                return 0.001

            bench = Bench(task, load_metric(task), workshop, price)
            solver = PromptSolver(
                "fake:model",
                task.instructions,
                "classification",
                labels=LABELS,
                output_format="label",
            )
            evaluate(solver, examples[:100], bench, "train", lambda record: None)  # warm up
            rows = RowFile(run.folder / "rows.jsonl")
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            cpu, wall = time.process_time(), time.perf_counter()
            evaluation = evaluate(solver, examples, bench, "dev", rows.write)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            rows.close()
            assert evaluation.n == count
    return {
        "examples": count,
        "wall_microseconds_per_example": wall / count * 1e6,
        "cpu_microseconds_per_example": cpu / count * 1e6,
        "peak_bytes_per_example": (after - before) * 1024 / count,
    }


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--one", type=int, help="measure one size here (used by this script)")
    chosen = options.parse_args()
    if chosen.one:
        found = measure_one(chosen.one)
        print(" ".join(str(value) for value in found.values()))
        return
    place, measured = where(), []
    for size in SIZES:  # each in its own process: peak memory never goes down
        command = [sys.executable, __file__, "--one", str(size)]
        line = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        names = ("examples", "wall_microseconds_per_example", "cpu_microseconds_per_example",
                 "peak_bytes_per_example")  # fmt: skip
        measured.append(dict(zip(names, map(float, line), strict=True)))
    last = measured[-1]
    result = {
        **place,
        "measured": measured,
        "limits": {"microseconds": LIMIT_MICROSECONDS, "bytes": LIMIT_BYTES},
        "kept": last["wall_microseconds_per_example"] < LIMIT_MICROSECONDS
        and last["peak_bytes_per_example"] < LIMIT_BYTES,
    }
    finish("overhead", result, write=chosen.write)


if __name__ == "__main__":
    main()
