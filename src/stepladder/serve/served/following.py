"""The bundles that are current, followed while the server runs: a deploy needs no restart.

A new bundle is opened beside the old one and takes its name at once; the old one finishes what it
began. One that cannot be opened leaves the old one where it is, and says so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...bundles.bundle import Bundle, load_bundle
from ...bundles.current import bundles_in, current_of
from ...bundles.manifest import MANIFEST
from ...errors import StepladderError
from .. import ModelCard, ServedModel
from ..log import LOGGER
from .bundle import BundleServed

__all__ = ["Following"]

AGAIN = 60  # looks after which what could not be opened is tried again: it may have been mended

Opener = Callable[[Bundle], BundleServed]


@dataclass
class _Failure:
    """The id of a bundle that could not be opened, and why; None where not even that was known."""

    id: str | None
    why: str
    looks: int = field(default=0, compare=False)  # since it was tried

    def waits(self, id: str) -> bool:
        """Whether it is still the same and not yet time to try again."""
        self.looks += 1
        return self.id == id and self.looks < AGAIN


class Following:
    """The bundles of some places by the name of their task; a `Source` of served models.

    A place is a task folder, a folder of bundles, or one bundle, which stays what it is. `open`
    opens a bundle. Thread-safe; `look` is called from time to time, from one thread at a time.
    """

    def __init__(self, places: Sequence[Path], open: Opener) -> None:
        self._open = open
        self._served: dict[Path, BundleServed] = {}
        self._failed: dict[Path, _Failure] = {}
        self._looking = threading.Lock()
        for place in places:
            if place not in self._served:
                self._start(place)

    def get(self, name: str) -> ServedModel | None:
        """The current bundle of the task of that name."""
        for served in tuple(self._served.values()):
            if served.card.name == name:
                return served
        return None

    def cards(self, owner: str | None) -> Sequence[ModelCard]:
        """Of all: they are everybody's."""
        return [served.card for served in tuple(self._served.values())]

    def problems(self) -> Mapping[str, str]:
        """By place, why what is current there is not served; empty when all is well."""
        return {str(place): failure.why for place, failure in tuple(self._failed.items())}

    def look(self) -> None:
        """Open what has become current since the last time. Takes seconds then."""
        with self._looking:
            for place in tuple(self._served):
                self._look_at(place)

    def close(self) -> None:
        """Free what they hold, each once nobody waits for it."""
        for served in self._served.values():
            served.retire()

    def _start(self, place: Path) -> None:
        """Raises StepladderError: at the start, what cannot be served is nothing to go on with."""
        try:
            served = self._open(load_bundle(_current(place)))
            taken = self.get(served.card.name)
        except BaseException:
            self.close()
            raise
        if taken is not None:
            served.retire()
            self.close()
            raise StepladderError(
                f"two of the bundles to serve are of a task called {served.card.name!r}",
                hint="serve one of them, or give one of the tasks another name",
            )
        self._served[place] = served

    def _look_at(self, place: Path) -> None:
        before = self._served[place]
        wanted: str | None = None
        try:
            folder = _current(place)
            wanted = folder.resolve().name
            if wanted == before.card.version:
                self._failed.pop(place, None)
                return
            failed = self._failed.get(place)
            if failed is not None and failed.waits(wanted):
                return
            served = self._open(load_bundle(folder))
            self._check_name(served, before)
        except StepladderError as error:
            self._fail(place, wanted, error, before)
            return
        self._served[place] = served
        self._failed.pop(place, None)
        LOGGER.info("%s: %s is current now", served.card.name, served.card.version[:12])
        before.retire()

    def _check_name(self, served: BundleServed, before: BundleServed) -> None:
        taken = self.get(served.card.name)
        if taken is not None and taken is not before:
            served.retire()
            raise StepladderError(
                f"the new bundle is of a task called {served.card.name!r}, and another one that is "
                "served is called so too",
                hint="give one of the tasks another name",
            )

    def _fail(
        self, place: Path, wanted: str | None, error: StepladderError, before: BundleServed
    ) -> None:
        known, failure = self._failed.get(place), _Failure(wanted, error.message)
        if known != failure:
            LOGGER.error(
                "%s: what is current cannot be served, %s is served on: %s",
                before.card.name,
                before.card.version[:12],
                error,
            )
        self._failed[place] = failure


def _current(place: Path) -> Path:
    """The folder of the bundle to serve; raises StepladderError where there is none."""
    if (place / MANIFEST).is_file():
        return place
    folder = bundles_in(place)
    current = current_of(folder)
    if current is None:
        raise StepladderError(
            f"nothing was deployed in {str(place)!r}", hint=f"run: stepladder deploy {place}"
        )
    return folder / current.bundle
