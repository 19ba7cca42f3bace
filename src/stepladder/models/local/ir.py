"""Hugging Face folder in, OpenVINO engine folder out: the model as a graph, weights as float16.

Building the graph from `config.json` and the safetensors takes seconds and needs neither torch nor
an exporter, and the same function serves base models, merged adapters and fully tuned weights.
Covers the Llama family (Llama, SmolLM, Qwen2, Mistral without sliding window); others run through
transformers.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from ...errors import ModelError
from .graph import build

__all__ = ["PREFIX", "engine_folder", "float_values", "read_weights", "supports"]

_FAMILIES = ("llama", "qwen2", "mistral")

PREFIX = "prefix"  # the folder in a model's where keys and values before every input lie


def supports(folder: Path) -> bool:
    """Whether the model in this Hugging Face folder can be built here."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    return (
        config.get("model_type") in _FAMILIES
        and not (folder / PREFIX).exists()
        and config.get("hidden_act", "silu") == "silu"
        and kind == "default"
        and not config.get("use_sliding_window", False)
        and not (config["model_type"] == "mistral" and config.get("sliding_window"))
    )


def engine_folder(folder: Path, target: Path) -> Path:
    """The OpenVINO form of `folder`, built at `target` if it is not there yet."""
    if (target / "openvino_model.xml").is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(str(target) + ".lock"):
        if not (target / "openvino_model.xml").is_file():
            scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix="engine-"))
            try:
                _write_engine(folder, scratch)
                os.replace(scratch, target)
            except BaseException:
                shutil.rmtree(scratch, ignore_errors=True)
                raise
    return target


def _write_engine(folder: Path, target: Path) -> None:
    import openvino
    import openvino_tokenizers

    from .tokenizer import load_tokenizer

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    openvino.save_model(build(config, read_weights(folder)), target / "openvino_model.xml", False)
    tokenizer = load_tokenizer(folder).tokenizer
    encoder, decoder = openvino_tokenizers.convert_tokenizer(tokenizer, with_detokenizer=True)
    openvino.save_model(encoder, target / "openvino_tokenizer.xml")
    openvino.save_model(decoder, target / "openvino_detokenizer.xml")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(folder / name, target / name)
    defaults = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    (target / "generation_config.json").write_text(json.dumps(defaults), encoding="utf-8")


def read_weights(folder: Path) -> Mapping[str, np.ndarray[Any, Any]]:
    """All tensors of a folder by name, as float16."""
    import safetensors

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(
            f"the folder {folder.name!r} has no *.safetensors",
            hint="save the model with safe_serialization; pickled weights are never loaded",
        )
    weights: dict[str, np.ndarray[Any, Any]] = {}
    for file in files:
        try:
            for name, tensor in safetensors.deserialize(file.read_bytes()):  # type: ignore[no-untyped-call]
                weights[name] = _float16(name, tensor)
        except safetensors.SafetensorError as error:
            raise ModelError(
                f"{file.name} is damaged: {error}", hint="fetch or save the model again"
            ) from error
    return weights


def float_values(name: str, tensor: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """The values of a deserialised tensor, in float32 unless they are stored in float16."""
    kind, raw = tensor["dtype"], tensor["data"]
    if kind == "BF16":  # NumPy has no bfloat16: it is the upper half of a float32
        wide = np.frombuffer(raw, dtype=np.uint16).astype(np.uint32) << 16
        return wide.view(np.float32).reshape(tensor["shape"])
    if kind in _FLOATS:
        return np.frombuffer(raw, dtype=_FLOATS[kind]).reshape(tensor["shape"])
    raise ModelError(
        f"the weight {name!r} is stored as {kind}",
        hint="only float16, bfloat16 and float32 weights are supported",
    )


def _float16(name: str, tensor: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    values = float_values(name, tensor)
    with np.errstate(over="ignore", invalid="ignore"):  # looked at in the next line
        narrow = values.astype(np.float16)
    if not np.isfinite(narrow).all():
        raise ModelError(
            f"the weight {name!r} has values that are no numbers or do not fit into float16",
            hint="the weights are damaged, or the model needs wider floats than this engine keeps",
        )
    return narrow


_FLOATS: Mapping[str, Any] = {"F16": np.float16, "F32": np.float32}
