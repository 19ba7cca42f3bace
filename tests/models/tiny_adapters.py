"""Random LoRA adapters of a tiny model, and the same weights merged, for what they must say."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Tuned", "make_adapter"]


@dataclass(frozen=True)
class Tuned:
    """An adapter's folder, and the folder of its base model with the adapter merged in float32."""

    adapter: Path
    merged: Path


def make_adapter(base: Path, folder: Path, seed: int, dtype: str = "float32", **lora: Any) -> Tuned:
    """An adapter that changes most of what its base says."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", **lora}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # one library's about the other
        adapted = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **settings))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                fresh = torch.randn(weight.shape) * (0.2 if "lora_B" in name else 0.1)
                weight.copy_(fresh.to(getattr(torch, dtype)))
    if dtype != "float32":
        for name, module in adapted.named_modules():
            if "lora_" in name:
                module.to(getattr(torch, dtype))
    adapted.save_pretrained(folder / "adapter")
    if dtype != "float32":
        adapted.float()
    merged = folder / "merged"
    adapted.merge_and_unload().save_pretrained(merged)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(base / name, merged / name)
    return Tuned(folder / "adapter", merged)
