"""What one server has: its models, its database, its limits; and how it is opened and closed.

`open_server` puts it together from settings, `app.py` gives it paths, `running.py` a port.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from ..cost import Prices, load_prices
from . import Caller, ModelCard, ServedModel
from .fetch import Fetcher
from .keys import ENVIRONMENT_KEY, Keyring
from .limits import Limits
from .metrics import Meters
from .settings import ServeSettings, is_loopback
from .traces import Tracer, open_tracer

if TYPE_CHECKING:
    from ..database import Database

__all__ = ["ServedNames", "Server", "Worker", "assemble"]


class ServedNames(Protocol):
    """Served models by name."""

    def get(self, name: str) -> ServedModel: ...

    def list(self, caller: Caller) -> Sequence[ModelCard]: ...

    def close(self) -> None: ...


class Worker(Protocol):
    """Works off what is queued in the database."""

    def wake(self) -> None:
        """There is something new."""
        ...


class _Nobody:
    """For a server that was set up without a worker of the kind."""

    def wake(self) -> None: ...


@dataclass
class Server:
    """Everything that a route needs: `request.app.state.server`."""

    settings: ServeSettings
    models: Any
    database: Database
    keyring: Keyring
    limits: Limits
    meters: Meters
    fetch: Fetcher
    tracer: Tracer
    prices: Prices
    tuning: Any = field(default_factory=_Nobody)
    batches: Any = field(default_factory=_Nobody)

    def __post_init__(self) -> None:
        limits, meters = self.limits, self.meters
        meters.watch("running", "Candidates under way.", lambda: limits.running)
        meters.watch("queue", "Candidates that wait.", lambda: limits.waiting)


def assemble(settings: ServeSettings, models: Any, database: Database) -> Server:
    """A server of parts that are open already."""
    return Server(
        settings=settings,
        models=models,
        database=database,
        keyring=Keyring(
            database, os.environ.get(ENVIRONMENT_KEY), open_without_keys=is_loopback(settings.host)
        ),
        limits=Limits(settings.most_running, settings.queue),
        meters=Meters(),
        fetch=Fetcher(
            hosts=settings.fetch_hosts, http=settings.fetch_http, gs_folder=settings.gs_folder
        ),
        tracer=open_tracer(settings.otlp_endpoint, version=_version()),
        prices=load_prices(today=datetime.now(UTC).date()),
    )


def _version() -> str:
    from .. import __version__

    return __version__
