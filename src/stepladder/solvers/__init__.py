"""What answers. One solver per file; here they become JSON records and come back from them.

A solver is a frozen dataclass of JSON-able fields, and its `kind` is the name it is registered
under. Weights and indexes are not in the record: they lie in the artifacts folder (see
`artifact.py`) and the record names them by content hash. Nothing here answers anything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, get_type_hints

from ..core import Json, Solver
from ..errors import StepladderError
from ..registry import look_up
from .citing import Knowledge

__all__ = [
    "artifacts_of", "content_hash", "model_of", "models_of", "plain", "solver_from_record",
    "solver_record",
]  # fmt: skip


def solver_record(solver: Solver) -> dict[str, Json]:
    """The solver as a JSON object: `kind` first, then its fields in the order they are declared."""
    return {"kind": solver.kind, **{k: v for k, v in plain(solver).items() if k != "kind"}}


def solver_from_record(record: Mapping[str, Json]) -> Solver:
    """The solver that `solver_record` wrote.

    Raises:
        StepladderError: the kind is not registered, or a field is unknown, missing or malformed.
    """
    if not isinstance(record, Mapping) or not isinstance(record.get("kind"), str):
        raise StepladderError(
            "a solver record needs a field 'kind' with the name of a solver",
            hint="write records with stepladder.solvers.solver_record",
        )
    kind = record["kind"]
    solver_type = look_up("solver", kind)
    declared = {field.name: field for field in fields(solver_type) if field.init}
    given = {key: value for key, value in record.items() if key != "kind"}
    if unknown := sorted(given.keys() - declared.keys()):
        raise StepladderError(
            f"a record of solver {kind!r} has unknown fields: {', '.join(map(repr, unknown))}",
            hint=f"known: {', '.join(declared)}. Was it written by a newer version?",
        )
    required = {
        name
        for name, field in declared.items()
        if field.default is MISSING and field.default_factory is MISSING
    }
    if missing := sorted(required - given.keys()):
        raise StepladderError(
            f"a record of solver {kind!r} lacks fields: {', '.join(map(repr, missing))}",
            hint="write records with stepladder.solvers.solver_record",
        )
    loaded = {name: _load_field(solver_type, name, value) for name, value in given.items()}
    solver: Solver = solver_type(**loaded)
    return solver


def content_hash(solver: Solver) -> str:
    """SHA-256 (hex) of the record: equal for solvers that say the same to the model.

    Keys keep their order: that of a schema or of a demonstration is part of the prompt. Fields at
    their defaults are left out, so that a new version's new field makes no solver another one.
    """
    record = solver_record(solver)
    for field in fields(solver):  # type: ignore[arg-type]  # solvers are dataclasses
        default = field.default_factory() if callable(field.default_factory) else field.default
        if field.init and record[field.name] == plain(default):
            del record[field.name]
    text = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def artifacts_of(solver: Solver) -> tuple[str, ...]:
    """The content hashes of the artifact folders that this solver answers with."""
    found: list[str] = []
    for field in fields(solver):  # type: ignore[arg-type]  # solvers are dataclasses
        value = getattr(solver, field.name)
        if field.name == "artifact" and value:
            found.append(value)
        elif field.name == "selector" and value:
            found.append(value["pool"])
        elif isinstance(value, Knowledge) and value.index:
            found.append(value.index)
        elif isinstance(value, Solver):
            found.extend(artifacts_of(value))
    return tuple(dict.fromkeys(found))


def model_of(solver: Solver) -> str | None:
    """The name of the model that the solver asks; None for one that asks none."""
    model = getattr(solver, "model", None)
    return None if model is None else str(model)


def models_of(solver: Solver) -> tuple[str, ...]:
    """The names of all models that the solver asks, those that serve it inside included."""
    found = [name] if (name := model_of(solver)) else []
    for field in fields(solver):  # type: ignore[arg-type]  # solvers are dataclasses
        value = getattr(solver, field.name)
        if isinstance(value, Solver):
            found.extend(models_of(value))
        elif isinstance(value, Knowledge) and value.rewrite is not None:
            found.append(value.rewrite.model)
    return tuple(dict.fromkeys(found))


def plain(value: Any) -> Json:
    """Dataclasses as dicts, tuples as lists, all the way down."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value


@cache
def _adapter(solver_type: type, name: str) -> Any:
    from pydantic import TypeAdapter

    hint = get_type_hints(solver_type)[name]
    return None if hint is Solver else TypeAdapter(hint)


def _load_field(solver_type: type, name: str, value: Json) -> Any:
    from pydantic import ValidationError

    adapter = _adapter(solver_type, name)
    if adapter is None:
        return solver_from_record(value)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, (name, *first["loc"])))
        raise StepladderError(
            f"a record of solver {solver_type.__name__!r} has a bad field {place!r}: "
            f"{first['msg']}",
            hint="write records with stepladder.solvers.solver_record",
        ) from error
