"""The command line in processes of its own, forked from a server that has done the slow imports."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from multiprocessing.process import BaseProcess
from pathlib import Path

__all__ = ["Command", "answers_in", "wait_for"]

PRELOADED = [  # libraries alone: what is imported here starts no threads
    "stepladder.cli",
    "stepladder.session",
    "stepladder.data.checks",
    "stepladder.report.html",
    "stepladder.report.live",
    "stepladder.solvers.prompt",
    "stepladder.steps.prompt",
    "scipy.stats",
    "sklearn.linear_model",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.llama.configuration_llama",
    "transformers.tokenization_utils_tokenizers",
    "openvino_genai",
    "openvino_tokenizers",
]


class Command:
    """One run of `stepladder` with these arguments, its output in files."""

    def __init__(self, folder: Path, *arguments: str, environment: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._out, self._err = folder / "stdout", folder / "stderr"
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self.process: BaseProcess = context.Process(
            target=_main, args=(arguments, dict(environment), self._out, self._err)
        )
        self.process.start()

    def wait(self, seconds: float = 300) -> int:
        """The exit code; the process is killed when it takes longer."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"still running after {seconds} s: {self.errors}")
        return self.process.exitcode

    @property
    def output(self) -> str:
        return self._out.read_text(encoding="utf-8")

    @property
    def errors(self) -> str:
        return self._err.read_text(encoding="utf-8")


def _main(arguments: tuple[str, ...], environment: Mapping[str, str], out: Path, err: Path) -> None:
    for stream, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    os.environ.update(environment)
    sys.argv = ["stepladder", *arguments]
    from stepladder.cli import main

    main()


def answers_in(runs: Path) -> dict[str, str]:
    """Every finished call so far, as it is on disk; read while a climb is writing."""
    path = runs / "answers.sqlite"
    if not path.is_file():
        return {}
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as database:
        try:
            return dict(database.execute("SELECT key, response FROM answers").fetchall())
        except sqlite3.OperationalError:  # the table is not made yet
            return {}


def wait_for(condition: Callable[[], bool], command: Command, seconds: float = 300) -> None:
    """Until the condition holds; fails when the command ends before that."""
    for _ in range(int(seconds / 0.005)):
        if condition():
            return
        command.process.join(0.005)
        assert command.process.exitcode is None, command.errors
    raise AssertionError(f"it did not happen within {seconds} s: {command.errors}")
