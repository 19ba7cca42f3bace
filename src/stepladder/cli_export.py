"""The command `export`: a measured model as files that other programs run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .cli_parts import AsJson, latest_run, print_result

__all__ = ["export"]


class To(StrEnum):
    """The formats of `exports.FORMATS`."""

    merged = "merged"
    adapter = "adapter"
    gguf = "gguf"
    openvino = "openvino"
    onnx = "onnx"


class Quantised(StrEnum):
    """How many bits a weight of a GGUF file has."""

    f16 = "f16"
    q8_0 = "q8_0"


def export(
    where: Annotated[
        Path, typer.Argument(help="a task folder or one of its runs", metavar="TASK_OR_RUN")
    ],
    folder: Annotated[Path, typer.Argument(help="where to write it", metavar="DIR")],
    to: Annotated[To, typer.Option(help="the format")],
    solver: Annotated[
        str | None, typer.Option(help="another that was measured, as STEP/NAME")
    ] = None,
    quantise: Annotated[Quantised, typer.Option(help="of a GGUF file")] = Quantised.f16,
    as_json: AsJson = False,
) -> None:
    """Write the model of the latest decision for other programs: `merged` safetensors, a PEFT
    `adapter`, `gguf` for llama.cpp and Ollama; of an encoder with its head, `openvino` or `onnx`.
    What was written is asked 100 dev examples and has to answer as it was measured.
    """  # noqa: D205
    from .exports import export
    from .report.exports import exported_text

    run = latest_run(where.parent if where.is_file() else where)
    done = export(run, to.value, folder, solver=solver, quantisation=quantise.value)
    print_result(done, as_json, exported_text(done))
