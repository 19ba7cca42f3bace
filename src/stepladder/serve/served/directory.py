"""Served models by name: base models, tuned ones, bundles, encoders, and other names for them.

What a name stands for may change while the server runs: another bundle becomes current, a model is
tuned or deleted. Who may see what is told by `ModelCard.owner`; nothing here knows keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

from ...errors import StepladderError
from .. import Caller, ModelCard, Refusal, ServedModel
from .bases import LOCAL

__all__ = ["Changing", "ServedModels", "Source"]

LOOK_SECONDS = 1.0


class Source(Protocol):
    """Served models that come and go; `get` and `cards` are asked anew by every call."""

    def get(self, name: str) -> ServedModel | None: ...

    def cards(self, owner: str | None) -> Sequence[ModelCard]:
        """Of those that `owner` may see; None sees all."""
        ...


class Changing(Source, Protocol):
    """A source of everybody's models that changes elsewhere and has to be looked at."""

    def look(self) -> None: ...

    def problems(self) -> Mapping[str, str]: ...


class ServedModels:
    """The directory: `models`, then what `following` has now, then `sources` in their order.

    `aliases` are other names for them. Raises StepladderError where a name is taken twice or an
    alias leads nowhere.
    """

    def __init__(
        self,
        models: Iterable[ServedModel] = (),
        *,
        aliases: Mapping[str, str] | None = None,
        sources: Sequence[Source] = (),
        following: Changing | None = None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._models: dict[str, ServedModel] = {}
        self._names: dict[str, str] = {}  # other names, and what they stand for
        self._sources = (*([] if following is None else [following]), *sources)
        self._following = following
        self._close = close
        try:
            for model in models:
                self._add(model)
            for alias, name in (aliases or {}).items():
                self._alias(alias, name)
        except BaseException:
            close()
            raise

    def get(self, name: str) -> ServedModel:
        """The model of that name or alias; raises Refusal (not_found) with the names there are."""
        found = self._find(self.resolve(name))
        if found is None:
            raise Refusal(
                "not_found",
                f"no model is called {name!r}",
                hint=f"known: {', '.join(self._known()) or 'none'}; --alias of the server gives "
                "one of them another name",
                param="model",
            )
        return found

    def list(self, caller: Caller) -> list[ModelCard]:
        """The cards of what the caller may use, by name; another name for one is not listed.

        Reads the database, where there are tuned models.
        """
        return [*self._cards(None if caller.role == "admin" else caller.id)]

    def cards(self) -> Sequence[ModelCard]:
        """The cards of all there are, by name."""
        return self._cards(None)

    @property
    def aliases(self) -> Mapping[str, str]:
        """Other names, and the name that each stands for."""
        return self._names

    def resolve(self, name: str) -> str:
        """The name of the model that `name` is another name for; any other name as it is."""
        return self._names.get(name, name)

    def open_model_name(self, name: str) -> str:
        """The open model, `local:...`, whose weights are tuned for callers who name `name`.

        Raises Refusal: there is no such model (not_found), or its weights are not here (invalid).
        """
        found = _full_name(self.get(name))
        if not found.startswith(LOCAL):
            raise Refusal(
                "invalid",
                f"the model {name!r} cannot be tuned here",
                hint=f"those that can: {', '.join(self._tunable()) or 'none'}",
                param="model",
            )
        return found

    async def follow(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Look for changes now and then, until cancelled; what is loaded is loaded in a thread."""
        while self._following is not None:
            await sleep(LOOK_SECONDS)
            await asyncio.to_thread(self._following.look)

    def problems(self) -> Sequence[str]:
        """What is not served as it should be; empty when all is well."""
        if self._following is None:
            return []
        return [f"{place}: {why}" for place, why in self._following.problems().items()]

    def close(self) -> None:
        """Free what the models hold."""
        self._close()

    def _add(self, model: ServedModel) -> None:
        name = model.card.name
        if self._find(name) is not None:
            raise StepladderError(
                f"two of the models to serve are called {name!r}",
                hint="leave one out, or give the task or folder another name",
            )
        self._models[name] = model
        if (full := _full_name(model)) != name:
            self._names[full] = name

    def _alias(self, alias: str, name: str) -> None:
        target = self.resolve(name)
        if self._find(alias) is not None:
            raise StepladderError(
                f"the alias {alias!r} is the name of a served model", hint="leave the alias out"
            )
        if self._find(target) is None:
            raise StepladderError(
                f"the alias {alias!r} stands for {name!r}, which is not served",
                hint=f"known: {', '.join(self._known()) or 'none'}",
            )
        self._names[alias] = target

    def _find(self, name: str) -> ServedModel | None:
        if name in self._models:
            return self._models[name]
        for source in self._sources:
            if (model := source.get(name)) is not None:
                return model
        return None

    def _cards(self, owner: str | None) -> Sequence[ModelCard]:
        cards = [model.card for model in self._models.values()]
        for source in self._sources:
            cards += source.cards(owner)
        return sorted(cards, key=lambda card: card.name)

    def _known(self) -> Sequence[str]:
        """Everybody's names; those of tuned models are their owners' affair."""
        found = {*self._models, *self._names}
        if self._following is not None:
            found |= {card.name for card in self._following.cards(None)}
        return sorted(found)

    def _tunable(self) -> Sequence[str]:
        models = self._models.items()
        return sorted(name for name, model in models if _full_name(model).startswith(LOCAL))


def _full_name(model: ServedModel) -> str:
    """With its provider, where it has one."""
    return str(getattr(model, "full_name", model.card.name))
