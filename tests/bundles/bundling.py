"""Runs to make bundles of, and a process that is killed while it makes one."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stepladder.bundles.manifest import MANIFEST, SCHEMA
from stepladder.core import Json, Message, Request
from stepladder.data.split import load_split
from stepladder.models import ProviderSettings
from stepladder.session import Options, run_climb
from stepladder.task import load_task
from stepladder.testing import FakeModel

__all__ = [
    "Parrots", "climb_to", "deploy_and_die", "deploy_often", "forge", "open_parrots", "rows_of",
]  # fmt: skip


class Parrots:
    """`parrot:any` says one of two labels, by the hash of all that it was told."""

    opened: list[ProviderSettings] = []  # noqa: RUF012 (what the tests look at)

    def __init__(self, settings: ProviderSettings) -> None:
        self.opened.append(settings)

    def model(self, name: str) -> FakeModel:
        return FakeModel(lambda request: _say(request), name=name)

    def close(self) -> None:
        self.opened.pop()


def open_parrots(settings: ProviderSettings) -> Parrots:
    return Parrots(settings)


def _say(request: Request) -> str:
    told = repr([(one.role, _plain(one)) for one in request.messages])
    return ("red", "blue")[hashlib.sha256(told.encode()).digest()[0] % 2]


def _plain(message: Message) -> str:
    return message.content if isinstance(message.content, str) else repr(message.content)


def climb_to(task: Path, *steps: str) -> Path:
    """The run folder of a climb of these steps, with the whole ladder measured."""
    loaded = load_task(task)
    options = Options(steps=steps, whole_ladder=True)
    _, run = run_climb(loaded, load_split(loaded), options, lambda event, fields: None)
    return run


def rows_of(run: Path, solver: str, set_name: str = "dev") -> list[dict[str, Any]]:
    """What the trial of `step/name` answered, row by row."""
    step, _, name = solver.partition("/")
    plain = "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")
    (path,) = (run / "rows").glob(f"{step}.{plain}.*.{set_name}.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def forge(folder: Path, files: Sequence[Mapping[str, Json]], **more: Json) -> Path:
    """Name the folder by a manifest that says whatever it is told to say."""
    record = {"schema": SCHEMA, "files": list(files), **more}
    return forge_text(folder, json.dumps(record))


def forge_text(folder: Path, manifest: str) -> Path:
    (folder / MANIFEST).write_text(manifest, encoding="utf-8")
    named = folder.with_name(hashlib.sha256(manifest.encode()).hexdigest())
    return folder.rename(named)


# --- in processes of their own ------------------------------------------------------------------


def _in_process(target: Callable[..., None], *arguments: object) -> int:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["stepladder.bundles", "stepladder.solvers.linear"])
    process = context.Process(target=target, args=arguments)
    process.start()
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode


def deploy_and_die(run: Path, solver: str, at: int) -> bool:
    """Deploy in a process that kills itself at its `at`-th touch of the disk; whether it did."""
    return _in_process(_deploy_and_die, run, solver, at) == -signal.SIGKILL


def _deploy_and_die(run: Path, solver: str, at: int) -> None:
    from stepladder.bundles import deploy

    touched = 0

    def dying(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal touched
            touched += 1
            if touched == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **named)

        return call

    def opening(*arguments: Any, **named: Any) -> Any:
        mode = arguments[1] if len(arguments) > 1 else named.get("mode", "r")
        opened = open_(*arguments, **named)
        return opened if mode in ("r", "rb") else dying(lambda: opened)()  # empty, so far

    for name in ("fsync", "replace", "rename", "mkdir", "unlink", "rmdir"):
        setattr(os, name, dying(getattr(os, name)))
    open_, io.open = io.open, opening  # type: ignore[assignment]
    deploy(run, solver=solver, unconfirmed=True)
    sys.exit(0)


def deploy_often(run: Path, solvers: Sequence[str]) -> list[int]:
    """Deploy each in a process of its own, all at once; their exit codes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["stepladder.bundles", "stepladder.solvers.linear"])
    started = [context.Process(target=_deploy, args=(run, solver)) for solver in solvers]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
    return [process.exitcode or 0 for process in started]


def _deploy(run: Path, solver: str) -> None:
    from stepladder.bundles import deploy

    deploy(run, solver=solver, unconfirmed=True)
