"""The command line, in the order of the flow. Each command calls the library and prints.

Exit codes: 0 met (or done), 1 not met, undecided or blocked, 2 misuse, 3 a bug (with a traceback),
130 interrupted.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from .cli_bundles import deploy, rollback
from .cli_distill import distill
from .cli_export import export
from .cli_labels import labels
from .cli_methods import tune_methods
from .cli_parts import (
    AsJson,
    checked,
    end_on_problems,
    interruptible,
    latest_run,
    load,
    print_result,
    say,
)
from .cli_serve import keys_app, serve
from .errors import StepladderError, TaskError

__all__ = ["app", "main"]

app = typer.Typer(
    name="stepladder",
    help="The cheapest way to make a language model do your task well enough, and what it costs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Start with: stepladder init my-task --data examples.csv",
)
data_app = typer.Typer(help="Work on files of examples.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(keys_app, name="keys")

TaskFolder = Annotated[
    Path, typer.Argument(help="a folder with task.toml, or a TOML file in one", metavar="TASK")
]
ModelFacts = Annotated[
    Path | None, typer.Option("--models", help="your facts on models, over those shipped")
]
BUG = 3  # the exit code of what should not have happened


def main() -> None:
    """Run the command line; expected errors are one message, not a traceback."""
    try:
        app()
    except StepladderError as error:
        _fail(error)
    except SystemExit as done:
        if done.code == 130:  # what typer makes of Ctrl-C, without a word
            say("stopped. Run the same command again to go on: finished work is kept.")
            for note in _notes(done):
                say(note)
        raise
    except Exception:  # a bug: scripts must tell it from "not met", which Python's own 1 would be
        from .models.hosted.keys import redact

        say(redact(traceback.format_exc()))
        say("this is a bug of stepladder or of a plugin; finished work is kept.")
        sys.exit(BUG)


def _notes(error: BaseException) -> Iterator[str]:
    """What was said on the way up: of work that goes on elsewhere, for instance."""
    cause: BaseException | None = error
    while cause is not None:
        yield from getattr(cause, "__notes__", ())
        cause = cause.__cause__ or cause.__context__


@app.callback(invoke_without_command=True)
def _top(
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    if version:
        from . import __version__

        typer.echo(f"stepladder {__version__}")
        raise typer.Exit


@app.command(epilog="Example: stepladder init tickets --data tickets.csv")
def init(
    name: Annotated[str, typer.Argument(help="of the new task, and of its folder")],
    data: Annotated[Path, typer.Option(help="CSV, JSONL, Parquet, or chat JSONL")],
    folder: Annotated[Path, typer.Option(help="where to make the task folder")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Look at a file of examples and write a task folder from it."""
    from .data.init import init_task
    from .report.findings import init_text

    report = init_task(name, data, folder)
    print_result(report, as_json, init_text(report))


@app.command(epilog="Example: stepladder check examples/customer-intents")
def check(task: TaskFolder, models: ModelFacts = None, as_json: AsJson = False) -> None:
    """Look for what would spoil a climb, and say how many test examples the target needs."""
    from .report.findings import check_text

    report = checked(load(task), models)
    print_result(report, as_json, check_text(report))
    raise typer.Exit(2 if report.problems else 0)


@app.command(epilog="Example: stepladder climb examples/customer-intents --budget-minutes 20")
def climb(  # noqa: PLR0913 (a command line's options)
    task: TaskFolder,
    steps: Annotated[
        str | None, typer.Option(help="only these, e.g. baseline,prompt,few_shot")
    ] = None,
    whole_ladder: Annotated[
        bool, typer.Option("--whole-ladder", help="measure every step, even after one is met")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print what each step would take, and do nothing")
    ] = False,
    budget_dollars: Annotated[float | None, typer.Option(min=0, help="of this climb")] = None,
    budget_minutes: Annotated[float | None, typer.Option(min=0, help="of this climb")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="use at most this many examples of each set")
    ] = None,
    runs: Annotated[Path | None, typer.Option(help="where runs are kept [TASK/runs]")] = None,
    prices: Annotated[Path | None, typer.Option(help="your prices, over those shipped")] = None,
    models: ModelFacts = None,
    on: Annotated[
        str, typer.Option(help="who answers: here, ray, ray:auto or ray:HOST:PORT (a cluster)")
    ] = "here",
    as_json: AsJson = False,
) -> None:
    """Climb until a step provably meets the target. Run it again to resume."""
    from .data.split import load_split
    from .session import LADDER, Options, run_climb, run_plan

    loaded = load(task)
    if limit is not None:
        loaded = replace(loaded, data=replace(loaded.data, limit=limit))
    report = checked(loaded, models, asks=not dry_run)
    end_on_problems(report)
    chosen = tuple(filter(None, map(str.strip, (steps or "").split(",")))) or LADDER
    budget = budget_dollars, budget_minutes
    options = Options(chosen, whole_ladder, *budget, runs, prices, models, on)
    split = load_split(loaded)
    if dry_run:
        _print_plan(loaded, run_plan(loaded, split, options, _quiet), as_json)
        return
    from .report.live import LiveLadder

    with LiveLadder() as ladder, interruptible(ladder.tell) as tell:
        decision, folder = run_climb(loaded, split, options, tell, _of_data(report))
    _print_decision(folder, as_json)
    raise typer.Exit(0 if decision.verdict == "met" else 1)


