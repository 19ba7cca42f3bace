"""Where a climb keeps what it did: answers, rows, artefacts, openings of the sealed test.

    <task>/openings.jsonl  every opening of the sealed test, ever: here alpha is spent
    <task>/runs/
      answers.sqlite     every finished model call by content; all runs share them (`answers.py`)
      claims/            which process makes which paid call now (`claims.py`)
      jobs/              work that goes on at a service: batches, tuning
      artifacts/<hash>/  weights and indexes
      <run>/             run.json, rows/*.jsonl, decision.json, report.html

To resume is to run the same command again: a finished call is found here and not made twice.
Files, not a service; see docs/decisions/0003. Nothing here decides anything.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from .answers import Answers, CachedModel
from .core import Citation, Example, Json, Message, Output, Task
from .disk import disk_errors
from .errors import StoreError

__all__ = [
    "Answers", "CachedModel", "Openings", "RowFile", "RunFolder",
    "bar_of", "hash_of", "open_run", "output_of", "read_rows", "rows_name",
]  # fmt: skip


class RunFolder:
    """One run's folder, held by this process until `close`."""

    def __init__(self, root: Path, name: str, folder: Path, ledger: Path, lock: FileLock) -> None:
        self.root = root
        self.name = name  # of what is climbed; a second climb at the same time has its own folder
        self.folder = folder
        self.answers = Answers(root / "answers.sqlite")
        self.openings = Openings(ledger)
        self._lock = lock

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    def row_file(self, step: str, name: str, solver_hash: str, set_name: str) -> Path:
        """Where the rows of one solver over one set are."""
        return self.folder / "rows" / rows_name(step, name, solver_hash[:8], set_name)

    def write_json(self, name: str, value: Json) -> Path:
        """Write a file of the run whole, or not at all."""
        path = self.folder / name
        with disk_errors(path):
            text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
            scratch = self.folder / f".{name}-{os.getpid()}"
            scratch.write_text(text + "\n", encoding="utf-8")
            os.replace(scratch, path)
        return path

    def close(self) -> None:
        self.answers.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def rows_name(step: str, name: str, identity: str, set_name: str) -> str:
    """The file name of a solver's rows; `identity` may be a glob's `*`."""
    plain = "".join(c if c.isalnum() else "-" for c in name.lower())[:48].strip("-")
    return f"{step}.{plain}.{identity}.{set_name}.jsonl"


def open_run(root: Path, name: str, ledger: Path | None = None) -> RunFolder:
    """The run called `name` under `root`, made if new; `ledger` is where openings are counted.

    While another process works in it, a sibling `name-2` (`-3`, …) is opened: both go on, sharing
    the answers and the count of openings.

    Raises:
        StoreError: the folder cannot be written.
    """
    for attempt in range(1, 100):
        folder = root / (name if attempt == 1 else f"{name}-{attempt}")
        with disk_errors(folder):
            (folder / "rows").mkdir(parents=True, exist_ok=True)
            (root / "artifacts").mkdir(exist_ok=True)
            lock = FileLock(folder / ".lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            return RunFolder(root, name, folder, ledger or root / "openings.jsonl", lock)
    raise StoreError(
        f"99 climbs are running in {str(root)!r}", hint="wait for one to end, or choose --runs"
    )


# --- rows ---------------------------------------------------------------------------------------


class RowFile:
    """Results as JSON lines, each on disk as soon as it is known."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w", encoding="utf-8")

    def write(self, record: Mapping[str, Json]) -> None:
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":"), default=_plain)
        with disk_errors(self._path):
            self._file.write(line + "\n")
            self._file.flush()

    def close(self) -> None:
        with disk_errors(self._path):
            self._file.close()


def read_rows(path: Path) -> Iterator[dict[str, Json]]:
    """The finished rows in a file; a last line that was cut off by a kill is left out."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def output_of(row: Mapping[str, Any]) -> Output:
    """The answer in a finished row, for a metric to score again; what it took is not in it."""
    citations, context = (
        tuple(Citation(**one) for one in row.get(name, ())) for name in ("citations", "context")
    )
    return Output(
        row["value"],
        row["text"],
        confidence=row.get("confidence"),
        error=row.get("error"),
        citations=citations,
        context=context,
    )


def _plain(value: Any) -> Json:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Message):
        return asdict(value)
    return repr(value)


# --- the sealed test ----------------------------------------------------------------------------


class Openings:
    """The ledger of a sealed test's openings, shared by all runs of a task.

    An opening is written down before the first test answer is looked at, so that neither a crash
    nor a second climb gets a look for free. The same solver against the same bar again is no new
    look: it has its old number.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def before(self, test: str, run: str) -> int:
        """How often it had been opened when `run` first opened it: a replay sees the same."""
        entries = [entry for entry in self._entries() if entry["test"] == test]
        for number, entry in enumerate(entries):
            if entry["run"] == run:
                return number
        return len(entries)

    def open(self, test: str, solver: str, bar: str, run: str) -> int:
        """The number (1, 2, …) of this opening."""
        with disk_errors(self._path), FileLock(str(self._path) + ".lock"):
            seen = [entry for entry in self._entries() if entry["test"] == test]
            for number, entry in enumerate(seen, start=1):
                if (entry["solver"], entry["bar"]) == (solver, bar):
                    return number
            entry = {"test": test, "solver": solver, "bar": bar, "run": run}
            entry["at"] = round(time.time(), 3)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
                file.flush()
                os.fsync(file.fileno())
            return len(seen) + 1

    def _entries(self) -> list[dict[str, Any]]:
        if not self._path.is_file():
            return []
        lines = self._path.read_text(encoding="utf-8").splitlines()
        try:
            return [json.loads(line) for line in lines]
        except json.JSONDecodeError as error:
            raise StoreError(
                f"the ledger of test openings {str(self._path)!r} is damaged: {error}",
                hint="restore it from a backup; without it the error rate cannot be promised. "
                "With a fresh test set, a new ledger may start",
            ) from error


def bar_of(task: Task) -> str:
    """What a solver is held to: the target, the metric, and the source of a metric of one's own."""
    own = task.folder / "metrics.py"
    source = own.read_bytes() if own.is_file() else b""
    also = f"{task.also_measured!r} " if task.also_measured else ""
    said = f"{task.target!r} {task.metric!r} {also}".encode()
    return hashlib.blake2b(said + source, digest_size=8).hexdigest()


def hash_of(examples: Iterable[Example]) -> str:
    """The identity of a set of examples, whatever their order."""
    lines = sorted(
        json.dumps([e.id, e.input, e.expected], ensure_ascii=False, default=_plain)
        for e in examples
    )
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()
