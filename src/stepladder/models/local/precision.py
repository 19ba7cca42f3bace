"""Which numbers this machine computes in: bfloat16 where it has units for them, else float32.

Asked once per process of the library that will compute, since each knows its own fast paths. Many
laptops have no such units: there bfloat16 is slower than float32, or refused.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

__all__ = ["Precision", "has_bfloat16", "openvino_precision"]

Precision = Literal["bf16", "f32"]


@cache
def openvino_precision() -> Precision:
    """What OpenVINO's CPU device is to compute in."""
    import openvino

    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if "BF16" in able else "f32"


def has_bfloat16(device: Any) -> bool:
    """Whether torch multiplies bfloat16 matrices faster than float32 ones on this device."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    able = torch.cpu.get_capabilities()
    return any(able.get(kind, False) for kind in ("avx512_bf16", "amx_bf16", "bf16"))
