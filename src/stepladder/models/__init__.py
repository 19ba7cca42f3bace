"""One provider per file or folder: what turns a name, `provider:name`, into a `Model`.

A provider is registered by a function that opens it from `ProviderSettings`. `hosted/` is what
providers over a network share: concurrency, retries, batches, keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Protocol

from ..catalogue import Catalogue
from ..core import Json, Model, Tell
from ..cost import Prices

__all__ = ["Provider", "ProviderSettings"]


def _quiet(event: str, fields: Mapping[str, Json]) -> None:
    """Nobody is watching."""


def _today() -> date:
    return datetime.now(UTC).date()


@dataclass(frozen=True)
class ProviderSettings:
    """What a provider is opened with. Keys and addresses are not here: see `hosted/keys.py`.

    `artifacts` has the run's tuned models, `jobs` the records of work that goes on at a service
    (batches, tuning), so that a crash starts none twice. `options` is `[providers.NAME]` of the
    task file. Of the files that messages name, only those below `folder` are ever sent; None: none.
    """

    name: str
    artifacts: Path = Path()
    jobs: Path = Path()
    options: Mapping[str, Json] = field(default_factory=dict)
    catalogue: Catalogue = field(default_factory=Catalogue)
    prices: Prices = field(default_factory=lambda: Prices(_today()))
    tell: Tell = _quiet
    folder: Path | None = None


class Provider(Protocol):
    """Gives models by name, and frees what they hold."""

    def model(self, name: str) -> Model:
        """The model called `provider:...`; raises ModelError when there is none."""
        ...

    def close(self) -> None: ...
