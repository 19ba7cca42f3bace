"""The command `labels`: how much data, and which inputs to label next."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .cli_parts import AsJson, interruptible, load_checked, print_result

if TYPE_CHECKING:
    from .climb import Climb
    from .core import Example, Json, Solver

__all__ = ["labels"]


class By(StrEnum):
    """How inputs to label next are chosen: see `labels/active.py`."""

    both = "both"
    uncertain = "uncertain"
    spread = "spread"
    random = "random"


def labels(  # noqa: PLR0913 (a command line's options)
    task: Annotated[Path, typer.Argument(help="a task folder", metavar="TASK")],
    step: Annotated[str, typer.Option(help="the step that is built on growing subsets")] = (
        "baseline"
    ),
    sizes: Annotated[int, typer.Option(min=4, help="how many sizes of train")] = 6,
    repeats: Annotated[int, typer.Option(min=1, help="different subsets of each size")] = 3,
    more: Annotated[
        list[int] | None, typer.Option(min=1, help="ask about so many more labels; repeat")
    ] = None,
    unlabelled: Annotated[
        Path | None, typer.Option(help="inputs without labels, in rows like the task's")
    ] = None,
    next: Annotated[int, typer.Option(min=1, help="how many of them to label next")] = 50,
    by: Annotated[By, typer.Option(help="how they are chosen")] = By.both,
    out: Annotated[
        Path | None, typer.Option(help="where those to label go [label_next.jsonl in the run]")
    ] = None,
    runs: Annotated[Path | None, typer.Option(help="where runs are kept [TASK/runs]")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what more labels would bring and cost, and which inputs to label next.

    The step is built on growing subsets of train and scored on dev; a curve through the scores says
    how far more labels reach. The sealed test is not opened. Run it again to resume.
    """
    from .data.formats import read_unlabelled
    from .data.split import load_split
    from .labels.asking import how_much_data
    from .report.labels import labels_record, labels_text, write_labels
    from .report.live import LiveLadder
    from .session import Options, make_steps, open_climb

    loaded = load_checked(task)
    pool = None if unlabelled is None else list(read_unlabelled(unlabelled, loaded.data))
    [asked] = make_steps(loaded, (step,))
    split = load_split(loaded)
    options = Options((step,), runs=runs)
    with (
        LiveLadder() as ladder,
        interruptible(ladder.tell) as tell,
        open_climb(loaded, split, options, tell) as on,
    ):
        found = how_much_data(asked, on, sizes=sizes, repeats=repeats, more=tuple(more or ()))
        record, text = labels_record(found, loaded), labels_text(found, loaded)
        if pool is not None:
            file = out or on.run.folder / "label_next.jsonl"
            solver = found.points[-1].candidate.solver
            record["next"], said = _label_next(solver, pool, next, by, file, on)
            text += said
        on.run.write_json("labels.json", record)
        page = write_labels(on.run.folder / "labels.html", found, loaded)
    print_result(record, as_json, f"{text}\n\npage: {page}")


def _label_next(
    solver: Solver, pool: Sequence[Example], n: int, by: By, file: Path, on: Climb
) -> tuple[Json, str]:
    """What is to be labelled next, in `file`: as a record, and in words."""
    from .labels.asking import label_next
    from .report.labels import next_record

    chosen = label_next(solver, pool, n, by.value, on)
    written = _write_next(file, chosen)
    return next_record(chosen), f"\n\nto label next ({len(chosen)}, by {by.value}): {written}"


def _write_next(file: Path, chosen: Sequence[tuple[Example, float | None]]) -> Path:
    """One row per input, with room for its label; written whole or not at all."""
    from .report.html import write_page
    from .solvers import plain

    rows = [
        {"id": one.id, "input": plain(one.input), "expected": None, "confidence": confidence}
        for one, confidence in chosen
    ]
    return write_page(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
