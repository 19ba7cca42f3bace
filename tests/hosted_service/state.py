"""Everything the service keeps between calls."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .answering import Scores
from .asking import Refused
from .openai_chat import Prefixes
from .settings import Settings
from .storage import Storage
from .trainings import Trainings

__all__ = ["Batch", "Kept", "State", "Stored"]


@dataclass
class Stored:
    """An uploaded file, or one that a job wrote."""

    id: str
    name: str
    purpose: str
    media_type: str
    data: bytes
    created: float = field(default_factory=time.time)


@dataclass
class Kept:
    """A prompt prefix that is kept for a price, until it expires."""

    name: str
    body: dict[str, Any]
    tokens: int
    expires: float
    created: float = field(default_factory=time.time)


@dataclass
class Batch:
    """A batch of requests; `results` are there once it ended well."""

    id: str
    parent: str
    model: str
    asked: dict[str, Any]
    requests: list[dict[str, Any]]
    created: float = field(default_factory=time.time)
    ended: float | None = None
    polls: int = 0
    state: str = "pending"
    error: str = ""
    results: list[dict[str, Any]] = field(default_factory=list)
    written: str = ""  # where the results are, when not inline


class State:
    """Files, kept prefixes, batches, tuning jobs; `folder` makes files and jobs outlive it."""

    def __init__(self, storage: Storage, folder: Path | None) -> None:
        self.settings = Settings()
        self.storage = storage
        self._folder = folder
        self._open()

    def _open(self) -> None:
        self.files: dict[str, Stored] = {}
        self.kept: dict[str, Kept] = {}
        self.batches: dict[str, Batch] = {}
        self.uploads: dict[str, dict[str, Any]] = {}
        self.prefixes = Prefixes()
        jobs = None if self._folder is None else self._folder / "jobs"
        self.trainings = Trainings(self.settings, jobs)

    def reset(self) -> None:
        """As new: nothing kept, the settings those of the start."""
        self.settings = Settings()
        self.storage.wipe()
        if self._folder is not None:
            shutil.rmtree(self._folder / "jobs", ignore_errors=True)
        self._open()

    def tuned(self, endpoint: str) -> tuple[str, Scores]:
        """The base and the scores of the tuned model at `projects/.../endpoints/ID`."""
        number = endpoint.rpartition("/")[2]
        found = self.trainings.model(int(number)) if number.isdigit() else None
        if found is None:
            raise Refused(404, f"Endpoint `{endpoint}` not found.")
        return found

    def prefix(self, name: str) -> Mapping[str, Any]:
        """The kept prefix of this name, as it was created, with the tokens it has."""
        kept = self.kept.get(name.rpartition("/")[2])
        if kept is None or kept.expires < time.time():
            raise Refused(
                403, "CachedContent not found (or permission denied)", "PERMISSION_DENIED"
            )
        return {**kept.body, "usageMetadata": {"totalTokenCount": kept.tokens}}

    def store(
        self, name: str, data: bytes, *, purpose: str, media_type: str, prefix: str
    ) -> Stored:
        stored = Stored(f"{prefix}{uuid.uuid4().hex[:12]}", name, purpose, media_type, data)
        self.files[stored.id] = stored
        return stored

    def file(self, name: str) -> Stored:
        if name not in self.files:
            raise Refused(404, f"No such File object: {name}")
        return self.files[name]
