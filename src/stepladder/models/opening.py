"""Models by name, `provider:name`: providers are opened when they are first asked for.

Where nothing will be asked (a check, a plan), a hosted model whose service cannot be reached for
want of a key is stood in for by one that only counts tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from ..catalogue import Catalogue, load_catalogue
from ..core import Message, Model, Request, Response, Task, Tell
from ..cost import Prices
from ..errors import ModelError, TaskError
from ..registry import known, look_up
from ..store import CachedModel, RunFolder
from . import ProviderSettings
from .hosted.tokens import open_estimate

__all__ = ["Models", "Unreached", "check_providers", "open_model"]

LOCAL = "local"


class Models:
    """The models of one run, each with its answers kept.

    `asking` says whether they will be asked; if not, `Unreached` may stand in for one. `meter` is
    put around each hosted model.
    """

    def __init__(
        self,
        run: RunFolder,
        task: Task,
        catalogue: Catalogue,
        prices: Prices,
        tell: Tell,
        *,
        asking: bool = True,
    ) -> None:
        check_providers(task)
        self._run = run
        self._task = task
        self._known = (catalogue, prices)
        self._tell = tell
        self._asking = asking
        self.meter: Callable[[Model], Model] = lambda model: model
        self._providers: dict[str, Any] = {}
        self._models: dict[str, Model] = {}

    def model(self, name: str) -> Model:
        """The model called so; raises ModelError when it cannot be had."""
        if name not in self._models:
            model = self._open(name)
            if getattr(model, "hosted", False):
                model = self.meter(model)
            self._models[name] = CachedModel(model, self._run.answers)
        return self._models[name]

    def settings(self, kind: str) -> ProviderSettings:
        """What the provider or trainer called `kind` is opened with."""
        catalogue, prices = self._known
        return ProviderSettings(
            kind,
            artifacts=self._run.artifacts,
            jobs=self._run.root / "jobs",
            options=self._task.providers.get(kind, {}),
            catalogue=catalogue,
            prices=prices,
            tell=self._tell,
            folder=self._task.folder,
        )

    def close(self) -> None:
        """Free what the providers hold."""
        for provider in self._providers.values():
            provider.close()

    def _open(self, name: str) -> Model:
        kind = _kind(name)
        try:
            if kind not in self._providers:
                self._providers[kind] = look_up("provider", kind)(self.settings(kind))
            model: Model = self._providers[kind].model(name)
        except ModelError as error:
            if self._asking or kind == LOCAL:
                raise
            return Unreached(name, error, self.settings(kind))
        return model


class Unreached:
    """A hosted model that nobody can ask here, and why: it counts tokens as it otherwise would."""

    hosted = True
    scores_choices = False

    def __init__(self, name: str, why: ModelError, settings: ProviderSettings) -> None:
        self.name = name
        self.why = why
        self._facts = settings.catalogue.facts(name)
        self._tokens = open_estimate(name, settings.jobs)

    @property
    def context_tokens(self) -> int | None:
        """The most input tokens; None where the catalogue does not know."""
        return None if self._facts is None else self._facts.context_tokens

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """An estimate, as of any hosted model."""
        return self._tokens.count(messages)

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Response]]:
        """Raises the ModelError for which it could not be reached."""
        raise self.why


def open_model(name: str, task: Task | None = None, models: Path | None = None) -> Model:
    """A model by name for use outside a climb, as `task` sets its provider; no answer is kept.

    Of a hosted model that lacks a key the `Unreached` that counts its tokens. `models` is a file of
    the user's facts on models.

    Raises:
        TaskError: the name or the provider's options cannot be used.
        MissingExtra: the provider's package is not installed.
        ModelError: a local model cannot be had.
    """
    kind = _kind(name)
    if task is not None:
        check_providers(task)
    settings = ProviderSettings(
        kind,
        options=task.providers.get(kind, {}) if task else {},
        catalogue=load_catalogue(models, today=date.today()),
    )
    try:
        model: Model = look_up("provider", kind)(settings).model(name)
    except ModelError as error:
        if kind == LOCAL:
            raise
        return Unreached(name, error, settings)
    return model


def check_providers(task: Task) -> None:
    """Raise TaskError where the task file names a provider that there is none of."""
    named = {
        f"the model {name!r}": _kind(name)
        for name in (*task.models, task.prompt_model or "")
        if name
    }
    named |= {f"[providers.{kind}]": kind for kind in task.providers}
    there = known("provider")
    for where, kind in named.items():
        if kind not in there:
            raise TaskError(
                f"task.toml: {where}: no provider is called {kind!r}",
                hint=f"known: {', '.join(there)}",
            )


def _kind(name: str) -> str:
    kind, colon, _ = name.partition(":")
    if not colon:
        raise TaskError(
            f"the model {name!r} does not say who provides it",
            hint="write 'provider:name', for instance 'local:smollm2-135m-instruct'",
        )
    return kind
