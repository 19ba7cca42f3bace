"""Model folders as they come: any float, in shards, damaged, pickled, or of another family."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_families import ask, greedy, make_family, write_config

from stepladder.errors import ModelError
from stepladder.models.local import LocalProvider
from stepladder.models.local.graph import build
from stepladder.models.local.ir import engine_folder, read_weights, supports

pytest.importorskip("openvino_genai")
pytest.importorskip("torch")


@pytest.fixture
def folder(llama: Path, tmp_path: Path) -> Path:
    """A copy that the test may write into."""
    return Path(shutil.copytree(llama, tmp_path / "copy"))


def rewrite(folder: Path, change: Any) -> None:
    """Every weight through `change`, saved again."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    save_file({name: change(tensor) for name, tensor in load_file(path).items()}, path)


def assert_same(first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
def test_floats_of_every_width_are_read_alike(folder: Path, kind: str) -> None:
    import torch

    # eight bits of precision fit into all three
    rewrite(folder, lambda tensor: tensor.to(torch.bfloat16).to(torch.float16))
    expected = read_weights(folder)
    rewrite(folder, lambda tensor: tensor.to(getattr(torch, kind)))
    assert_same(read_weights(folder), expected)


def test_shards_are_read_as_one(folder: Path, llama: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float16)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="100KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    assert_same(read_weights(folder), read_weights(llama))


def test_whole_numbers_are_no_weights(folder: Path) -> None:
    import torch

    rewrite(folder, lambda tensor: tensor.to(torch.int8))
    with pytest.raises(ModelError, match="stored as I8"):
        read_weights(folder)


@pytest.mark.parametrize("value", [1e6, float("nan")])
def test_a_weight_that_float16_cannot_hold_is_named(folder: Path, value: float) -> None:
    import torch

    def spoil(tensor: Any) -> Any:
        wide = tensor.to(torch.float32)
        wide.view(-1)[0] = value
        return wide

    rewrite(folder, spoil)
    with pytest.raises(ModelError, match=r"embed_tokens|layers|norm"):
        read_weights(folder)


def test_pickled_weights_are_refused(folder: Path) -> None:
    import torch

    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no \*\.safetensors") as told:
        read_weights(folder)
    assert "pickled" in told.value.hint


@pytest.mark.parametrize("keep", [0, 5, 200, 60_000])
def test_a_damaged_file_is_refused(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match="damaged"):
        read_weights(folder)


def test_a_missing_weight_is_named(folder: Path) -> None:
    weights = dict(read_weights(folder))
    del weights["model.layers.1.mlp.up_proj.weight"]
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj"):
        build(config, weights)


def test_the_engine_of_a_damaged_folder_is_not_left_half_built(
    folder: Path, tmp_path: Path
) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    target = tmp_path / "engines" / "one"
    with pytest.raises(ModelError):
        engine_folder(folder, target)
    assert [one.name for one in target.parent.iterdir()] == ["one.lock"]
    path.write_bytes(whole)
    assert engine_folder(folder, target) == target
    assert (target / "openvino_model.xml").is_file()


@pytest.mark.parametrize(
    ("change", "supported"),
    [
        ({}, True),
        ({"model_type": "gpt2"}, False),
        ({"hidden_act": "gelu"}, False),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, False),
        ({"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 2.0}}, False),
        ({"model_type": "qwen2", "use_sliding_window": True}, False),
        ({"model_type": "qwen2", "sliding_window": 4096}, True),
        ({"model_type": "mistral", "sliding_window": 4096}, False),
        ({"model_type": "mistral", "sliding_window": None}, True),
    ],
)
def test_what_the_graph_covers(folder: Path, change: dict[str, Any], supported: bool) -> None:
    write_config(folder, **change)
    assert supports(folder) is supported


def test_a_model_trained_further_is_another_model(folder: Path, tmp_path: Path) -> None:
    """Whatever weight changes, answers that are kept and engines that are built are not reused."""
    import torch

    seen = set()
    for layer in ("model.layers.0.self_attn.q_proj", "model.layers.1.mlp.gate_proj", "model.norm"):
        from safetensors.torch import load_file, save_file

        path = folder / "model.safetensors"
        weights = load_file(path)
        weights[f"{layer}.weight"] = weights[f"{layer}.weight"] + torch.tensor(0.5).half()
        save_file(weights, path)
        seen.add(LocalProvider(tmp_path).model(f"local:{folder}").fingerprint)
    assert len(seen) == 3


def test_a_change_in_the_middle_of_a_large_file_is_seen(folder: Path, tmp_path: Path) -> None:
    path = folder / "model.safetensors"
    large = bytearray(path.read_bytes() + bytes(3 << 20))
    path.write_bytes(large)
    before = LocalProvider(tmp_path).model(f"local:{folder}").fingerprint
    large[len(large) // 2] = 1
    path.write_bytes(large)
    assert LocalProvider(tmp_path).model(f"local:{folder}").fingerprint != before


def test_another_tokenizer_is_another_model(folder: Path, tmp_path: Path) -> None:
    before = LocalProvider(tmp_path).model(f"local:{folder}").fingerprint
    path = folder / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert LocalProvider(tmp_path).model(f"local:{folder}").fingerprint != before


def test_float32_and_bfloat16_answers_are_kept_apart(llama: Path, tmp_path: Path) -> None:
    names = {
        LocalProvider(tmp_path, exact=exact).model(f"local:{llama}").fingerprint
        for exact in (True, False)
    }
    assert len(names) == 2


# --- names ---------------------------------------------------------------------------------------


def test_one_engine_is_loaded_at_a_time(llama: Path, tmp_path: Path) -> None:
    other = make_family(tmp_path / "other", seed=1)
    provider = LocalProvider(tmp_path, exact=True)
    first, second = provider.model(f"local:{llama}"), provider.model(f"local:{other}")
    said = [
        answer.text for model in (first, second, first) for _, answer in model.generate([ask("x")])
    ]
    assert said[0] == said[2] != said[1]
    assert len(provider._loaded) == 1
    provider.close()


def test_a_tuned_model_is_found_among_the_artefacts(llama: Path, tmp_path: Path) -> None:
    shutil.copytree(llama, tmp_path / "0a1b" / "model")
    model = LocalProvider(tmp_path, exact=True).model("local:tuned/0a1b")
    ((_, answer),) = model.generate([ask("ann 1: red")])
    prompt = model.tokenizer.chat_ids(ask("ann 1: red").messages)
    assert answer.text == model.tokenizer.decode(greedy(llama, prompt, 12))


@pytest.mark.parametrize("identity", ["ffff", "../../etc", "", "a/b"])
def test_a_tuned_model_that_is_not_there_is_refused(tmp_path: Path, identity: str) -> None:
    with pytest.raises(ModelError, match="not among"):
        LocalProvider(tmp_path).model(f"local:tuned/{identity}")
