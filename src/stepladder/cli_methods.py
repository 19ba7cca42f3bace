"""The command `tune-methods`: full fine-tuning against the adapters, on one task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_parts import AsJson, interruptible, load_checked, print_result

__all__ = ["tune_methods"]


def tune_methods(
    task: Annotated[Path, typer.Argument(help="a task folder", metavar="TASK")],
    methods: Annotated[str, typer.Option(help="which ones, the first is compared with")] = (
        "full,lora,dora,rslora,qlora,prompt,prefix,freeze"
    ),
    model: Annotated[
        str | None, typer.Option(help="which of the task's models is tuned [its first local one]")
    ] = None,
    budget_minutes: Annotated[float | None, typer.Option(help="stop after so long")] = None,
    runs: Annotated[Path | None, typer.Option(help="where runs are kept [TASK/runs]")] = None,
    as_json: AsJson = False,
) -> None:
    """Tune a local model by several methods and compare what comes of each.

    Quality on dev with intervals and the difference in pairs, seconds, memory, size on disk, and
    what serving it means. The options of [steps.fine_tune] hold for all. The sealed test is not
    opened. Run it again to resume.
    """
    from dataclasses import replace

    from .data.split import load_split
    from .report.live import LiveLadder
    from .report.methods import methods_record, methods_text
    from .session import Options, make_steps, open_climb
    from .tuning_methods import compare_methods, local_model

    loaded = load_checked(task)
    [step] = make_steps(loaded, ("fine_tune",))
    asked = [one.strip() for one in methods.split(",") if one.strip()]
    options = Options(("fine_tune",), runs=runs, budget_minutes=budget_minutes)
    with (
        LiveLadder() as ladder,
        interruptible(ladder.tell) as tell,
        open_climb(loaded, load_split(loaded), options, tell) as on,
    ):
        tuned = replace(step, model=local_model(loaded, model))  # type: ignore[type-var]
        found = compare_methods(tuned, asked, on)  # type: ignore[arg-type]
        record = methods_record(found, loaded)
        on.run.write_json("tuning_methods.json", record)
    print_result(record, as_json, methods_text(found, loaded))
