"""What is served, by every name that it answers to: for the lists of models, and the home page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Caller, ModelCard

if TYPE_CHECKING:
    from .server import Server

__all__ = ["named_cards"]


def named_cards(server: Server, caller: Caller) -> list[tuple[str, ModelCard]]:
    """The names that the caller may use, aliases among them, in order; tuned models left out.

    Reads the database, where there are tuned models.
    """
    cards = {card.name: card for card in server.models.list(caller) if card.kind != "tuned"}
    targets = {alias: server.models.resolve(alias) for alias in server.settings.aliases}
    others = {alias: cards[name] for alias, name in targets.items() if name in cards}
    return sorted({**cards, **others}.items(), key=lambda found: found[0])
