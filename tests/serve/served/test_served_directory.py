"""Served models by name: whose they are, what they are also called, and what is tuned for them."""

from __future__ import annotations

import pytest
from served_models import card, served

from stepladder.errors import StepladderError
from stepladder.fake_live import FakeEngine, FakeTokenizer
from stepladder.serve import Caller, Refusal
from stepladder.serve.served.directory import ServedModels
from stepladder.serve.served.local import LocalServed

ANYBODY = Caller("a", "use")


@pytest.fixture
def model():  # type: ignore[no-untyped-def]
    engine = FakeEngine()
    yield served(engine)
    engine.close()


def test_a_model_is_found_by_its_names(model: LocalServed) -> None:
    models = ServedModels([model], aliases={"gemini-3.5-flash": "fake", "gpt": "local:fake"})
    for name in ("fake", "local:fake", "gemini-3.5-flash", "gpt"):
        assert models.get(name) is model
        assert models.resolve(name) == "fake"
        assert models.open_model_name(name) == "local:fake"
    assert [one.name for one in models.list(ANYBODY)] == ["fake"]
    assert models.aliases["gpt"] == "fake"


def test_an_unknown_name_is_told_with_those_there_are(model: LocalServed) -> None:
    models = ServedModels([model], aliases={"flash": "fake"})
    with pytest.raises(Refusal, match=r"no model is called 'fakir'") as caught:
        models.get("fakir")
    assert (caught.value.status, caught.value.param) == (404, "model")
    assert caught.value.hint == (
        "known: fake, flash, local:fake; --alias of the server gives one of them another name"
    )
    assert models.resolve("fakir") == "fakir"


def test_a_name_is_taken_once_and_an_alias_leads_somewhere(model: LocalServed) -> None:
    closed: list[bool] = []

    def opening(*models: LocalServed, **aliases: str) -> None:
        ServedModels(models, aliases=aliases, close=lambda: closed.append(True))

    with pytest.raises(StepladderError, match="two of the models"):
        opening(model, model)
    with pytest.raises(StepladderError, match="stands for 'nobody'"):
        opening(model, flash="nobody")
    with pytest.raises(StepladderError, match="is the name of a served model"):
        opening(model, fake="fake")
    assert closed == [True] * 3, "what was opened is closed"


def test_only_open_models_are_tuned(model: LocalServed) -> None:
    hosted = LocalServed(card("far"), model.engine, FakeTokenizer(), full_name="gemini:far")
    models = ServedModels([model, hosted])
    with pytest.raises(Refusal, match="'far' cannot be tuned") as caught:
        models.open_model_name("far")
    assert (caught.value.reason, caught.value.hint) == ("invalid", "those that can: fake")
