"""What is exported answers as it was measured, says where it is from, and is whole or not there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from stepladder.cli import app
from stepladder.errors import StepladderError
from stepladder.exports import export
from stepladder.exports.remeasuring import NotExported
from stepladder.models.local.ir import read_weights
from stepladder.report.exports import exported_text

pytest.importorskip("torch")
pytest.importorskip("peft")


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def hashes(run: Path) -> dict[str, str]:
    return dict(json.loads((run / "run.json").read_text())["data"])


def test_the_whole_model_and_its_card(tuned: Path, tmp_path: Path) -> None:
    done = export(tuned, "merged", tmp_path / "out")
    assert (done.check.n, done.check.differing, done.licence) == (30, 0, "MIT")
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md"} <= files(done.folder)
    assert (done.folder / "LICENSE").read_text() == "do as you like"
    card = (done.folder / "README.md").read_text()
    assert "license: mit" in card
    assert "30 of 30 answers on dev alike" in card
    assert all(digest in card for digest in hashes(tuned).values())
    assert "learning_rate = 0.01" in card
    assert "paint it" not in card, "no example of the data is in it"
    assert "paint it" not in (done.folder / "export.json").read_text()
    assert "30 of 30 alike" in exported_text(done)


def test_an_adapter_is_put_on_its_base_by_peft(tuned: Path, tmp_path: Path) -> None:
    done = export(tuned, "adapter", tmp_path / "out")
    assert {"adapter_config.json", "adapter_model.safetensors"} <= files(done.folder)
    assert done.check.passed
    assert "it fits one base" in (done.folder / "README.md").read_text()


@pytest.mark.parametrize("quantisation", ["f16", "q8_0"])
def test_gguf_is_read_back(
    tuned: Path, tmp_path: Path, quantisation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepladder.exports.language_models.have_llama_cpp", lambda: False)
    done = export(tuned, "gguf", tmp_path / "out", quantisation=quantisation)  # type: ignore[arg-type]
    assert {"model.gguf", "Modelfile"} <= files(done.folder)
    modelfile = (done.folder / "Modelfile").read_text()
    assert modelfile.startswith("FROM ./model.gguf\n")
    assert "{{ .Prompt }}<|im_end|>\n<|im_start|>assistant\n{{ .Response }}" in modelfile
    assert any("llama.cpp itself was not asked" in note for note in done.notes)
    assert done.check.passed


def test_what_answers_otherwise_is_not_exported(
    tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(folder: Path) -> dict[str, np.ndarray]:
        return {name: np.zeros_like(values) for name, values in read_weights(folder).items()}

    monkeypatch.setattr("stepladder.exports.language_models.have_llama_cpp", lambda: False)
    monkeypatch.setattr("stepladder.exports.gguf_file.read_weights", nothing)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(NotExported, match="answers differ") as refused:
        export(tuned, "gguf", tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before, "nothing half-written is left"
    kept = json.loads((tuned / "exports" / "fine_tune-gguf.json").read_text())
    assert kept["differences"][0]["id"] == refused.value.check.differences[0].id


def test_only_a_free_folder_is_written(tuned: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years")
    with pytest.raises(StepladderError, match="is not empty"):
        export(tuned, "merged", mine)
    assert files(mine) == {"thesis.txt"}


@pytest.mark.parametrize("to", ["openvino", "onnx"])
def test_an_encoder_with_its_head(headed: Path, tmp_path: Path, to: str) -> None:
    if to == "onnx":
        pytest.importorskip("onnxruntime")
    for name in ("encoder/labels", "heads/linear"):
        done = export(headed, to, tmp_path / name, solver=name)
        assert done.check.differing == 0
        assert "head.json" in files(done.folder)
    with pytest.raises(StepladderError, match="reads words"):
        export(headed, to, tmp_path / "joined", solver="heads/joined")
    with pytest.raises(StepladderError, match="no model whose weights"):
        export(headed, "gguf", tmp_path / "gguf", solver="heads/linear")


def test_the_command(tuned: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["export", str(tuned), str(out), "--to", "merged", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["check"]["differing"] == 0
    assert (out / "README.md").is_file()
