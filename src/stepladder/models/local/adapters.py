"""LoRA adapters of a local base model: read, checked against the base, one at a time in use.

Reads PEFT's folders (`adapter_config.json` and `adapter_model.safetensors`). What the engine would
silently leave out (other layers, other kinds of adapter) is refused here. Which adapter is used
when is decided in `turns.py`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import ModelError
from ...messages import Json
from .graph import LINEAR
from .ir import float_values

__all__ = ["AdapterFile", "adaptable", "linear_sizes", "read_adapter", "read_matrices"]

_PREFIX = "base_model.model."
_NAME = re.compile(
    re.escape(_PREFIX) + r"(model\.layers\.(\d+)\.([a-z_.]+))\.lora_([AB])(?:\.default)?\.weight"
)
# settings of PEFT under which the plain product of two matrices is not the whole adapter
_NOT_PLAIN = (
    "use_dora", "use_qalora", "use_bdlora", "fan_in_fan_out", "modules_to_save", "alpha_pattern",
    "rank_pattern", "layer_replication", "trainable_token_indices", "lora_bias",
    "target_parameters",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AdapterFile:
    """The matrices of an adapter on disk; what they add to a weight is `scale` * B @ A.

    `stamp` changes when the files do: the same folder with other weights is another adapter.
    """

    path: Path
    scale: float
    stamp: tuple[str, int, int, int]


def read_adapter(folder: Path, base: Mapping[str, Json]) -> AdapterFile:
    """The adapter in `folder`, checked against the base model's config.

    Raises ModelError when it is not a plain LoRA adapter of that base.
    """
    path = folder / "adapter_model.safetensors"
    settings_path = folder / "adapter_config.json"
    try:
        settings = json.loads(settings_path.read_text(encoding="utf-8"))
        shapes = _shapes(path)
        state, settings_state = path.stat(), settings_path.stat()
    except (OSError, ValueError, KeyError) as error:
        why = error.strerror if isinstance(error, OSError) else error  # without the whole path
        raise ModelError(
            f"the adapter in {folder.name!r} cannot be read: {why}",
            hint="the folder needs adapter_config.json and adapter_model.safetensors, as PEFT "
            "writes them",
        ) from error
    _check_settings(folder, settings)
    _check_shapes(folder, shapes, base, settings["r"])
    rank = settings["r"]
    scale = settings["lora_alpha"] / (math.sqrt(rank) if settings.get("use_rslora") else rank)
    stamp = (str(path), state.st_mtime_ns, state.st_size, settings_state.st_mtime_ns)
    return AdapterFile(path, scale, stamp)


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor, from the file's header alone."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if not 0 < size < 1 << 24:
            raise ValueError(f"{path.name} is no safetensors file")
        header = json.loads(file.read(size))
    return {
        name: tuple(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"
    }


def _check_settings(folder: Path, settings: Mapping[str, Json]) -> None:
    used = [name for name in _NOT_PLAIN if settings.get(name)]
    if settings.get("bias", "none") != "none":
        used.append("bias")
    if settings.get("peft_type") != "LORA":
        used.append("peft_type")
    if used:
        raise ModelError(
            f"the adapter in {folder.name!r} is more than plain LoRA: {', '.join(used)}",
            hint="merge it into its base model and serve that folder as a model of its own",
        )
    if not (isinstance(settings.get("r"), int) and settings["r"] > 0 and "lora_alpha" in settings):
        raise ModelError(
            f"the adapter in {folder.name!r} does not say its rank and alpha",
            hint="adapter_config.json needs r and lora_alpha",
        )


def _check_shapes(
    folder: Path, shapes: Mapping[str, tuple[int, ...]], base: Mapping[str, Json], rank: int
) -> None:
    sizes = linear_sizes(base)
    for name, shape in shapes.items():
        found = _NAME.fullmatch(name)
        if found is None or found[3] not in LINEAR or int(found[2]) >= base["num_hidden_layers"]:
            raise ModelError(
                f"the adapter in {folder.name!r} changes {name!r}, which this base cannot adapt",
                hint=f"adapt only {', '.join(LINEAR)} of this base model, or merge the adapter",
            )
        narrow, wide = sizes[found[3]]
        if shape != ((rank, narrow) if found[4] == "A" else (wide, rank)):
            raise ModelError(
                f"the adapter in {folder.name!r} is for another base model: {name!r} has the "
                f"shape {list(shape)}",
                hint="serve it on the base model that it was trained on",
            )


def linear_sizes(base: Mapping[str, Json]) -> dict[str, tuple[int, int]]:
    """(inputs, outputs) of each of `LINEAR` in a model with this config."""
    hidden, inner, heads = (
        base["hidden_size"], base["intermediate_size"], base["num_attention_heads"],
    )  # fmt: skip
    head = base.get("head_dim") or hidden // heads
    queries, keys = heads * head, base.get("num_key_value_heads", heads) * head
    return {
        "self_attn.q_proj": (hidden, queries),
        "self_attn.k_proj": (hidden, keys),
        "self_attn.v_proj": (hidden, keys),
        "self_attn.o_proj": (queries, hidden),
        "mlp.gate_proj": (hidden, inner),
        "mlp.up_proj": (hidden, inner),
        "mlp.down_proj": (inner, hidden),
    }


def read_matrices(adapter: AdapterFile) -> dict[str, npt.NDArray[np.float32]]:
    """A of each adapted layer under "layer.A", B times the scale under "layer.B"."""
    import safetensors

    matrices = {}
    for name, tensor in safetensors.deserialize(adapter.path.read_bytes()):  # type: ignore[no-untyped-call]
        found = _NAME.fullmatch(name)
        if found is None:  # the file has changed since it was checked
            raise ModelError(
                f"the adapter {adapter.path.parent.name!r} was changed while it was in use",
                hint="write an adapter into a new folder",
            )
        values = float_values(name, tensor).astype(np.float32)
        scale = np.float32(adapter.scale if found[4] == "B" else 1.0)
        matrices[f"{found[1]}.{found[4]}"] = values * scale
    return matrices


def adaptable(base: Mapping[str, Json]) -> Any:
    """The `AdapterConfig` to open a pipeline with that takes any adapter later, of any rank.

    Its adapter changes nothing and names every layer that others may change.
    """
    import openvino
    import openvino_genai as genai
    import safetensors.numpy

    tensors = {}
    for layer in range(base["num_hidden_layers"]):
        for name, (narrow, wide) in linear_sizes(base).items():
            place = f"{_PREFIX}model.layers.{layer}.{name}"
            tensors[f"{place}.lora_A.weight"] = np.zeros((1, narrow), np.float32)
            tensors[f"{place}.lora_B.weight"] = np.zeros((wide, 1), np.float32)
    raw = np.frombuffer(safetensors.numpy.save(tensors), dtype=np.uint8)
    return genai.AdapterConfig(genai.Adapter(openvino.Tensor(raw.copy())))
