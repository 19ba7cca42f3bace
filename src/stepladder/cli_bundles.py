"""The commands of bundles: `deploy` and `rollback`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_parts import AsJson, latest_run, print_result

__all__ = ["deploy", "rollback"]


def deploy(  # noqa: PLR0913 (a command line's options)
    where: Annotated[
        Path, typer.Argument(help="a task folder or one of its runs", metavar="TASK_OR_RUN")
    ],
    to: Annotated[Path | None, typer.Option(help="where bundles are kept [TASK/bundles]")] = None,
    solver: Annotated[
        str | None, typer.Option(help="another that was measured, as STEP/NAME")
    ] = None,
    unconfirmed: Annotated[
        bool, typer.Option("--unconfirmed", help="although the sealed test did not confirm it")
    ] = False,
    merged: Annotated[
        bool,
        typer.Option("--merged", help="serve a tuned model's own weights, not its adapter"),
    ] = False,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="do not compare the served endpoint with the trial")
    ] = False,
    listed: Annotated[
        bool, typer.Option("--list", help="show the bundles there are, and do nothing")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a bundle of the latest decision, check that it is served as it was measured, and make it
    current. `rollback` goes back.
    """  # noqa: D205
    from .bundles import deploy, list_bundles
    from .report.bundles import bundles_text, checking, deployed_text

    folder = where.parent if where.is_file() else where  # task.toml or decision.json
    if listed:
        found = list_bundles(to or folder)
        print_result(found, as_json, bundles_text(found))
        return
    run = latest_run(folder)
    with checking(quiet=as_json) as check:
        done = deploy(
            run,
            to,
            solver=solver,
            unconfirmed=unconfirmed,
            merged=merged,
            check=None if no_check else check,
        )
    print_result(done, as_json, deployed_text(done))


def rollback(
    where: Annotated[
        Path, typer.Argument(help="a task folder, or the folder of its bundles", metavar="TASK")
    ],
    as_json: AsJson = False,
) -> None:
    """Make current again what was current before; once more, and it is the one before that."""
    from .bundles import rollback
    from .report.bundles import moved_text

    move = rollback(where)
    print_result(move, as_json, moved_text(move))
