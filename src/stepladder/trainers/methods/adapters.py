"""LoRA and its two variants: small matrices beside the linear layers, by PEFT.

LoRA is Hu and others, 2021; rsLoRA (Kalajdzievski, 2023) scales by the root of the rank, so that a
high rank learns as fast as a low one; DoRA (Liu and others, 2024) learns the length of each
weight's rows apart from their direction, at the price of more work in every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import ModelError
from .. import TrainingJob
from ..batches import Learnable
from ..quiet import quiet

__all__ = ["grow", "merged"]


def grow(model: Any, job: TrainingJob, rows: Sequence[Learnable]) -> Any:
    """The model with an adapter that learns: a new one, or the job's `start`."""
    return _grown(model, job) if job.start is None else _going_on(model, job.start, job)


def merged(model: Any, job: TrainingJob) -> Any:
    """The base as it lies on disk, in float32, with the adapter added to its weights.

    The model that learned is not it: its weights may be rounded, or held in four bits.
    """
    import peft
    import torch
    import transformers

    with quiet():
        base = transformers.AutoModelForCausalLM.from_pretrained(
            job.folder, dtype=torch.float32, trust_remote_code=False, local_files_only=True
        )
        config = replace(model.peft_config["default"], base_model_name_or_path=None)
        whole: Any = peft.get_peft_model(base, config)
    learned = {name: weight for name, weight in model.named_parameters() if "lora_" in name}
    with torch.no_grad():
        for name, weight in whole.named_parameters():
            if name in learned:
                weight.copy_(learned[name].to(weight.device))
    return whole.merge_and_unload()


def _grown(model: Any, job: TrainingJob) -> Any:
    """The model with a new adapter on its linear layers."""
    import peft

    options = job.options
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=list(options.target_modules) or "all-linear",
        use_dora=options.method == "dora",
        use_rslora=options.method == "rslora",
    )
    with quiet():
        try:
            return peft.get_peft_model(model, config)
        except ValueError as error:  # target_modules that this model does not have
            raise ModelError(
                f"LoRA cannot be put on this model: {error}",
                hint="leave target_modules out to adapt every linear layer",
            ) from error


def _going_on(model: Any, start: Path, job: TrainingJob) -> Any:
    """The model with the adapter in `start`, which learns on."""
    import peft

    with quiet():
        try:
            adapted = peft.PeftModel.from_pretrained(model, start, is_trainable=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(
                f"cannot go on from the adapter in {str(start)!r}: {error}",
                hint="it has to be a LoRA adapter of the same base model",
            ) from error
    config: Any = adapted.peft_config["default"]
    rank = getattr(config, "r", None)
    if rank != job.options.rank:
        raise ModelError(
            f"the adapter to go on from has rank {rank}, and {job.options.rank} was asked for",
            hint="leave the rank out, or tune the base model anew",
        )
    return adapted