@app.command(epilog="Example: stepladder report examples/customer-intents")
def report(
    where: Annotated[Path, typer.Argument(help="a task folder or one of its runs")],
    as_json: AsJson = False,
) -> None:
    """Show the latest decision again."""
    _print_decision(latest_run(where), as_json)


@app.command(epilog="Example: stepladder compare my-task/runs/climb-1a2b3c4d other/runs/climb-5e6f")
def compare(
    first: Annotated[Path, typer.Argument(help="a run folder or decision.json")],
    second: Annotated[Path, typer.Argument(help="another")],
    as_json: AsJson = False,
) -> None:
    """Compare two runs, in pairs where both answered the same examples."""
    from .report.compare import compare_runs, compare_text

    found = compare_runs(latest_run(first), latest_run(second))
    print_result(found, as_json, compare_text(found))


app.command(epilog="Example: stepladder labels tickets --more 200 --unlabelled new.jsonl")(labels)
app.command("tune-methods", epilog="Example: stepladder tune-methods tickets --methods full,lora")(
    tune_methods
)
app.command(epilog="Example: stepladder distill tickets --unlabelled inbox.jsonl")(distill)
app.command(epilog="Example: stepladder deploy examples/customer-intents")(deploy)
app.command(epilog="Example: stepladder export tickets out/ --to gguf --quantise q8_0")(export)
app.command(epilog="Example: stepladder rollback examples/customer-intents")(rollback)
app.command(epilog="Example: stepladder serve tickets --alias gemini-3.5-flash=tickets")(serve)


@app.command(epilog="Example: stepladder models --tunable")
def models(
    provider: Annotated[
        str | None, typer.Option(help="only of this one, e.g. gemini, vertex, openai")
    ] = None,
    tunable: Annotated[
        bool, typer.Option("--tunable", help="only those that can be tuned today")
    ] = False,
    prices: Annotated[Path | None, typer.Option(help="your prices, over those shipped")] = None,
    models: Annotated[Path | None, typer.Option(help="your models, over those shipped")] = None,
    as_json: AsJson = False,
) -> None:
    """List the models that can be named in task.toml: prices, tuning, and when they retire."""
    from datetime import date

    from .catalogue import load_catalogue
    from .cost import load_prices
    from .report.models import chosen, models_record, models_text

    today = date.today()
    known = models_record(load_prices(prices, today=today), load_catalogue(models, today=today))
    record = chosen(known, provider, tunable)
    print_result(record, as_json, models_text(record))


@data_app.command(epilog="Example: stepladder data convert in.csv out.jsonl --to openai")
def convert(
    source: Annotated[Path, typer.Argument(help="the file to read")],
    target: Annotated[Path, typer.Argument(help="the file to write; must not exist")],
    to: Annotated[str | None, typer.Option(help="csv, jsonl, parquet, openai, gemini")] = None,
    input_: Annotated[str, typer.Option("--input", help="column, or several by comma")] = "input",
    expected: Annotated[str, typer.Option(help="column with the answer")] = "expected",
    as_json: AsJson = False,
) -> None:
    """Convert a file of examples from one format to another."""
    from .core import DataSource
    from .data.writing import convert as convert_file

    if target.exists():
        raise StepladderError(f"{str(target)!r} exists already", hint="choose another name")
    columns = tuple(input_.split(",")) if "," in input_ else input_
    mapping = DataSource(input=columns, expected=expected)
    try:
        done = convert_file(source, target, source=mapping, form=to)
    except TaskError as error:  # the cure is in this command line, not in a task file
        hint = error.hint
        for option in ("input", "expected"):
            hint = hint.replace(f"[data] {option}", f"--{option}")
        raise TaskError(error.message, hint=hint) from error
    lost = f"; left behind: {', '.join(done.lost)}" if done.lost else ""
    print_result(done, as_json, f"{done.examples} examples written to {target}{lost}")


# --- helpers ------------------------------------------------------------------------------------


def _of_data(report: Any) -> list[Any]:
    """What is to be known of the data; what retires is said among the cautions."""
    return [finding for finding in report.warnings if finding.kind != "retires"]


def _print_plan(task: Any, found: Any, as_json: bool) -> None:
    from .report.terminal import plan_text

    record = [{"step": step, "plan": what} for step, what in found]
    print_result(record, as_json, plan_text(task, found))


def _print_decision(folder: Path, as_json: bool) -> None:
    from .report.record import load_decision_record
    from .report.terminal import record_text

    record = load_decision_record(folder)
    if as_json:
        typer.echo(json.dumps(record, indent=1, ensure_ascii=False))
        return
    typer.echo(record_text(record))
    typer.echo(f"\nreport: {folder / 'report.html'}")


def _quiet(event: str, fields: Any) -> None:
    """For what is quick: no progress to show."""


def _fail(error: StepladderError) -> NoReturn:
    say(f"error: {error.message}")
    if error.hint:
        say(f"  {error.hint}")
    sys.exit(2)
