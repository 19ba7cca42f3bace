"""Served models over the real engine: what they say is what was measured, each with its adapter."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from models.tiny_adapters import make_adapter
from served_models import ask, events_of, text_of
from trainers.tiny import make_model

from stepladder.core import Request
from stepladder.database import open_database
from stepladder.database.records import TunedModel
from stepladder.models.local import LocalProvider
from stepladder.serve.served.directory import ServedModels
from stepladder.serve.served.opening import open_models
from stepladder.serve.settings import ServeSettings

pytest.importorskip("openvino_genai")
pytest.importorskip("peft")
pytestmark = pytest.mark.slow

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TEXTS = [
    f"say the {word}, please" for word in ("amber", "barn", "cedar", "delta", "ember", "fjord")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("served") / "tiny")


@pytest.fixture(scope="module")
def models(folder: Path) -> Iterator[ServedModels]:
    """The tiny model, and two that were tuned from it and are in a database."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEPLADDER_CACHE", str(folder.parent / "cache"))
        database = open_database(f"sqlite:///{folder.parent / 'served.db'}")
        for seed in (1, 2):
            adapter = make_adapter(folder, folder.parent / f"tuned-{seed}", seed).adapter
            files = {
                name: database.add_file(
                    owner="me",
                    name=name,
                    purpose="adapter",
                    media_type="application/octet-stream",
                    chunks=[(adapter / name).read_bytes()],
                ).id
                for name in ("adapter_config.json", "adapter_model.safetensors")
            }
            tuned = TunedModel(str(seed), "me", "9", "tiny", f"local:{folder}", NOW, NOW, files)
            database.add_tuned(tuned)
        settings = ServeSettings(base_models=(f"local:{folder}",), aliases={"gpt": "tiny"})
        served = open_models(settings, database)
        yield served
        served.close()
        database.close()


def said(models: ServedModels, name: str, text: str) -> str:
    return text_of(events_of(models.get(name), ask(text, max_output_tokens=12)))


def test_what_is_served_is_what_was_measured(models: ServedModels, folder: Path) -> None:
    requests = [Request(ask(text).messages, max_output_tokens=12) for text in TEXTS]
    provider = LocalProvider(folder.parent)
    measured = dict(provider.model(f"local:{folder}").generate(requests))
    provider.close()
    assert [said(models, "gpt", text) for text in TEXTS] == [
        measured[index].text for index in range(len(TEXTS))
    ]


def test_each_tuned_model_answers_with_its_own_adapter_beside_the_others(
    models: ServedModels,
) -> None:
    names = ("tiny", "1", "2")
    alone = {(name, text): said(models, name, text) for name in names for text in TEXTS[:2]}
    assert len({tuple(alone[name, text] for text in TEXTS[:2]) for name in names}) == 3

    async def together() -> dict[tuple[str, str], str]:
        async def one(name: str, text: str) -> str:
            asked = replace(ask(text), max_output_tokens=12)
            return text_of([event async for event in models.get(name).generate(asked)])

        keys = [*alone] * 3
        answers = await asyncio.gather(*(one(*key) for key in keys))
        return dict(zip(keys, answers, strict=True))

    assert asyncio.run(together()) == alone
