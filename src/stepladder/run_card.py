"""The card of a run: on which machine it ran, of what data, by which stepladder, what was saved.

The report prints it beside the decision; nothing here decides.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import __version__
from .climb import Climb
from .core import Decision, Json, Split, Task
from .cost import stale
from .data.findings import Finding
from .processor import has_bfloat16, said_by_the_cpu
from .solvers import content_hash, model_of
from .store import read_rows

__all__ = ["commit", "machine", "run_card"]


def run_card(
    on: Climb, decision: Decision, started: datetime, warnings: Iterable[Finding]
) -> dict[str, Any]:
    """What the report says of a run beside its decision.

    `warnings` are what `check` said of the data; `rows` gives the rows of (step, name, set), as
    they are on disk.
    """
    task, split = on.bench.task, on.split
    planned = sum(trial.evaluation.planned for trial in decision.trials)
    made = sum(trial.evaluation.n for trial in decision.trials)
    identities = {
        (trial.candidate.step, trial.candidate.name): content_hash(trial.candidate.solver)
        for trial in decision.trials
    }

    def rows(step: str, name: str, set_name: str) -> Iterator[dict[str, Json]]:
        return read_rows(on.run.row_file(step, name, identities[step, name], set_name))

    asked = [model_of(trial.candidate.solver) for trial in decision.trials]
    models = tuple({*task.models, *filter(None, asked)})
    said = [*stale(on.prices, models, task.hardware), *map(_in_words, warnings)]
    return {
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "version": __version__,
        "commit": commit(),
        "data": {**_data_card(task, split), "warnings": said},
        "racing": {"calls_planned": planned, "calls_made": made, "calls_saved": planned - made},
        "cache": {"hits": on.run.answers.hits, "misses": on.run.answers.misses},
        "limits": _limits(task),
        "budget": {
            "dollars": on.budget.dollars,
            "minutes": on.budget.minutes,
            "spent_dollars": None if on.budget.unpriced else on.budget.spent_dollars,
        },
        "seed": task.seed,
        "rows": rows,
    }


def _data_card(task: Task, split: Split) -> dict[str, Any]:
    labelled = split.train if task.kind == "classification" else ()
    how = "the user's own files" if task.data.examples is None else "split here by seed"
    return {
        "train": len(split.train),
        "dev": len(split.dev),
        "test": len(split.test),
        "labels": dict(Counter(str(example.expected) for example in labelled)),
        "split": how,
        "sha256": dict(task.data.sha256),
    }


def _in_words(finding: Finding) -> str:
    place = f"{finding.place}: " if finding.place else ""
    return f"{place}{finding.message}"


def _limits(task: Task) -> str | None:
    if task.data.limit is None:
        return None
    return f"a slice of the data: at most {task.data.limit} examples of each set"


def machine() -> dict[str, Json]:
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": said_by_the_cpu("model name") or platform.processor() or platform.machine(),
        "bfloat16": has_bfloat16(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages / 2**30, 1),
        "platform": platform.platform(),
        "python": platform.python_version(),
    }


def commit() -> str | None:
    """The commit of stepladder itself, when it runs from a checkout."""
    here = Path(__file__).resolve().parent
    done = subprocess.run(
        ["git", "-C", str(here), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or None if done.returncode == 0 else None
