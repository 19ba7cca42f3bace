"""Several processes that train one model, over torch.distributed; this is one of them.

Every worker has the same plan and takes each row that is its turn in every batch. What is learned
in a step is the sum over all of them, so that the loss is that of one process.

    replicas   every worker has the whole model; gradients are added up after a step. For methods
               that learn few weights.
    shards     every worker keeps a part of all weights, gradients and optimizer state (FSDP), and
               sees a layer's weights whole only while it computes it. For method "full".

Checkpoints are whole, and written by the first worker: another number of workers, or one process,
goes on from them. Run over gloo on CPUs; nccl on GPUs is written for and has not been tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as together

from ..errors import StepladderError
from . import TrainingJob
from .batches import Learnable
from .checkpoint import Progress, load_weights, restore_checkpoint, save_checkpoint
from .company import ALONE
from .learner import Learner, Scores, make_learner
from .methods.weights import decoder_layers
from .opening import open_model

__all__ = ["Replicas", "Shards", "company_for"]


def company_for(job: TrainingJob) -> Replicas | Shards:
    """How the workers of the process group, which is up, train this job.

    Raises:
        StepladderError: they cannot.
    """
    if job.options.method != "full":
        return Replicas()
    if job.options.objective == "preference":
        raise StepladderError(
            "preferences cannot be tuned on with all weights by several workers",
            hint="use method = 'lora', or leave trainer out",
        )
    return Shards()


@dataclass(frozen=True)
class Replicas:
    """Workers that each have the whole model."""

    @property
    def leads(self) -> bool:
        """Whether this is the first worker."""
        return together.get_rank() == 0

    def join(self, learner: Learner) -> Learner:
        """The learner on its part of the rows; all begin with the first worker's weights."""
        for parameter in learner.parameters.values():
            together.broadcast(parameter.data, 0)
        return replace(learner, scores=_in_turns(learner.scores, 1.0), company=self)

    def clip(self, parameters: Sequence[Any], most: float) -> float:
        """Add the gradients up, in one message, and clip the sum."""
        flat = torch.cat(
            [
                (torch.zeros_like(one) if one.grad is None else one.grad).flatten()
                for one in parameters
            ]
        )
        together.all_reduce(flat)
        at = 0
        for one in parameters:
            one.grad = flat[at : at + one.numel()].view_as(one)
            at += one.numel()
        return float(torch.nn.utils.clip_grad_norm_(parameters, most))

    def clock(self, seconds: float) -> float:
        """The first worker's clock."""
        return float(_said_by_the_first(seconds))

    def save(self, folder: Path, progress: Progress, learner: Learner) -> None:
        """Have the first worker write; where it cannot, all raise what it does."""
        optimizer = learner.optimizer if self.leads else None
        _first_writes(folder, progress, learner, learner.parameters, optimizer)

    def restore(self, folder: Path, step: int, learner: Learner) -> None:
        """Every worker reads."""
        restore_checkpoint(folder, step, learner.parameters, learner.optimizer, learner.names)

    def load(self, folder: Path, step: int, learner: Learner) -> None:
        """Every worker reads."""
        load_weights(folder, step, learner.parameters)

    def whole(self, learner: Learner, job: TrainingJob, rows: Sequence[Learnable]) -> Learner:
        """The first worker's model, which is that of all."""
        from .objectives import scores_of

        return replace(learner, scores=scores_of(job.options), company=ALONE)


