"""From settings to served models, and nothing left open when that fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from served_models import ask, events_of, text_of

from stepladder.database import open_database
from stepladder.errors import ModelError, StepladderError
from stepladder.fake_live import FakeEngine, FakeTokenizer
from stepladder.models.live import Prompt
from stepladder.serve import Caller
from stepladder.serve.served.bases import Base, Bases, on_vllm
from stepladder.serve.served.opening import open_models
from stepladder.serve.settings import ServeSettings


class Loader:
    """Loads fake bases and remembers their engines."""

    def __init__(self) -> None:
        self.engines: list[FakeEngine] = []
        self.names: list[str] = []

    def __call__(self, name: str, artifacts: Path) -> Base:
        if name == "local:nobody":
            raise ModelError("no local model is called 'nobody'")
        self.engines.append(FakeEngine())
        self.names.append(name)
        return Base(name, self.engines[-1], FakeTokenizer(), "f" * 16)

    def all_closed(self) -> bool:
        for engine in self.engines:
            with pytest.raises(RuntimeError, match="closed"):
                engine.start(Prompt((1,), 1), lambda made: None)
        return True


def test_what_the_settings_name_is_served_until_it_is_closed(tmp_path: Path) -> None:
    loader = Loader()
    database = open_database(f"sqlite:///{tmp_path / 'served.db'}")
    settings = ServeSettings(
        base_models=("local:small", "local:org/large"), aliases={"gpt": "small", "big": "large"}
    )
    models = open_models(settings, database, load=loader)
    names = [card.name for card in models.list(Caller("a", "use")) if card.kind == "base"]
    assert names == ["large", "small"]
    assert models.open_model_name("big") == "local:org/large"
    assert text_of(events_of(models.get("gpt"), ask("hi"))) == "hi"
    assert models.get("small").card.version == "f" * 16
    assert models.problems() == []
    models.close()
    assert loader.all_closed()
    database.close()


def test_a_model_on_a_vllm_server_is_the_local_one_run_elsewhere(tmp_path: Path) -> None:
    loader = Loader()
    database = open_database(f"sqlite:///{tmp_path / 'served.db'}")
    name = "vllm:org/large-4bit=models/large"
    models = open_models(ServeSettings(base_models=("local:a", name)), database, load=loader)
    assert loader.names == ["local:a", name]
    assert models.open_model_name("large-4bit") == "local:models/large"
    assert models.get("large-4bit").card.version == f"{'f' * 16}-vllm"
    models.close()
    assert loader.all_closed()
    database.close()


def test_whoever_holds_a_model_that_runs_elsewhere_has_it_from_there() -> None:
    loader = Loader()
    bases = Bases(loader, elsewhere={"local:a": "vllm:x=a"})
    with bases.hold("local:a") as one, bases.hold("vllm:x=a") as other:
        assert one is other
    assert loader.names == ["vllm:x=a"]
    assert loader.all_closed()


@pytest.mark.parametrize("name", ["local:a", "vllm:a", "vllm:=a", "vllm:a=", "openai:a=b"])
def test_other_names_are_no_models_on_a_vllm_server(name: str) -> None:
    assert on_vllm(name) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ServeSettings(base_models=("local:a", "local:nobody")), "nobody"),
        (ServeSettings(base_models=("local:a",), aliases={"x": "y"}), "stands for 'y'"),
        (ServeSettings(base_models=("local:a", "local:org/a")), "two of the models"),
        (
            ServeSettings(base_models=("local:a",), bundles=(Path("nowhere"),)),
            "nothing was deployed",
        ),
        (ServeSettings(base_models=("local:a", "martian:b")), "no provider is called 'martian'"),
    ],
)
def test_what_cannot_be_opened_leaves_nothing_open(
    settings: ServeSettings, message: str, tmp_path: Path
) -> None:
    loader = Loader()
    database = open_database(f"sqlite:///{tmp_path / 'served.db'}")
    with pytest.raises(StepladderError, match=message):
        open_models(settings, database, load=loader)
    assert loader.engines
    assert loader.all_closed()
    database.close()


def test_a_base_is_loaded_once_for_all_who_hold_it() -> None:
    loader = Loader()
    bases = Bases(loader)
    with bases.hold("local:a") as one, bases.hold("local:a") as other, bases.hold("local:b"):
        assert one is other
        assert len(loader.engines) == 2
    assert loader.all_closed()
    with bases.hold("local:a") as again:
        assert again is not one
