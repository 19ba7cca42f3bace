"""What is chosen for the user in a local training, from the data, the model and the machine.

Every choice is told in the report. What was measured is in the log; where a figure is a rule of
thumb, it says so. Hosted models are tuned as their services choose.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import NotApplicable
from ..trainers import Method, TrainingOptions, epochs_for
from ..trainers.memory import Shape, machine_bytes, shape_of, training_bytes

if TYPE_CHECKING:
    from .fine_tune import FineTune

__all__ = ["LEARNING_RATE", "Chosen", "Lengths", "batch_for", "choose"]

# lora and full were measured on SmolLM2-135M (docs/log.md); dora, rslora and qlora are LoRA and
# start from its rate, rslora from half of it since it scales by more; the rest are rules of thumb
LEARNING_RATE: dict[Method, float] = {
    "lora": 2e-3,
    "dora": 2e-3,
    "rslora": 1e-3,
    "qlora": 2e-3,
    "prompt": 2e-2,
    "prefix": 1e-2,
    "freeze": 2e-4,
    "full": 1e-4,
}
ROWS_PER_BATCH = 8  # on average: more rows are hardly faster per token, and mean fewer updates
RANK = 16
MANY = 5000  # examples; from here on an adapter has twice the rank (a rule of thumb)
VIRTUAL_TOKENS = 16  # before every input: they cost as much as those of any prompt
ROOM = 0.85  # of the machine's memory


@dataclass(frozen=True)
class Lengths:
    """Examples to train on, and tokens of one: the mean and the longest that were counted."""

    examples: int
    mean: float
    longest: int


@dataclass(frozen=True)
class Chosen:
    """The options of a training, and those of them that were chosen, in words."""

    options: TrainingOptions
    words: tuple[str, ...]


def choose(step: FineTune, folder: Path, lengths: Lengths, seed: int) -> Chosen:
    """The options for this model on this machine; what the user gave stays.

    Raises NotApplicable where no method fits into the machine's memory, or the one that was asked
    for does not.
    """
    shape = shape_of(folder)
    method = step.local_method or "lora"
    options = _options(step, method, shape, lengths, seed)
    room = ROOM * machine_bytes(step.device)
    fitting = _fitted(step, options, shape, lengths.longest, room)
    if fitting is None and step.local_method is None and find_spec("bitsandbytes") is not None:
        options = _options(step, "qlora", shape, lengths, seed)
        fitting = _fitted(step, options, shape, lengths.longest, room)
    if fitting is None:
        need = training_bytes(shape, replace(options, checkpointing=True), lengths.longest)
        raise NotApplicable(
            f"tuning {folder.name!r} by method {options.method!r} takes about {need / 1e9:.0f} GB, "
            f"and {room / 1e9:.0f} GB of memory can be used here",
            hint="use method = 'qlora' (pip install 'stepladder[qlora]'), a smaller model, or a "
            "larger machine",
        )
    return Chosen(fitting, tuple(_words(step, fitting)))


def batch_for(mean_tokens: float) -> int:
    """Tokens of a batch, padding included, that hold about eight rows."""
    return int(min(2048, max(256, 64 * math.ceil(ROWS_PER_BATCH * mean_tokens / 64))))


def _options(
    step: FineTune, method: Method, shape: Shape, lengths: Lengths, seed: int
) -> TrainingOptions:
    rank = step.rank or (2 * RANK if lengths.examples >= MANY else RANK)
    vectors = method in ("prompt", "prefix")
    return TrainingOptions(
        method=method,
        rank=rank,
        alpha=step.alpha or 2 * rank,
        dropout=step.dropout,
        target_modules=step.target_modules,
        learning_rate=step.learning_rate or LEARNING_RATE[method],
        epochs=step.epochs or epochs_for(lengths.examples),
        tokens_per_batch=step.tokens_per_batch or batch_for(lengths.mean),
        patience=step.patience,
        judged_by="accuracy",  # the loss rises with certainty, long before answers get worse
        max_seconds=None if step.minutes is None else 60 * step.minutes,
        max_length=step.max_length,
        seed=seed,
        virtual_tokens=(step.virtual_tokens or VIRTUAL_TOKENS) if vectors else 0,
        layers=(step.layers or max(1, shape.layers // 4)) if method == "freeze" else 0,
        checkpointing=bool(step.checkpointing),
    )


def _fitted(
    step: FineTune, options: TrainingOptions, shape: Shape, longest: int, room: float
) -> TrainingOptions | None:
    """The options changed as little as memory asks for, or None where nothing helps."""
    ways = [options]
    if step.checkpointing is None and options.method != "prefix":  # whose keys are not recomputed
        ways.append(replace(options, checkpointing=True))
    if step.tokens_per_batch is None:
        ways.append(replace(ways[-1], tokens_per_batch=max(64, longest)))
    return next((way for way in ways if training_bytes(shape, way, longest) <= room), None)


def _words(step: FineTune, options: TrainingOptions) -> Iterator[str]:
    chosen = (
        ("learning rate", options.learning_rate, step.learning_rate is None),
        ("epochs", options.epochs, step.epochs is None),
        ("tokens per batch", options.tokens_per_batch, step.tokens_per_batch is None),
        ("last layers", options.layers, options.layers and step.layers is None),
        (
            "virtual tokens",
            options.virtual_tokens,
            options.virtual_tokens and step.virtual_tokens is None,
        ),
    )
    if step.local_method is None:
        yield f"method {options.method}"
    yield from (f"{option} {value:g}" for option, value, given in chosen if given)
    if options.checkpointing and step.checkpointing is None:
        yield "activations computed twice, since they would not fit into memory"