@dataclass(frozen=True)
class Shards:
    """Workers that each keep a part of the model."""

    @property
    def leads(self) -> bool:
        """Whether this is the first worker."""
        return together.get_rank() == 0

    def join(self, learner: Learner) -> Learner:
        """The learner whose weights are spread over the workers, layer by layer."""
        from torch.distributed.fsdp import fully_shard

        for layer in decoder_layers(learner.model):
            fully_shard(layer)
        scored = _Scored(learner)
        fully_shard(scored)
        parameters = {n: p for n, p in learner.model.named_parameters() if p.requires_grad}
        decay = learner.optimizer.param_groups[0]["weight_decay"]
        optimizer = torch.optim.AdamW(
            list(parameters.values()), lr=0.0, weight_decay=decay, fused=True
        )
        # gradients are averaged over the workers, and a sum is wanted
        scores = _in_turns(lambda _, rows: scored(rows), float(together.get_world_size()))
        return replace(
            learner, scores=scores, parameters=parameters, optimizer=optimizer, company=self
        )

    def clip(self, parameters: Sequence[Any], most: float) -> float:
        """Clip by the norm over all parts; the gradients are added up already."""
        norm: Any = torch.nn.utils.clip_grad_norm_(parameters, most)
        return float(norm.full_tensor())

    def clock(self, seconds: float) -> float:
        """The first worker's clock."""
        return float(_said_by_the_first(seconds))

    def save(self, folder: Path, progress: Progress, learner: Learner) -> None:
        """Gather the parts, and have the first worker write them whole."""
        state = learner.optimizer.state_dict()
        gathered = _Gathered(
            {
                place: {name: _full(value) for name, value in memory.items()}
                for place, memory in state["state"].items()
            }
        )
        weights = {name: _full(part) for name, part in learner.parameters.items()}
        _first_writes(folder, progress, learner, weights, gathered)

    def restore(self, folder: Path, step: int, learner: Learner) -> None:
        """Every worker reads all, and keeps its part."""
        whole = {name: torch.empty(part.shape) for name, part in learner.parameters.items()}
        gathered = _Gathered({})
        restore_checkpoint(folder, step, whole, gathered, learner.names)
        _take(whole, learner)
        parts = list(learner.parameters.values())
        state = {
            place: {name: _part_like(parts[place], value) for name, value in memory.items()}
            for place, memory in gathered.state.items()
        }
        learner.optimizer.load_state_dict({**learner.optimizer.state_dict(), "state": state})

    def load(self, folder: Path, step: int, learner: Learner) -> None:
        """Every worker reads all, and keeps its part."""
        whole = {name: torch.empty(part.shape) for name, part in learner.parameters.items()}
        load_weights(folder, step, whole)
        _take(whole, learner)

    def whole(self, learner: Learner, job: TrainingJob, rows: Sequence[Learnable]) -> Learner:
        """In the first worker a model of its own with all weights; the others help and are done."""
        from .objectives import scores_of

        weights = {name: _full(part) for name, part in learner.parameters.items()}
        if not self.leads:
            return learner
        model = open_model(job, learner.device, rows)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in weights:
                    parameter.copy_(weights[name])
        return make_learner(
            model,
            weight_decay=0.0,
            pad_id=learner.pad_id,
            device=learner.device,
            scores=scores_of(job.options),
        )


class _Scored(torch.nn.Module):
    """The loss as a module: FSDP has weights whole only while a module's `forward` runs."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.model = learner.model
        self._learner = (learner,)

    def forward(self, rows: Sequence[Any]) -> tuple[Any, int, int]:
        (learner,) = self._learner
        return learner.scores(learner, rows)


class _Gathered:
    """An optimizer's memory of whole weights, as checkpoints take and give it."""

    def __init__(self, state: Mapping[int, Mapping[str, Any]]) -> None:
        self.state = state

    def state_dict(self) -> dict[str, Any]:
        return {"state": self.state}

    def load_state_dict(self, given: Mapping[str, Any]) -> None:
        self.state = given["state"]


def _in_turns(scores: Scores, factor: float) -> Scores:
    """`scores` of this worker's rows, with the value of all workers' and `factor` on gradients."""
    rank, size = together.get_rank(), together.get_world_size()

    def shared(learner: Learner, rows: Sequence[Any]) -> tuple[Any, int, int]:
        mine = rows[rank::size]
        # with fewer rows than workers, one that counts for nothing: all have to take part
        loss, weight, right = scores(learner, mine or rows[:1])
        if not mine:
            loss, weight, right = loss * 0.0, 0, 0
        sums = torch.tensor([float(loss.detach()), weight, right], dtype=torch.float64)
        sums = sums.to(learner.device)
        together.all_reduce(sums)
        loss = loss * factor
        value = sums[0].to(loss.dtype)
        return loss + (value - loss).detach(), int(sums[1]), int(sums[2])

    return shared


def _said_by_the_first(value: Any) -> Any:
    said = [value]
    together.broadcast_object_list(said, 0)
    return said[0]


def _first_writes(
    folder: Path, progress: Progress, learner: Learner, weights: Mapping[str, Any], optimizer: Any
) -> None:
    error: StepladderError | None = None
    if together.get_rank() == 0:
        try:
            save_checkpoint(folder, progress, weights, optimizer, learner.names)
        except StepladderError as found:
            error = found
    error = _said_by_the_first(error)
    if error is not None:
        raise error


def _full(value: Any) -> Any:
    gathered = getattr(value, "full_tensor", None)
    return value if gathered is None else gathered()


def _part_like(part: Any, value: Any) -> Any:
    from torch.distributed.tensor import distribute_tensor

    if value.shape != part.shape:  # the optimizer's count of steps
        return value
    return distribute_tensor(value.to(part.device), part.device_mesh, part.placements)


def _take(whole: Mapping[str, Any], learner: Learner) -> None:
    with torch.no_grad():
        for name, part in learner.parameters.items():
            part.to_local().copy_(_part_like(part, whole[name]).to_local())
