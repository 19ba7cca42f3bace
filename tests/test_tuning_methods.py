"""`stepladder tune-methods` as people run it, on a tiny model that is really tuned."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_here import Stepladder
from tests.trainers.tiny import COLOURS, NAMES, make_model

pytest.importorskip("torch")
pytest.importorskip("peft")
pytest.importorskip("openvino_genai")
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

TASK = """
name = "colours"
kind = "classification"
instructions = "Which colour?"
labels = ["red", "green", "blue", "grey"]
models = ["local:{model}"]

[metric]
name = "accuracy"

[target]
score = 0.9

[data]
train = "train.jsonl"
dev = "dev.jsonl"
test = "test.jsonl"
expected = "label"

[steps.fine_tune]
epochs = 4
device = "cpu"
threads = 1
learning_rate = 5e-3
max_length = 256
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "colours"
    place.mkdir()
    model = make_model(tmp_path / "tiny")
    (place / "task.toml").write_text(TASK.replace("{model}", str(model)))
    for name, start, count in (("train", 0, 60), ("dev", 100, 24), ("test", 200, 24)):
        rows = [
            {
                "id": f"{name}-{n}",
                "input": f"{NAMES[n % len(NAMES)]} {start + n}: {COLOURS[n % 4]}",
                "label": COLOURS[n % 4],
                "language": "en" if n % 3 else "nl",
            }
            for n in range(count)
        ]
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


@pytest.mark.slow
def test_methods_are_compared_with_the_first(folder: Path, stepladder: Stepladder) -> None:
    methods = "full,lora,prompt"
    done = stepladder("tune-methods", folder, "--methods", methods, "--json")
    assert done.code == 0
    record: dict[str, Any] = done.record
    full, lora, prompt = record["methods"]
    assert [one["method"] for one in record["methods"]] == methods.split(",")
    assert full["gain"] is None
    assert lora["gain"]["against"] == "full"
    assert full["low"] <= full["score"] <= full["high"]
    assert full["n"] == 24
    assert lora["adapter_bytes"] < lora["model_bytes"]
    assert full["adapter_bytes"] is None
    assert prompt["input_tokens"] == full["input_tokens"] + 16
    assert "before every prompt" in prompt["serving"]
    assert all(one["peak_bytes"] > 1e8 and one["train_seconds"] > 0 for one in record["methods"])
    again = "full,lora,freeze"
    done = stepladder("tune-methods", folder, "--methods", again)
    assert done.code == 0
    assert "served as" in done.out
    assert "chosen from the data" in done.out
    assert "language=nl, n = 8" in done.out
    assert f"{100 * full['score']:.1f}%" in done.out
    assert not (folder / "openings.jsonl").exists()


@pytest.mark.slow
def test_a_method_that_cannot_be_had_says_why(
    folder: Path, stepladder: Stepladder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    done = stepladder("tune-methods", folder, "--methods", "freeze,qlora")
    assert done.code == 0
    assert "not tried: qlora, since QLoRA needs the package 'bitsandbytes'" in done.out
    trained = {*folder.glob("runs/artifacts/*/training.json")}
    assert len(trained) == 1
    unknown = stepladder("tune-methods", folder, "--methods", "full,magic")
    assert unknown.code != 0
    assert "no method 'magic'" in unknown.err
    assert {*folder.glob("runs/artifacts/*/training.json")} == trained  # said before any training
    assert stepladder("tune-methods", folder, "--model", "openai:gpt").code != 0
