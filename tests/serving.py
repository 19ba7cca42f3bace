"""Served models for tests: a live engine that needs no model under the real text layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from stepladder.fake_live import FakeEngine, FakeTokenizer
from stepladder.serve import Caller, EmbedAsk, Embedded, ModelCard, Refusal, ServedModel
from stepladder.serve.served.local import LocalServed
from stepladder.serve.server import Server

__all__ = ["FakeEncoder", "FixedModels", "RunningServer", "fake_card", "fake_models"]

BORN = datetime(2026, 11, 22, tzinfo=UTC)


@dataclass(frozen=True)
class RunningServer:
    """A server on a port of this machine, in a thread of the test's process."""

    url: str
    server: Server
    engine: FakeEngine


class FakeEncoder:
    """Embeds by counting letters: vectors of four; it reads 100 words of a text, letters of all."""

    most_words = 100

    def __init__(self) -> None:
        self.card = ModelCard("fake-encoder", "encoder", BORN, "1", dimensions=4)

    async def embed(self, ask: EmbedAsk) -> Embedded:
        size = ask.dimensions or 4
        words = [len(text.split()) for text in ask.texts]
        cut = [count > self.most_words for count in words]
        if any(cut) and not ask.cut_long:
            raise Refusal("invalid", "too long", param="input", detail="context_length")
        vectors = [[float(text.count(letter)) for letter in "aeio"][:size] for text in ask.texts]
        return Embedded(vectors, [min(count, self.most_words) for count in words], cut)

    def generate(self, ask: object) -> object:
        raise Refusal("unsupported", "the model 'fake-encoder' only embeds", param="model")

    async def count_tokens(self, ask: object) -> int:
        raise Refusal("unsupported", "the model 'fake-encoder' only embeds", param="model")


class FixedModels:
    """What `ServedModels` offers, over models that are there already."""

    def __init__(
        self, models: Mapping[str, ServedModel], aliases: Mapping[str, str] | None = None
    ) -> None:
        self.models = dict(models)
        self.aliases = dict(aliases or {})

    def resolve(self, name: str) -> str:
        return self.aliases.get(name, name)

    def get(self, name: str) -> ServedModel:
        model = self.models.get(self.resolve(name))
        if model is None:
            raise Refusal(
                "not_found", f"no model is called {name!r}",
                hint=f"known: {', '.join(sorted(self.models))}", param="model",
            )  # fmt: skip
        return model

    def list(self, caller: Caller) -> list[ModelCard]:
        return [
            model.card
            for model in self.models.values()
            if model.card.owner in (None, caller.id) or caller.role == "admin"
        ]

    def open_model_name(self, name: str) -> str:
        return f"local:{self.get(name).card.name}"

    async def follow(self) -> None:
        """Nothing changes here."""

    def problems(self) -> Sequence[str]:
        """There are none."""
        return []

    def close(self) -> None:
        """Nothing is open here."""


def fake_card(name: str = "fake") -> ModelCard:
    return ModelCard(
        name, "base", BORN, "1", title="Fake", context_tokens=8192, most_output_tokens=2048
    )


def fake_models(engine: FakeEngine, aliases: Mapping[str, str] | None = None) -> FixedModels:
    """The models "fake" (says the last user's turn back) and "fake-encoder"."""
    said = LocalServed(fake_card(), engine, FakeTokenizer())
    return FixedModels({"fake": said, "fake-encoder": FakeEncoder()}, aliases)  # type: ignore[dict-item]
