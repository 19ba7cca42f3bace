"""Where a training stands, on disk: whole or not at all, and nothing in it is a pickle.

A checkpoint is a folder `step-000120` with the trainable weights, the optimizer's memory, the
random generators (all safetensors) and `progress.json`. It is written beside its place and renamed
into it; the newest one and the best one are kept.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..core import LearningPoint
from ..errors import StoreError

__all__ = [
    "Progress",
    "latest_checkpoint",
    "load_weights",
    "restore_checkpoint",
    "save_checkpoint",
    "saving",
    "write_json",
]

Tensors = Mapping[str, Any]  # name -> torch.Tensor


@dataclass(frozen=True)
class Progress:
    """How far a training is and what it has seen. Losses are nats per answer token.

    `loss_sum` over `loss_tokens` is the train loss since the last learning point. `worse` counts
    evaluations in a row that had neither better answers than `best_step` nor the lowest loss so
    far. `ended` is why no step will follow.
    """

    step: int = 0
    epoch: float = 0.0
    tokens: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    loss_tokens: int = 0
    learning: tuple[LearningPoint, ...] = ()
    best_step: int = 0
    best_loss: float | None = None
    best_accuracy: float | None = None
    worse: int = 0
    ended: str = ""


def save_checkpoint(
    folder: Path, progress: Progress, weights: Tensors, optimizer: Any, names: Mapping[int, str]
) -> None:
    """Write the checkpoint of `progress.step` and drop those that are neither newest nor best.

    `names` maps a parameter's place in the optimizer to its name. Raises StoreError when the disk
    is full or read-only.
    """
    from safetensors.torch import save_file

    target = folder / f"step-{progress.step:06d}"
    with saving(folder):
        folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=folder, prefix=".unfinished-"))
        plain = {name: tensor.detach().contiguous() for name, tensor in weights.items()}
        save_file(plain, scratch / "weights.safetensors")
        save_file(_optimizer_tensors(optimizer, names), scratch / "optimizer.safetensors")
        save_file(_random_state(), scratch / "random.safetensors")
        write_json(scratch / "progress.json", asdict(progress))
        _settle(scratch)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(scratch, target)
    _prune(folder, keep={progress.step, progress.best_step})


def latest_checkpoint(folder: Path) -> Progress | None:
    """The progress of the newest whole checkpoint, or None."""
    for path in sorted(folder.glob("step-*"), reverse=True):
        if (path / "optimizer.safetensors").exists() and (path / "progress.json").exists():
            fields = json.loads((path / "progress.json").read_text(encoding="utf-8"))
            learning = tuple(LearningPoint(**point) for point in fields.pop("learning"))
            return Progress(**fields, learning=learning)
    return None


def restore_checkpoint(
    folder: Path, step: int, weights: Tensors, optimizer: Any, names: Mapping[int, str]
) -> None:
    """Put weights, optimizer and random generators back to where the checkpoint left them."""
    from safetensors.torch import load_file

    path = folder / f"step-{step:06d}"
    load_weights(folder, step, weights)
    _restore_optimizer(optimizer, load_file(path / "optimizer.safetensors"), names)
    _restore_random_state(load_file(path / "random.safetensors"))


def load_weights(folder: Path, step: int, weights: Tensors) -> None:
    """Copy the weights of a checkpoint into the given tensors, by name."""
    import torch
    from safetensors.torch import load_file

    stored = load_file(folder / f"step-{step:06d}" / "weights.safetensors")
    with torch.no_grad():
        for name, tensor in weights.items():
            tensor.copy_(stored[name])


@contextmanager
def saving(folder: Path) -> Iterator[None]:
    """Turn a full or read-only disk into a StoreError that says what to do."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise StoreError(
            f"cannot save the training in {str(folder)!r}: {error}",
            hint="free some space or choose a run folder that can be written, then run the same "
            "command again: training goes on from its last checkpoint",
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON a person can read."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _optimizer_tensors(optimizer: Any, names: Mapping[int, str]) -> dict[str, Any]:
    """AdamW's memory as flat tensors: `<parameter>|exp_avg`, `|exp_avg_sq`, `|step`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{names[place]}|{key}": value.detach().clone().contiguous()
        for place, memory in state.items()
        for key, value in memory.items()
    }


def _restore_optimizer(optimizer: Any, tensors: Tensors, names: Mapping[int, str]) -> None:
    places = {name: place for place, name in names.items()}
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        name, _, what = key.rpartition("|")
        state.setdefault(places[name], {})[what] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _random_state() -> dict[str, Any]:
    import torch

    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _restore_random_state(state: Tensors) -> None:
    import torch

    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def _settle(folder: Path) -> None:
    """Make the files' bytes reach the disk before the rename that makes them count."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _prune(folder: Path, keep: set[int]) -> None:
    for path in folder.glob("step-*"):
        step = int(path.name.removeprefix("step-"))
        if step not in keep:
            shutil.rmtree(path, ignore_errors=True)
        elif step < max(keep):  # only its weights can still be asked for
            (path / "optimizer.safetensors").unlink(missing_ok=True)
    for path in folder.glob(".unfinished-*"):
        shutil.rmtree(path, ignore_errors=True)
