"""From a run to a folder that another program runs. Killed at any moment, there is no such folder.

The folder is written beside its place, measured again, described, and renamed whole. Licences of a
base are carried as the base has them.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ..bundles.chosen import Chosen, choose
from ..bundles.contents import ENCODER_NAME, LOCAL, MODELS, TASK, contents
from ..bundles.served import ServedCheck
from ..core import Json, Task
from ..disk import disk_errors
from ..errors import StepladderError
from ..models.local import TUNED, LocalProvider
from ..models.local.weights import base_folder
from ..solvers import artifacts_of, model_of
from ..solvers.artifact import open_artifact
from .card import card
from .encoders import exportable, write_onnx, write_openvino
from .gguf_file import Quantisation
from .language_models import Made, Source, write_adapter, write_gguf_folder, write_merged
from .remeasuring import NotExported, measure_again

__all__ = ["FORMATS", "Exported", "export"]

SCHEMA = "stepladder.export/1"
RECORD = "export.json"
_LANGUAGE_MODELS = {
    "merged": write_merged,
    "adapter": write_adapter,
    "gguf": write_gguf_folder,
}
_ENCODERS = {"openvino": write_openvino, "onnx": write_onnx}
FORMATS = (*_LANGUAGE_MODELS, *_ENCODERS)
_LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "COPYING*")


@dataclass(frozen=True)
class Exported:
    """What `export` wrote, and how it compares with what was measured.

    `asked_by` says what answered in the comparison, `bytes` is the size of the folder.
    """

    folder: Path
    to: str
    step: str
    solver: str
    confirmed: bool
    licence: str | None
    asked_by: str
    check: ServedCheck
    notes: tuple[str, ...]
    bytes: int


def export(
    run: Path,
    to: str,
    folder: Path,
    *,
    solver: str | None = None,
    quantisation: Quantisation = "f16",
) -> Exported:
    """Write the model of what the run decided to `folder` in the format `to`, measured again.

    Args:
        run: the folder of a finished run.
        to: one of `FORMATS`.
        folder: a new or empty one, or an earlier export, which is replaced.
        solver: `step/name` of another solver that the run measured.
        quantisation: of a GGUF file.

    Raises:
        NotExported: the written model does not answer as the measured one; nothing is left of it.
        StepladderError: the solver has no such form.
        StoreError: the run or an artefact is damaged, or the disk refuses.
    """
    if to not in FORMATS:
        raise StepladderError(
            f"there is no format {to!r} to export to", hint=f"one of {', '.join(FORMATS)}"
        )
    chosen = choose(run, solver=solver, unconfirmed=True)
    _check_free(folder)
    files = contents(chosen)
    task = _task(files[TASK], chosen)
    scratch = folder.with_name(f".unfinished-{folder.name}-{secrets.token_hex(4)}")
    try:
        with disk_errors(folder):
            scratch.mkdir(parents=True)
            origin, training, made = _write(chosen, to, scratch, (files[MODELS], quantisation))
        check = _measured_again(chosen, task, made, to)
        with disk_errors(folder):
            text = card(chosen, to, origin, training, (check, made.asked_by, made.notes))
            (scratch / "README.md").write_text(text, encoding="utf-8")
            record = _record(chosen, to, origin, (check, made))
            (scratch / RECORD).write_text(_json(record), encoding="utf-8")
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(scratch, folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return Exported(
        folder=folder,
        to=to,
        step=chosen.trial["step"],
        solver=chosen.trial["solver"],
        confirmed=chosen.confirmed is not None,
        licence=origin["licence"],
        asked_by=made.asked_by,
        check=check,
        notes=made.notes,
        bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
    )


def _check_free(folder: Path) -> None:
    if folder.is_dir() and not (folder / RECORD).is_file() and any(folder.iterdir()):
        raise StepladderError(
            f"{str(folder)!r} is not empty, and holds no earlier export",
            hint="name a folder that is not there yet",
        )
    if folder.exists() and not folder.is_dir():
        raise StepladderError(f"{str(folder)!r} is a file", hint="name a folder")


def _task(record: bytes | Path, chosen: Chosen) -> Task:
    assert isinstance(record, bytes)
    folder = chosen.run.resolve().parent.parent  # with the metric of one's own, if there is one
    task: Task = TypeAdapter(Task).validate_python(
        {**json.loads(record), "data": {}, "folder": folder}
    )
    return task


def _write(
    chosen: Chosen, to: str, folder: Path, more: tuple[bytes | Path, Quantisation]
) -> tuple[Mapping[str, Json], Mapping[str, Json], Made]:
    """Where the weights are from, how they were trained, and what was written."""
    models, quantisation = more
    assert isinstance(models, bytes)
    listed = {one["name"]: one for one in json.loads(models)}
    if to in _ENCODERS:
        [name] = artifacts_of(chosen.solver) or [""]
        artifact = open_artifact(chosen.artifacts, name) if name else folder
        exportable(chosen.solver, artifact)
        _, origin = _encoder_of(artifact, listed)
        return origin, {}, _ENCODERS[to](artifact, folder)
    source = _source(chosen, listed)
    for pattern in _LICENCES:
        for path in (*source.folder.glob(pattern), *_base_of(source).glob(pattern)):
            shutil.copyfile(path, folder / path.name)
    made = _LANGUAGE_MODELS[to](source, folder, quantisation)
    return source.model, source.training, made


def _source(chosen: Chosen, listed: Mapping[str, dict[str, Json]]) -> Source:
    name = model_of(chosen.solver)
    if name is None or not name.startswith(LOCAL):
        raise StepladderError(
            f"{chosen.title} asks no model whose weights are here",
            hint="weights of a service stay at the service; an encoder goes --to openvino or onnx",
        )
    folder = LocalProvider(chosen.artifacts).model(name).folder
    tuned = name.startswith(LOCAL + TUNED)
    return Source(chosen, folder, folder.parent if tuned else None, listed[name])


def _base_of(source: Source) -> Path:
    """The folder of the base, which has its licence; the model's own where the base is gone."""
    base = str(source.model["base"])
    if base.startswith(LOCAL + TUNED):
        return source.folder
    return base_folder(base.removeprefix(LOCAL))


