"""Methods that train the model's own weights: all of them, or those of its last layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import ModelError
from .. import TrainingJob
from ..batches import Learnable
from ..export import save_merged

__all__ = ["all_of_them", "decoder_layers", "last_layers", "save"]


def all_of_them(model: Any, job: TrainingJob, rows: Sequence[Learnable]) -> Any:
    """The model, every weight of which learns."""
    return model


def last_layers(model: Any, job: TrainingJob, rows: Sequence[Learnable]) -> Any:
    """The model, of which only the last `layers` layers and the norm after them learn.

    Nothing below them is differentiated, so that a step costs less of everything. Raises ModelError
    where there are fewer layers than that.
    """
    layers = decoder_layers(model)
    wanted = job.options.layers
    if not 0 < wanted <= len(layers):
        raise ModelError(
            f"method 'freeze' cannot train the last {wanted} of {len(layers)} layers",
            hint=f"set layers to 1 to {len(layers)}",
        )
    model.requires_grad_(False)
    for layer in layers[len(layers) - wanted :]:
        layer.requires_grad_(True)
    norm = getattr(model.base_model, "norm", None)
    if norm is not None:
        norm.requires_grad_(True)
    return model


def decoder_layers(model: Any) -> Any:
    """The layers of a causal model in order; raises ModelError where they cannot be told."""
    layers = getattr(model.base_model, "layers", None) or getattr(model.base_model, "h", None)
    if layers is None:
        raise ModelError(
            f"the layers of {type(model).__name__} are not known here",
            hint="tune it by method 'lora'",
        )
    return layers


def save(model: Any, job: TrainingJob, folder: Path, name: str) -> None:
    """Write a causal model with what it learned in it, as the base was laid out."""
    save_merged(model, job.folder, folder, name)
