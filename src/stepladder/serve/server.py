"""What one server has: its models, its database, its limits; and how it is opened and closed.

`open_server` puts it together from settings, `app.py` gives it paths, `running.py` a port.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, get_args

from ..core import Usage
from ..cost import Prices, load_prices, machine_dollars, price_all, token_price
from ..database import open_database
from ..database.records import JobState
from ..errors import StepladderError, StoreError
from .fetch import Fetcher
from .keys import ENVIRONMENT_KEY, Keyring
from .limits import Limits
from .log import LOGGER
from .metrics import Meters
from .settings import ServeSettings, is_loopback
from .traces import Tracer, open_tracer

if TYPE_CHECKING:
    from ..database import Database
    from .served.directory import ServedModels

__all__ = ["Server", "Worker", "assemble", "open_server"]

FORGET_EVERY = 3600.0  # seconds
DAY_ONE = datetime(1970, 1, 1, tzinfo=UTC)


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
    models: ServedModels
    database: Database
    keyring: Keyring
    limits: Limits
    meters: Meters
    fetch: Fetcher
    tracer: Tracer
    prices: Prices
    tuning: Worker = field(default_factory=_Nobody)
    batches: Worker = field(default_factory=_Nobody)
    # what runs on the server's loop for as long as it answers
    background: list[Callable[[], Coroutine[Any, Any, None]]] = field(default_factory=list)
    _token_priced: dict[str, bool] = field(default_factory=dict)  # looking it up takes long

    def dollars(self, usages: Sequence[Usage]) -> float | None:
        """What calls cost: by tokens where they have a price, else this machine's time; or None."""
        for usage in usages:
            if usage.model not in self._token_priced:
                priced = token_price(usage.model, self.prices) is not None
                self._token_priced[usage.model] = priced
        if not any(self._token_priced[usage.model] for usage in usages):
            times = [usage.compute_seconds for usage in usages]
            known = [seconds for seconds in times if seconds is not None]
            if not known or len(known) < len(times):
                return None
            return machine_dollars(sum(known), self.settings.hardware, self.prices).dollars
        return price_all(usages, self.prices, self.settings.hardware).dollars

    def __post_init__(self) -> None:
        limits, meters = self.limits, self.meters
        database = self.database
        meters.watch("running", "Candidates under way.", lambda: limits.running)
        meters.watch("queue", "Candidates that wait.", lambda: limits.waiting)
        meters.watch(
            "dropped_traffic_rows",
            "Rows of traffic that could not be written.",
            lambda: database.dropped_rows,
        )


@contextmanager
def open_server(settings: ServeSettings) -> Iterator[Server]:
    """A server with its models loaded and its workers started, until it is left.

    Raises:
        StepladderError: it would be open to others without a key; a bundle or model cannot be had.
        StoreError: the database cannot be used.
        MissingExtra: a package is not installed.
    """
    with ExitStack() as stack:
        database = stack.enter_context(
            closing(open_database(settings.database, keep_content=settings.keep_content))
        )
        _refuse_to_be_open(settings, database)
        from .served.opening import open_models

        models = open_models(settings, database)
        stack.callback(models.close)
        server = assemble(settings, models, database)
        stack.callback(server.tracer.close)
        server.background.append(models.follow)
        _watch_jobs(server)
        for name, worker in _workers(server):
            setattr(server, name, worker)
            worker.start()
            stack.callback(worker.stop)
        stack.enter_context(forgetting(database, settings.retention_days))
        yield server


def _workers(server: Server) -> Iterator[tuple[str, Any]]:
    from .batching import BatchRunner

    yield "batches", BatchRunner(server)
    if server.settings.tuning:
        from .tuning.queue import TuningQueue

        yield "tuning", TuningQueue(server)


def _refuse_to_be_open(settings: ServeSettings, database: Database) -> None:
    if is_loopback(settings.host) or os.environ.get(ENVIRONMENT_KEY) or database.keys():
        return
    raise StepladderError(
        f"{settings.host!r} can be reached by others, and no API key is set",
        hint="make one with: stepladder keys add; or set the environment variable "
        f"{ENVIRONMENT_KEY}; or serve on 127.0.0.1 only",
    )


def _watch_jobs(server: Server) -> None:
    """Counted when the metrics are asked for: other servers of the database work on jobs too."""

    def count() -> dict[str, float]:
        found = server.database.count_jobs()
        return {state: float(found.get(state, 0)) for state in get_args(JobState)}

    server.meters.watch_each("tuning_jobs", "Tuning jobs by state.", "state", count)


@contextmanager
def forgetting(database: Database, days: float | None) -> Iterator[None]:
    """Delete what has expired and traffic older than `days`, now and every hour, until left."""
    over = threading.Event()

    def run() -> None:
        while True:
            try:
                now = datetime.now(UTC)
                database.forget(DAY_ONE if days is None else now - timedelta(days=days))
            except StoreError as error:  # the next hour may do better
                LOGGER.warning("old traffic could not be deleted: %s", error.message)
            if over.wait(FORGET_EVERY):
                return

    thread = threading.Thread(target=run, name="forgetting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


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