def _encoder_of(
    artifact: Path, listed: Mapping[str, dict[str, Json]]
) -> tuple[str, dict[str, Json]]:
    """The encoder's origin: what a bundle says of the open one, which tuned ones came from too."""
    from ..embeddings import ENCODER

    name = f"{ENCODER_NAME}{ENCODER.name}"
    origin = listed.get(name) or {
        "name": name,
        "base": name,
        "sha256": ENCODER.sha256,
        "licence": ENCODER.licence,
        "fetch": f"the package {ENCODER.name}=={ENCODER.version}; tuned on the task's train",
    }
    return name, origin


def _measured_again(chosen: Chosen, task: Task, made: Made, to: str) -> ServedCheck:
    """The check; where it fails, the examples that differ are kept in the run's own folder."""
    try:
        return measure_again(chosen, task, made.answer)
    except NotExported as error:
        path = chosen.run / "exports" / f"{chosen.trial['step']}-{to}.json"
        with disk_errors(path):
            path.parent.mkdir(exist_ok=True)
            path.write_text(_json({"schema": SCHEMA, **asdict(error.check)}), encoding="utf-8")
        raise NotExported(
            error.message,
            hint=f"nothing was exported; {str(path)!r} has the examples that differ",
            check=error.check,
        ) from error


def _record(
    chosen: Chosen, to: str, origin: Mapping[str, Json], done: tuple[ServedCheck, Made]
) -> dict[str, Json]:
    check, made = done
    told: dict[str, Any] = asdict(check)
    del told["differences"], told["bundle"]  # they hold examples
    return {
        "schema": SCHEMA,
        "to": to,
        "task": chosen.task["name"],
        "solver": chosen.title,
        "decision": chosen.decision_id,
        "confirmed": chosen.confirmed,
        "origin": {name: origin[name] for name in ("base", "sha256", "licence", "fetch")},
        "data": chosen.data,
        "asked_by": made.asked_by,
        "notes": list(made.notes),
        "check": told,
    }


def _json(record: Json) -> str:
    return json.dumps(record, indent=1, ensure_ascii=False, default=str) + "\n"
