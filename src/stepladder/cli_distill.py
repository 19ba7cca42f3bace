"""The command `distill`: a dear solver teaches a small one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .cli_parts import (
    AsJson,
    checked,
    end_on_problems,
    interruptible,
    latest_run,
    load,
    print_result,
)

if TYPE_CHECKING:
    from .core import Task
    from .distilling import Distilled

__all__ = ["distill"]


def distill(  # noqa: PLR0913 (a command line's options)
    task: Annotated[Path, typer.Argument(help="a task folder", metavar="TASK")],
    unlabelled: Annotated[
        Path, typer.Option(help="inputs without labels, in rows like the task's")
    ],
    teacher: Annotated[
        str | None, typer.Option(help="a solver of the run, as step/name [its best on dev]")
    ] = None,
    second: Annotated[
        list[str] | None, typer.Option(help="a solver that has to agree with it; repeat")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="the run that measured it [the latest]")] = None,
    student: Annotated[
        str, typer.Option(help="the step that learns: fine_tune, encoder, heads, baseline, scratch")
    ] = "fine_tune",
    limit: Annotated[int | None, typer.Option(min=1, help="ask about so many inputs")] = None,
    samples: Annotated[
        int, typer.Option(min=0, help="ask so many more times, with some chance")
    ] = 0,
    agreement: Annotated[
        float, typer.Option(min=0, max=1, help="that answers must have, by the metric")
    ] = 0.8,
    drop: Annotated[
        float, typer.Option(min=0, max=0.9, help="leave out this share, the least sure")
    ] = 0.1,
    least_confidence: Annotated[
        float | None, typer.Option(help="leave out what is less sure than this")
    ] = None,
    with_train: Annotated[
        bool, typer.Option("--with-train/--without-train", help="learn train's own labels too")
    ] = True,
    budget_dollars: Annotated[float | None, typer.Option(min=0, help="stop when spent")] = None,
    budget_minutes: Annotated[float | None, typer.Option(min=0, help="stop after so long")] = None,
    as_json: AsJson = False,
) -> None:
    """Let a solver of an earlier climb label inputs, and train a small one on its answers.

    Both are measured on dev in pairs, and may be confirmed on the sealed test as in any climb. The
    table and its page show quality, tokens, latency and dollars before and after. Run it again to
    resume.
    """
    from .distilling import distil, open_teacher
    from .report.live import LiveLadder
    from .session import Options
    from .steps.distill import Distill

    loaded = load(task)
    report = checked(loaded)
    end_on_problems(report)
    found = latest_run(run or task)
    known = open_teacher(found, teacher, loaded)
    others = [open_teacher(found, name, loaded).solver for name in second or ()]
    step = Distill(
        str(unlabelled.resolve()), student, limit, samples, 0.7, agreement, drop,
        least_confidence, with_train,
    ).beside(others)  # fmt: skip
    step.check(loaded)
    options = Options(
        ("distill",),
        whole_ladder=True,
        budget_dollars=budget_dollars,
        budget_minutes=budget_minutes,
        runs=found.resolve().parent,
    )
    with LiveLadder() as ladder, interruptible(ladder.tell) as tell:
        done = distil(step, known, loaded, options, tell, report.warnings)
    _print_distilled(done, loaded, as_json)


def _print_distilled(done: Distilled, task: Task, as_json: bool) -> None:
    from .report.distill import distill_record, distill_text, write_distilled

    page = write_distilled(done.folder / "distill.html", done, task)
    text = f"{distill_text(done, task)}\n\npage: {page}\nreport: {done.folder / 'report.html'}"
    print_result(distill_record(done, task), as_json, text)
