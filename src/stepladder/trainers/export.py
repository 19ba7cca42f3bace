"""A trained model to files that can be served: the adapter, and the whole model merged.

Both are written beside their place and renamed into it, so that a half-written folder is never
taken for a model.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core import Json
from ..errors import ModelError

__all__ = [
    "bytes_in", "copy_base", "put", "save_adapter", "save_merged", "scratch_beside",
    "write_weights",
]  # fmt: skip


def save_adapter(model: Any, base: str, folder: Path) -> None:
    """Write a PEFT model's adapter: adapter_config.json and adapter_model.safetensors."""
    scratch = scratch_beside(folder)
    for config in model.peft_config.values():
        config.base_model_name_or_path = base
    model.save_pretrained(scratch, save_embedding_layers=False)
    (scratch / "README.md").unlink(missing_ok=True)  # a form to fill in; ours is training.json
    put(scratch, folder)


def save_merged(model: Any, base: Path, folder: Path, job: str) -> None:
    """Write weights in float16, marked with the job's name, and the base folder's other files.

    Raises ModelError when a weight does not fit into float16.
    """
    scratch = scratch_beside(folder)
    write_weights(model, model.state_dict(), scratch, job)
    copy_base(base, scratch, {})
    put(scratch, folder)


def write_weights(model: Any, state: Mapping[str, Any], folder: Path, job: str) -> None:
    """Write a model's state in float16, without what is tied to other weights.

    float16 has three more bits of precision than bfloat16 and is what the engine computes from, so
    that nothing is rounded twice. Raises ModelError when a weight does not fit into it.
    """
    import torch
    from safetensors.torch import save_file

    tied = set(model.all_tied_weights_keys) if _is_tied(model) else set()
    weights = {
        name: tensor.detach().to("cpu", torch.float16).contiguous()
        for name, tensor in state.items()
        if name not in tied
    }
    for name, tensor in weights.items():
        if not bool(tensor.isfinite().all()):
            raise ModelError(
                f"the trained weight {name!r} does not fit into float16",
                hint="lower learning_rate, or tune a model whose weights are smaller",
            )
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt", "job": job})


def copy_base(base: Path, folder: Path, changes: Mapping[str, Json]) -> None:
    """Copy what lies beside the weights of a base; `changes` are of its configuration."""
    for path in base.iterdir():
        if path.is_file() and not path.name.startswith("model") and path.suffix in _COPIED:
            shutil.copyfile(path, folder / path.name)
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    config = {**config, **changes, "dtype": "float16"}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


_COPIED = (".json", ".jinja", ".txt", ".model")


def _is_tied(model: Any) -> bool:
    return bool(getattr(model.config, "tie_word_embeddings", False))


def scratch_beside(folder: Path) -> Path:
    """An empty folder to write in what `put` then makes `folder`."""
    scratch = folder.with_name(f".unfinished-{folder.name}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    return scratch


def put(scratch: Path, folder: Path) -> None:
    """Make what was written the folder, at once."""
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(scratch, folder)


def bytes_in(folder: Path) -> int:
    """How much room the files of a folder take."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
