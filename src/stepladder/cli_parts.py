"""What the command line's files share: options, a task that is checked, results, Ctrl-C."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from .core import Tell
from .errors import StepladderError, TaskError
from .interrupts import hold_back, none_yet

__all__ = [
    "AsJson", "checked", "end_on_problems", "interruptible", "latest_run", "load",
    "load_checked", "print_result", "say",
]  # fmt: skip

AsJson = Annotated[bool, typer.Option("--json", help="print JSON for machines instead")]


def latest_run(where: Path) -> Path:
    """The run folder itself, or the run of a task that was decided last."""
    if where.is_file() or (where / "decision.json").is_file():
        return where
    if not where.is_dir():
        raise StepladderError(
            f"there is no folder {str(where)!r}", hint="name a task folder, or one of its runs"
        )
    decided = sorted(
        (where / "runs").glob("*/decision.json"), key=lambda path: path.stat().st_mtime
    )
    if not decided:
        raise StepladderError(
            f"{str(where)!r} has no finished climb", hint=f"run: stepladder climb {where}"
        )
    return decided[-1].parent


def print_result(record: Any, as_json: bool, text: str) -> None:
    """The record for machines, or the text for people."""
    from .report.record import plain

    typer.echo(json.dumps(plain(record), indent=1, ensure_ascii=False) if as_json else text)


def load(folder: Path) -> Any:
    """The task of a folder."""
    from .task import load_task

    return load_task(folder)


def load_checked(folder: Path) -> Any:
    """The task of a folder whose data was checked; with problems the command ends here."""
    task = load(folder)
    end_on_problems(checked(task))
    return task


def end_on_problems(report: Any) -> None:
    """The command ends here, with what is to be mended, unless the data is fit to decide on."""
    if report.problems:
        from .report.findings import check_text

        say(check_text(report))
        raise typer.Exit(2)


def checked(task: Any, models: Path | None = None, *, asks: bool = False) -> Any:
    """The check, with lengths in tokens of the task's first model where that model is at hand.

    That it is not is said here, unless what follows `asks` models, and will say so itself.

    Raises:
        TaskError: the options of its provider cannot be used.
    """
    from .data.checks import check_task
    from .data.findings import Finding
    from .session import Options, open_model, retiring, unheard_of

    try:
        model: Any = open_model(task.models[0], task, models)
    except TaskError:
        raise
    except StepladderError as error:
        if not asks:
            say(f"lengths are in characters, since {error.message}\n  {error.hint}".rstrip())
        report = check_task(task)
    else:
        limit = getattr(model, "context_tokens", None)
        report = check_task(task, count_tokens=model.count_tokens, context_limit=limit)
        if not asks and (why := getattr(model, "why", None)):
            say(f"a climb could not ask {model.name!r} yet: {why.message}\n  {why.hint}".rstrip())
        if getattr(model, "hosted", False):
            facts = {**report.facts, "tokens_are": "estimated, without a call to the service"}
            report = replace(report, facts=facts)
    cure = "name a model that outlives it, or plan for moving in [economics]"
    retire = (
        Finding("retires", said, cure=cure) for said in retiring(task, Options(models=models))
    )
    unheard = unheard_of(task, Options(models=models))
    return replace(report, warnings=(*report.warnings, *unheard, *retire))


@contextmanager
def interruptible(tell: Tell) -> Iterator[Tell]:
    """Ctrl-C ends the climb at its next event, even where a library swallowed the exception.

    Only the answers of hosted calls under way ("stopping") are taken first: they are paid for.
    """
    asked = waiting = False

    def on_signal(number: int, frame: object) -> None:
        nonlocal asked
        asked = True
        if not hold_back():
            raise KeyboardInterrupt

    def watched(event: str, fields: Mapping[str, Any]) -> None:
        nonlocal waiting
        waiting = waiting or event == "stopping"
        if asked and event not in ("note", "stopping") and not (waiting and event == "rows"):
            raise KeyboardInterrupt
        tell(event, fields)

    none_yet()
    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield watched
    finally:
        signal.signal(signal.SIGINT, before)


def say(text: str) -> None:
    """On standard error, so that `--json` output stays clean."""
    typer.echo(text, err=True)
