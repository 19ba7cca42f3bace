"""Served models by name: base models, tuned ones, bundles, encoders, and other names for them.

What a name stands for may change while the server runs: another bundle becomes current, a model is
tuned or deleted. Who may see what is told by `ModelCard.owner`; nothing here knows keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Protocol

from .. import Caller, ModelCard, Refusal, ServedModel

__all__ = ["ServedModels", "Source"]


class Source(Protocol):
    """Served models that come and go; `get` and `cards` are asked anew by every call."""

    def get(self, name: str) -> ServedModel | None: ...

    def cards(self, owner: str | None) -> Sequence[ModelCard]:
        """Of those that `owner` may see; None sees all."""
        ...


class ServedModels:
    """The directory. `aliases` are other names; `sources` are asked in their order."""

    def __init__(
        self,
        models: Iterable[ServedModel] = (),
        *,
        aliases: Mapping[str, str] | None = None,
        sources: Sequence[Source] = (),
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._models = {model.card.name: model for model in models}
        self._aliases = dict(aliases or {})
        self._sources = tuple(sources)
        self._close = ExitStack()
        self._close.callback(close)

    def get(self, name: str) -> ServedModel:
        """The model of that name or alias; raises Refusal (not_found) with the names there are."""
        canonical = self.resolve(name)
        found = self._find(canonical)
        if found is None:
            known = sorted({*self._models, *self._aliases})
            raise Refusal(
                "not_found",
                f"no model is called {name!r}",
                hint=f"known: {', '.join(known) or 'none'}",
                param="model",
            )
        return found

    def list(self, caller: Caller) -> list[ModelCard]:
        """The cards of what the caller may use, by name; another name for one is not listed."""
        owner = None if caller.role == "admin" else caller.id
        cards = [model.card for model in self._models.values()]
        for source in self._sources:
            cards += source.cards(owner)
        return sorted(cards, key=lambda card: card.name)

    def resolve(self, name: str) -> str:
        """The name itself, or that of the model which it is another name for."""
        bare = self._aliases.get(name, name)
        return bare.removeprefix("local:")

    def close(self) -> None:
        """Free what the models hold."""
        self._close.close()

    def _find(self, name: str) -> ServedModel | None:
        if name in self._models:
            return self._models[name]
        for source in self._sources:
            if (model := source.get(name)) is not None:
                return model
        return None
