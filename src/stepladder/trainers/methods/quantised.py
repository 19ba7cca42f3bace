"""QLoRA: LoRA over a base whose weights are held in four bits (Dettmers and others, 2023).

It saves memory, not time: the weights are widened for every product. What is served is the base as
it was, with the adapter added to it, not the four bits; the held-out loss of that is measured.
Runs on a CPU as well as on CUDA as far as bitsandbytes does; only CPUs have been tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import ModelError
from ...registry import need
from .. import TrainingJob
from ..batches import Learnable
from .adapters import grow as grow_adapter

__all__ = ["four_bits", "grow"]


def four_bits(job: TrainingJob, device: Any) -> dict[str, Any]:
    """What transformers loads the base with: NF4 blocks, their scales quantised once more.

    Raises MissingExtra without bitsandbytes, ModelError where it has nothing for this machine.
    """
    need("bitsandbytes", extra="qlora", what="QLoRA")
    import torch
    import transformers

    if device.type not in ("cpu", "cuda"):
        raise ModelError(
            f"QLoRA has no four-bit products on a device of type {device.type!r}",
            hint="use method 'lora'",
        )
    config = transformers.BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {
        "quantization_config": config,
        "dtype": torch.float32,
        "device_map": {"": device},
    }


def grow(model: Any, job: TrainingJob, rows: Sequence[Learnable]) -> Any:
    """The quantised model with an adapter that learns."""
    model.requires_grad_(False)
    for module in model.modules():
        # On a CPU a weight is repacked when it is first used for an evaluation, and the product of
        # that form has no gradient: training on after a look at the held-out loss would learn wrong
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return grow_adapter(model, job, rows)
