"""Who trains together: this process alone, or several that each learn from a part of every batch.

The loop is the same for all (`loop.py`); where it touches gradients, clocks and files, it goes
through its company. That of several workers is in `workers.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from . import TrainingJob
from .batches import Learnable
from .checkpoint import Progress, load_weights, restore_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from .learner import Learner

__all__ = ["ALONE", "Company"]


class Company(Protocol):
    """What processes that train one model do together. All of them call all of it, in step."""

    @property
    def leads(self) -> bool:
        """Whether this process writes what is kept, and tells of it."""
        ...

    def join(self, learner: Learner) -> Learner:
        """The learner as it trains in this company."""
        ...

    def clip(self, parameters: Sequence[Any], most: float) -> float:
        """Make every gradient that of all workers, no longer than `most`; its norm before that."""
        ...

    def clock(self, seconds: float) -> float:
        """The seconds on the leader's clock: what ends by time ends in all workers at once."""
        ...

    def save(self, folder: Path, progress: Progress, learner: Learner) -> None:
        """Write a checkpoint, one for all workers."""
        ...

    def restore(self, folder: Path, step: int, learner: Learner) -> None:
        """Go back to a checkpoint."""
        ...

    def load(self, folder: Path, step: int, learner: Learner) -> None:
        """Take the weights of a checkpoint."""
        ...

    def whole(self, learner: Learner, job: TrainingJob, rows: Sequence[Learnable]) -> Learner:
        """The learner with all of its weights and no company: in the leader, to be saved."""
        ...


class _Alone:
    """One process."""

    leads = True

    def join(self, learner: Learner) -> Learner:
        return learner

    def clip(self, parameters: Sequence[Any], most: float) -> float:
        import torch

        return float(torch.nn.utils.clip_grad_norm_(parameters, most))

    def clock(self, seconds: float) -> float:
        return seconds

    def save(self, folder: Path, progress: Progress, learner: Learner) -> None:
        save_checkpoint(folder, progress, learner.parameters, learner.optimizer, learner.names)

    def restore(self, folder: Path, step: int, learner: Learner) -> None:
        restore_checkpoint(folder, step, learner.parameters, learner.optimizer, learner.names)

    def load(self, folder: Path, step: int, learner: Learner) -> None:
        load_weights(folder, step, learner.parameters)

    def whole(self, learner: Learner, job: TrainingJob, rows: Sequence[Learnable]) -> Learner:
        return learner


ALONE: Company = _Alone()
