"""One candidate over one set, in blocks: rows on disk as they come, progress told, budget kept.

The same for racing on dev and for an opening of the sealed test. It measures; who goes on is for
`race.py`, what it means for `decide.py`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Literal, Self

from .budget import Budget
from .core import Candidate, Diagnosis, Evaluation, Example, Json, Row
from .diagnose import diagnose
from .evaluate import Bench, measure, summarise
from .solvers import content_hash
from .store import RowFile, RunFolder
from .time_left import TimeLeft

__all__ = ["Runner"]


class Runner:
    """Rows of a candidate so far. A context manager: the rows file is closed at its end."""

    def __init__(
        self,
        candidate: Candidate,
        set_name: Literal["dev", "test"],
        examples: Sequence[Example],
        bench: Bench,
        run: RunFolder,
        budget: Budget,
    ) -> None:
        self.candidate = candidate
        self.rows: list[Row] = []
        self.stopped: str | None = None
        self._set_name = set_name
        self._examples = examples
        self._bench = bench
        self._budget = budget
        self._seconds = 0.0
        self._left = TimeLeft()
        self._pairs: list[tuple[Json, Json]] = []
        self._sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        identity = content_hash(candidate.solver)
        self._file = RowFile(run.row_file(candidate.step, candidate.name, identity, set_name))

    def answer(self, block: Sequence[Example]) -> None:
        """Answer one more block of the set; raises BudgetExceeded when nothing is left."""
        started = time.perf_counter() - self._seconds
        for row in measure(self.candidate.solver, block, self._bench, self._sink):
            self.rows.append(row)
            for stratum, numerator, denominator in row.counts:
                self._sums[stratum][0] += numerator
                self._sums[stratum][1] += denominator
            self._seconds = time.perf_counter() - started
            self._left.answered(row.seconds, self._seconds)
            self._tell()
            self._budget.spend(row.dollars)
        self._left.block_ended()
        self._seconds = time.perf_counter() - started

    def evaluation(self) -> Evaluation:
        """What was measured so far."""
        return summarise(
            self.rows,
            self._examples,
            self._bench,
            set_name=self._set_name,
            wall_seconds=self._seconds,
        )

    def diagnosis(self) -> Diagnosis:
        """How the answers so far fail."""
        return diagnose(self.rows, self._pairs)

    def _sink(self, record: Mapping[str, Json]) -> None:
        self._file.write(record)
        if self._bench.task.kind == "classification":
            self._pairs.append((record["expected"], record["value"]))

    def _tell(self) -> None:
        done, planned = len(self.rows), len(self._examples)
        known = [top / of for top, of in self._sums.values() if of]
        self._bench.workshop.tell(
            "rows",
            {
                "step": self.candidate.step,
                "name": self.candidate.name,
                "set": self._set_name,
                "done": done,
                "planned": planned,
                "score": sum(known) / len(known) if known else None,
                "seconds_left": self._left.seconds(self._seconds, planned),
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
