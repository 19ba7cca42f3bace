"""Adapters that are read: what the engine would silently leave out is refused with its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from stepladder.errors import ModelError
from stepladder.models.local.adapters import read_adapter, read_matrices

BASE = {
    "hidden_size": 8, "intermediate_size": 12, "num_attention_heads": 2,
    "num_key_value_heads": 1, "num_hidden_layers": 2,
}  # fmt: skip
PLACE = "base_model.model.model.layers.1.self_attn.k_proj"


def write(folder: Path, tensors: dict[str, tuple[int, int]] | None = None, **settings: Any) -> Path:
    folder.mkdir(exist_ok=True)
    shapes = tensors or {f"{PLACE}.lora_A.weight": (2, 8), f"{PLACE}.lora_B.weight": (4, 2)}
    values = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    safetensors.numpy.save_file(values, folder / "adapter_model.safetensors")
    given = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, **settings}
    (folder / "adapter_config.json").write_text(json.dumps(given), encoding="utf-8")
    return folder


def test_the_scale_is_alpha_by_rank_or_its_root(tmp_path: Path) -> None:
    assert read_adapter(write(tmp_path), BASE).scale == 3.0
    rooted = read_adapter(write(tmp_path, use_rslora=True), BASE)
    assert rooted.scale == pytest.approx(6 / 2**0.5)
    matrices = read_matrices(rooted)
    assert sorted(matrices) == [f"{PLACE.removeprefix('base_model.model.')}.{x}" for x in "AB"]
    assert float(matrices[f"{PLACE.removeprefix('base_model.model.')}.B"][0, 0]) == pytest.approx(
        rooted.scale
    )


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"peft_type": "IA3"}, "peft_type"),
        ({"alpha_pattern": {"q_proj": 3}}, "alpha_pattern"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"r": None}, "rank"),
    ],
)
def test_what_is_more_than_plain_lora_is_refused(
    tmp_path: Path, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(ModelError, match=says):
        read_adapter(write(tmp_path, **settings), BASE)


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.lm_head.lora_A.weight",
        PLACE.replace("layers.1", "layers.2") + ".lora_A.weight",
        PLACE.replace("k_proj", "z_proj") + ".lora_A.weight",
        PLACE + ".weight",
    ],
)
def test_a_layer_that_the_base_does_not_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="cannot adapt"):
        read_adapter(write(tmp_path, {name: (2, 8)}), BASE)


def test_another_bases_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="another base"):
        read_adapter(write(tmp_path, {f"{PLACE}.lora_A.weight": (2, 9)}), BASE)


def test_a_folder_without_an_adapter_is_told_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as raised:
        read_adapter(tmp_path / "nothing", BASE)
    assert "'nothing'" in raised.value.message
    assert str(tmp_path) not in raised.value.message


def test_damaged_files_are_told(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "adapter_model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ModelError, match="cannot be read"):
        read_adapter(folder, BASE)
