"""Which checkpoint of a tuned model answers in its name: the one made its default, if any.

Known for a few seconds without the database. A change by this server counts at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from anyio.to_thread import run_sync
from fastapi import Request

if TYPE_CHECKING:
    from ...database import Database

__all__ = ["Defaults", "defaults_of"]

FRESH_SECONDS = 2.0
MOST_KNOWN = 4096


class Defaults:
    """From the id of a tuned model to the id of the model that answers for it."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._known: dict[str, tuple[str, float]] = {}

    async def resolve(self, name: str) -> str:
        """The id of the default checkpoint's model; any other name as it is."""
        if not (name.isascii() and name.isdigit()):
            return name
        found, until = self._known.get(name, ("", 0.0))
        if self._clock() < until:
            return found
        found = await run_sync(self._read, name)
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[name] = found, self._clock() + FRESH_SECONDS
        return found

    def forget(self, name: str) -> None:
        """The default of this model was changed."""
        self._known.pop(name, None)

    def _read(self, name: str) -> str:
        tuned = self._database.tuned(name)
        if tuned is None or tuned.default_checkpoint is None:
            return name
        job = self._database.job(tuned.job)
        checkpoints = job.checkpoints if job is not None else ()
        models = {one.id: one.tuned_model for one in checkpoints}
        return models.get(tuned.default_checkpoint, name)


def defaults_of(request: Request) -> Defaults:
    """Those of the app that answers this request."""
    state = request.app.state
    if not hasattr(state, "gemini_defaults"):
        state.gemini_defaults = Defaults(state.server.database)
    found: Defaults = state.gemini_defaults
    return found
