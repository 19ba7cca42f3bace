"""How much memory a training takes, estimated before it begins, and how much this machine has.

The estimate adds weights, what the optimizer keeps, and activations. Its constants were set so that
it lies a sixth over the measured peak of LoRA and of full tuning on SmolLM2-135M (3.7 and 5.0 GB);
it is meant to tell what fits from what does not, not to count megabytes.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelError
from . import TrainingOptions

__all__ = ["Shape", "forget_peak", "machine_bytes", "peak_bytes", "shape_of", "training_bytes"]

PER_HIDDEN = 52.0  # bytes that a layer keeps for each token and number of its hidden state
PER_WIDE = 24.0  # the same for its wider, inner state
PER_SEEN = 8.0  # bytes for each head and pair of tokens, where attention is computed plainly
RUNTIME = 0.6e9  # torch and transformers themselves


@dataclass(frozen=True)
class Shape:
    """Sizes of a model: its weight matrices as (rows, columns), and what activations grow with."""

    parameters: int
    linear: tuple[tuple[int, int], ...]  # without embedding and head
    layers: int
    hidden: int
    wide: int
    heads: int
    vocabulary: int


def shape_of(folder: Path) -> Shape:
    """The shape of the model in a Hugging Face folder, from its configuration and file headers."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    sizes: dict[str, tuple[int, ...]] = {}
    for path in folder.glob("*.safetensors"):
        sizes.update(_header(path))
    linear = tuple(
        (size[0], size[1])
        for name, size in sizes.items()
        if len(size) == 2 and "embed" not in name and "lm_head" not in name
    )
    hidden = config.get("hidden_size") or config.get("n_embd") or 0
    return Shape(
        parameters=sum(math.prod(size) for size in sizes.values()),
        linear=linear,
        layers=config.get("num_hidden_layers") or config.get("n_layer") or 0,
        hidden=hidden,
        wide=config.get("intermediate_size") or 4 * hidden,
        heads=config.get("num_attention_heads") or config.get("n_head") or 1,
        vocabulary=config.get("vocab_size") or 0,
    )


def training_bytes(shape: Shape, options: TrainingOptions, longest: int) -> float:
    """Bytes at the peak of a step on batches of `tokens_per_batch`, the longest row `longest`."""
    learn = _learning(shape, options)
    weights = (0.7 if options.method == "qlora" else 4.0) * shape.parameters
    optimizer = 12.0 * learn + 4.0 * (learn if options.method not in ("full", "freeze") else 0)
    copies = 2.0 * sum(rows * columns for rows, columns in shape.linear)  # in bfloat16
    tokens = max(options.tokens_per_batch, longest)
    each = PER_HIDDEN * shape.hidden + PER_WIDE * shape.wide + PER_SEEN * shape.heads * longest
    kept = (
        4.0 * shape.hidden * shape.layers + each if options.checkpointing else each * shape.layers
    )
    if options.method == "freeze" and shape.layers:
        kept *= options.layers / shape.layers
    logits = 10.0 * tokens * shape.vocabulary / 2  # half of the tokens are answers
    return RUNTIME + weights + optimizer + copies + tokens * kept + logits


def machine_bytes(device: str) -> float:
    """The memory a training may use at most: the GPU's, or the machine's or container's.

    What is free changes by the minute, and with it would the choices; what there is does not.
    """
    if device != "cpu":
        import torch

        if torch.cuda.is_available():
            return float(torch.cuda.get_device_properties(0).total_memory)
    found = [_in_kib("/proc/meminfo", "MemTotal:")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            found.append(float(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return min(found)


def forget_peak() -> None:
    """Begin to measure this process's peak anew, where the system lets it (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:  # then the peak is the one of the process's life
        return


def peak_bytes(device: Any) -> int | None:
    """The most memory held since `forget_peak`: on a GPU by torch, else by this whole process.

    None where the system does not say.
    """
    if device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    peak = _in_kib("/proc/self/status", "VmHWM:")
    return None if peak == math.inf else int(peak)


def _in_kib(path: str, key: str) -> float:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux: nothing is known, and nothing is held back for it
        return math.inf
    return next(
        (1024.0 * float(line.split()[1]) for line in lines if line.startswith(key)), math.inf
    )


def _learning(shape: Shape, options: TrainingOptions) -> float:
    """How many numbers learn."""
    if options.method == "full":
        return shape.parameters
    if options.method == "freeze":
        return sum(rows * columns for rows, columns in shape.linear) * (
            options.layers / max(1, shape.layers)
        )
    if options.method == "prompt":
        return options.virtual_tokens * shape.hidden
    if options.method == "prefix":
        return 2.0 * options.virtual_tokens * shape.hidden * shape.layers
    return options.rank * sum(rows + columns for rows, columns in shape.linear)


def _header(path: Path) -> Mapping[str, tuple[int, ...]]:
    """Names and sizes of the tensors in a safetensors file, without reading them."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
    except (OSError, ValueError, struct.error) as error:
        raise ModelError(
            f"{path.name} is damaged: {error}", hint="fetch or save the model again"
        ) from error
    return {name: tuple(one["shape"]) for name, one in header.items() if name != "__metadata__"}
