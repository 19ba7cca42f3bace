"""The base model opened for training: its device, its precision, and what is to learn in it.

Which weights learn is for `methods/`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..errors import ModelError
from ..models.local.precision import has_bfloat16
from . import TrainingJob
from .batches import Learnable
from .methods import METHODS
from .quiet import quiet

__all__ = ["chosen_device", "cores", "open_model"]

SHORT = (
    256  # tokens; up to here plain attention beats torch's fused one on a CPU (1.8 s against 2.1)
)


def open_model(job: TrainingJob, device: Any, rows: Sequence[Learnable]) -> Any:
    """The base model with what is to learn marked as requiring gradients.

    Raises ModelError where the folder is not a causal language model or the job asks of its method
    what that cannot do, MissingExtra where the method needs a package.
    """
    import transformers

    way = METHODS[job.options.method]
    if not way.adapter and (job.start is not None or job.most_kept or not job.merge):
        raise ModelError(
            "only a LoRA training goes on from an adapter, or ends in one",
            hint="leave method out, or start, most_kept and merge",
        )
    plain = device.type == "cpu" and max(map(len, rows)) <= SHORT
    try:
        with quiet():
            model: Any = transformers.AutoModelForCausalLM.from_pretrained(
                job.folder,
                trust_remote_code=False,
                local_files_only=True,
                attn_implementation="eager" if plain else "sdpa",
                **way.load(job, device),
            )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"cannot load {job.base!r} from {str(job.folder)!r} for training: {error}",
            hint="it must be a causal language model in the layout of the transformers library",
        ) from error
    model.config.use_cache = False
    if job.options.checkpointing:
        _compute_twice(model, job)
    grown = way.grow(model, job, rows).to(device)
    if has_bfloat16(device):
        from .fast import hasten

        hasten(grown, job.options)
    return grown


def _compute_twice(model: Any, job: TrainingJob) -> None:
    """Have activations dropped, and computed again when gradients need them."""
    if job.options.method == "prefix" or not model.supports_gradient_checkpointing:
        who = "method 'prefix'" if job.options.method == "prefix" else repr(job.base)
        raise ModelError(
            f"activations cannot be computed twice by {who}", hint="leave checkpointing out"
        )
    # the older name is all that transformers had before 5.20 or so, and warns since
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})


def chosen_device(wanted: str) -> Any:
    """The torch device of that name; raises ModelError where there is none."""
    import torch

    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(
            f"there is no device {wanted!r} that torch can use here",
            hint="leave device out, or set it to 'cpu'",
        )
    return torch.device(wanted)


def cores() -> int:
    """The cores this process may use, which containers make fewer than the machine has."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1
