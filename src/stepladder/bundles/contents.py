"""What goes into a bundle: the records as JSON, and the artefacts that the solver answers with.

The weights of a base model stay where they are: its name and hash are written down. A model tuned
here goes in as it was measured, merged, with the adapter beside it for engines that take one.
Weights of a service stay at the service.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..core import Json
from ..encoders.running import ENCODER_FILE
from ..errors import StepladderError, StoreError
from ..models.local import SCRATCH, TUNED, LocalProvider
from ..models.local.weights import EMBEDDED, Package, base_folder
from ..solvers import artifacts_of, content_hash, models_of, solver_record
from ..solvers.artifact import open_artifact
from ..store import read_rows, rows_name
from ..trainers import base_fingerprint
from .chosen import AGAIN, Chosen
from .manifest import check_path

__all__ = [
    "ENCODER_NAME", "EVALUATION", "MODELS", "SERVED", "SOLVER", "TASK", "BundledModel", "contents",
    "json_bytes",
]  # fmt: skip

SOLVER = "solver.json"
TASK = "task.json"
MODELS = "models.json"
EVALUATION = "evaluation.json"
# of the task, what answering and judging answers needs; its data and its ladder stay behind
SERVED = (
    "name", "kind", "instructions", "target", "metric", "labels", "label_descriptions", "schema",
    "hardware", "max_output_tokens", "thinking_tokens", "providers", "seed",
)  # fmt: skip
_RUN = ("started", "finished", "version", "commit", "seed", "machine", "limits")
LOCAL = "local:"
ENCODER_NAME = "encoder:"


@dataclass(frozen=True)
class BundledModel:
    """A model that the bundle's solver asks, and what is needed to have the same one elsewhere.

    `base` is what it was tuned from, or its own name; `sha256` is over the base's weights,
    configuration and tokenizer. `fingerprint` is of what was measured, so that another model of the
    same name is noticed. `inside` is the folder with its weights in the bundle, `adapter` that of
    its adapter. What a service does not tell is None.
    """

    name: str
    base: str
    sha256: str | None = None
    fingerprint: str | None = None
    licence: str | None = None
    fetch: str = ""
    inside: str | None = None
    adapter: str | None = None


def contents(chosen: Chosen, *, merged: bool = False) -> dict[str, bytes | Path]:
    """Each file of the bundle by its path in it: its bytes, or the file to copy.

    `merged` leaves adapters out, so that a tuned model is served by the weights that were measured.

    Raises:
        StoreError: an artefact is missing or was changed since it was measured.
        StepladderError: the solver needs a file that a bundle cannot carry.
    """
    _refuse_files_of_the_task(solver_record(chosen.solver))
    files: dict[str, bytes | Path] = {}
    for name in artifacts_of(chosen.solver):
        files.update(_artifact(chosen.artifacts, name))
    models = []
    for name in models_of(chosen.solver):
        tuned = _tuned(chosen, name, merged=merged)
        files.update(tuned)
        models.append(_model(chosen, name, tuned))
    if any(_reads_with_the_encoder(path, file) for path, file in files.items()):
        models.append(_encoder())
    files[SOLVER] = json_bytes(solver_record(chosen.solver))
    files[TASK] = json_bytes(_task(chosen))
    files[MODELS] = json_bytes([asdict(model) for model in models])
    files[EVALUATION] = json_bytes({**_evaluation(chosen), "merged": merged})
    for path in files:
        _check(path)
    return files


def json_bytes(record: Json) -> bytes:
    """The record as a file; keys keep their order, which a prompt may depend on."""
    return (json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _check(path: str) -> None:
    try:
        check_path(path)
    except ValueError as error:
        raise StepladderError(
            f"the solver cannot be bundled: {error}",
            hint="a bundle holds weights as safetensors and indexes as JSON and plain arrays",
        ) from error


def _task(chosen: Chosen) -> dict[str, Json]:
    """The task as it was climbed, which task.toml may no longer say."""
    record = {name: chosen.task[name] for name in SERVED if name in chosen.task}
    kinds = {name.partition(":")[0] for name in models_of(chosen.solver)}
    options = record.get("providers", {})
    record["providers"] = {kind: options[kind] for kind in sorted(kinds) if kind in options}
    return record


def _evaluation(chosen: Chosen) -> dict[str, Json]:
    run = chosen.decision["run"]
    return {
        "decision": chosen.decision_id,
        "step": chosen.trial["step"],
        "solver": chosen.trial["solver"],
        "solver_sha256": content_hash(chosen.solver),
        "verdict": chosen.decision["verdict"],
        "reason": chosen.decision["reason"],
        "target": chosen.decision["target"],
        "confirmed": chosen.confirmed,
        "trial": chosen.trial,
        "cautions": chosen.decision["cautions"],
        "data": chosen.data,
        "inputs": _inputs(chosen),
        "run": {"name": chosen.run.resolve().name, **{name: run.get(name) for name in _RUN}},
    }


def _inputs(chosen: Chosen) -> dict[str, Json]:
    """What an input is, so that a server makes the same of what a caller sends.

    "text", "fields" with their names, or "turns" of a conversation, which may also be one text.
    """
    columns = chosen.task["data"].get("input")
    if isinstance(columns, list):
        return {"kind": "fields", "fields": columns, "required": columns}
    name = rows_name(
        chosen.trial["step"],
        chosen.trial["solver"],
        content_hash(chosen.solver)[:8],
        chosen.trial["set"],
    )
    asked = [row["input"] for row in read_rows(chosen.run / "rows" / name)]
    if any(isinstance(one, list) for one in asked):
        return {"kind": "turns"}
    if not asked or not all(isinstance(one, dict) for one in asked):
        return {"kind": "text"}
    fields = list(dict.fromkeys(name for one in asked for name in one))
    required = [name for name in fields if all(name in one for one in asked)]
    return {"kind": "fields", "fields": fields, "required": required}


# --- artefacts ----------------------------------------------------------------------------------


def _artifact(artifacts: Path, name: str) -> Iterator[tuple[str, Path]]:
    try:
        folder = open_artifact(artifacts, name)
    except StoreError:
        raise
    except StepladderError as error:
        raise StoreError(error.message, hint=f"{error.hint}; {AGAIN}") from error
    for path in sorted(folder.iterdir()):
        if path.name == "pool.jsonl":
            for line in path.read_text(encoding="utf-8").split("\n"):
                _refuse_files_of_the_task(json.loads(line))
        yield f"artifacts/{name}/{path.name}", path


def _tuned(chosen: Chosen, name: str, *, merged: bool) -> dict[str, Path]:
    """The files of a model that was tuned here; none for any other."""
    if not name.startswith(LOCAL + TUNED):
        return {}
    identity = name.removeprefix(LOCAL + TUNED)
    folder = chosen.artifacts / identity
    if not (folder / "done").is_file():
        raise StoreError(
            f"the tuned model {name!r} is not in {str(chosen.artifacts)!r}", hint=AGAIN
        )
    found = [folder / "training.json"]
    for part in ("model",) if merged else ("model", "adapter"):
        found += sorted(path for path in (folder / part).glob("*") if path.is_file())
    return {f"artifacts/{identity}/{path.relative_to(folder).as_posix()}": path for path in found}


def _refuse_files_of_the_task(record: Json) -> None:
    """A demonstration may show an image by its path: outside the task folder it leads nowhere."""
    if isinstance(record, Mapping):
        uri = record.get("uri") if {"kind", "media_type"} <= record.keys() else None
        if isinstance(uri, str) and not uri.startswith(("https://", "gs://", "data:")) and uri:
            raise StepladderError(
                f"a demonstration shows the file {uri!r}, which a bundle cannot carry",
                hint="give it in the examples as a data: URI, or by an https: or gs: address, "
                "and climb again",
            )
        record = list(record.values())
    if isinstance(record, list):
        for each in record:
            _refuse_files_of_the_task(each)


# --- models -------------------------------------------------------------------------------------


def _model(chosen: Chosen, name: str, tuned: Mapping[str, Path]) -> BundledModel:
    if not name.startswith(LOCAL):
        base = name.partition("@")[0]
        where = "asked at its service; needs the key of whoever serves the bundle"
        return BundledModel(name, base, licence="the terms of its service", fetch=where)
    found = LocalProvider(chosen.artifacts).model(name).fingerprint
    _same_as_measured(chosen, name, found)
    if not tuned:
        folder = base_folder(name.removeprefix(LOCAL))
        model = _base(name, name, base_fingerprint(folder), folder)
        return replace(model, fingerprint=found)
    inside = f"artifacts/{name.removeprefix(LOCAL + TUNED)}"
    facts = json.loads(tuned[f"{inside}/training.json"].read_text(encoding="utf-8"))
    model = _base(name, facts["base"], facts["base_sha256"], tuned[f"{inside}/model/config.json"])
    adapter = f"{inside}/adapter" if f"{inside}/adapter/adapter_config.json" in tuned else None
    return replace(model, fingerprint=found, inside=f"{inside}/model", adapter=adapter)


def _reads_with_the_encoder(path: str, file: bytes | Path) -> bool:
    """Whether this file of an artefact stands for the open encoder, whose weights stay outside."""
    if path.endswith("/embeddings.npy"):
        return True
    if not path.endswith(f"/{ENCODER_FILE}") or not isinstance(file, Path):
        return False
    return "heads" not in json.loads(file.read_text(encoding="utf-8"))  # else a tuned one, inside


def _encoder() -> BundledModel:
    """Of an index of embeddings: what is asked is read by the same encoder."""
    from ..embeddings import ENCODER

    name = f"{ENCODER_NAME}{ENCODER.name}"
    return BundledModel(name, name, ENCODER.sha256, None, ENCODER.licence, _fetched(ENCODER))


def _fetched(package: Package) -> str:
    return (
        f"fetched by stepladder when it is first asked: the package {package.name}=="
        f"{package.version}, {package.member} with SHA-256 {package.sha256}"
    )


def _same_as_measured(chosen: Chosen, name: str, found: str) -> None:
    measured = chosen.fingerprints.get(name)
    if measured is not None and measured != found:
        raise StoreError(
            f"the model {name!r} is not the one that was measured: its fingerprint is {found}, "
            f"and was {measured}",
            hint=f"put its files back as they were; else {AGAIN}",
        )


def _base(name: str, base: str, sha256: str, near: Path) -> BundledModel:
    bare = base.removeprefix(LOCAL)
    if bare in EMBEDDED:
        package = EMBEDDED[bare]
        return BundledModel(name, base, sha256, None, package.licence, _fetched(package))
    if bare.startswith((TUNED, SCRATCH)):
        fetch = "nothing to fetch: it was made here, and what came of it is inside"
    elif Path(bare).expanduser().is_dir():
        fetch = "a folder of your own: put the same files under the same path"
    else:
        fetch = f"fetched from the model hub when it is first asked: {bare}"
    return BundledModel(name, base, sha256, licence=_licence(near), fetch=fetch)


def _licence(near: Path) -> str | None:
    """What the model's own folder says of its licence; None where it says nothing."""
    folder = near if near.is_dir() else near.parent
    try:
        facts: Any = json.loads((folder / "origin.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    licence = facts.get("licence") if isinstance(facts, dict) else None
    return licence if isinstance(licence, str) else None
