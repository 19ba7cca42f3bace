"""A file of descriptions: functions that can be predicted, with nothing behind them to call.

`functions.json` is an object of descriptions by key, or a list of them, which are then their own
names. Keys tell apart functions of one name, of which an input has at most one as a candidate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from ..core import Json
from ..errors import TaskError
from ..solvers.artifact import open_artifact, save_artifact
from .description import Described, described_from_record, described_record

__all__ = ["FILE", "load_catalogue", "read_catalogue", "save_catalogue"]

FILE = "functions.json"


def read_catalogue(path: Path) -> dict[str, Described]:
    """The functions that a file describes, by their keys.

    Raises:
        TaskError: the file cannot be read, or describes something that is no function.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TaskError(
            f"{path.name!r} cannot be read: {error}", hint="give descriptions of functions as JSON"
        ) from error
    return _catalogue(told, path.name)


def save_catalogue(functions: Mapping[str, Described], artifacts: Path) -> str:
    """Keep the descriptions as an artifact of a solver, and return its hash."""
    told = {key: described_record(one) for key, one in functions.items()}
    return save_artifact(artifacts, {FILE: json.dumps(told, ensure_ascii=False).encode()})


def load_catalogue(artifacts: Path, name: str) -> Mapping[str, Described]:
    """The descriptions that `save_catalogue` kept, as they were."""
    return _loaded(open_artifact(artifacts, name))


@lru_cache(maxsize=8)
def _loaded(folder: Path) -> Mapping[str, Described]:  # an artifact never changes under its name
    return _catalogue(json.loads((folder / FILE).read_text(encoding="utf-8")), FILE)


def _catalogue(told: Json, place: str) -> dict[str, Described]:
    if isinstance(told, Mapping):
        return {
            key: described_from_record(
                {"name": key, **one} if isinstance(one, Mapping) else one, f"{place}: {key!r}"
            )
            for key, one in told.items()
        }
    if not isinstance(told, list):
        raise TaskError(
            f"{place!r} holds neither an object nor a list of functions",
            hint='write {"key": {"name": ..., "parameters": {...}}, ...}',
        )
    found: dict[str, Described] = {}
    for number, one in enumerate(told, 1):
        described = described_from_record(one, f"{place}: function {number}")
        if described.name in found:
            raise TaskError(
                f"{place}: two functions are called {described.name!r}",
                hint="write an object whose keys tell them apart",
            )
        found[described.name] = described
    return found
