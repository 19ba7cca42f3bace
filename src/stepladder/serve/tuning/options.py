"""What a caller chose about a training, and what is chosen where he left it open. Pure.

Epochs: as many as make about 750 examples seen, between 2 and 10. Batch: 8 examples, of large
files a five-hundredth, at most 64. Rank 16. The learning rate is the trainer's own, times the
multiplier. Preferences are learned at a tenth of that rate, for 3 epochs at most, with a beta of
0.1: a model that goes far from where it was says less and less of either answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ...core import Json
from ...trainers import TrainingOptions, epochs_for
from .failing import JobFailed

__all__ = ["MOST_CHECKPOINTS", "RANKS", "Choices", "choose", "steps_of", "training_options"]

RANKS = (1, 2, 4, 8, 16, 32)
MOST_CHECKPOINTS = 10
MOST_EPOCHS = 100
ALPHA_PER_RANK = TrainingOptions().alpha / TrainingOptions().rank
BETA = 0.1
MOST_PREFERRED = 3  # epochs over preferences, where nobody says
TOKENS_AT_ONCE = 1024  # in memory, of the examples of a step; padding included


@dataclass(frozen=True)
class Choices:
    """Everything that is chosen about a job; `open` names what the caller left to us."""

    epochs: int
    batch_size: int
    learning_rate_multiplier: float
    adapter_rank: int
    seed: int
    beta: float | None = None  # of preferences
    last_checkpoint_only: bool = False
    open: tuple[str, ...] = ()

    def named(self) -> dict[str, Json]:
        """As a job's `options`."""
        named = {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate_multiplier": self.learning_rate_multiplier,
            "adapter_rank": self.adapter_rank,
            "seed": self.seed,
        }
        return named if self.beta is None else {**named, "beta": self.beta}


def choose(
    asked: Mapping[str, Json],
    examples: int,
    *,
    rank: int | None = None,
    method: Literal["supervised", "preference"] = "supervised",
) -> Choices:
    """The choices for a file of so many examples; `rank` is that of the adapter to go on from.

    Raises JobFailed for what cannot be: the protocols refuse it earlier, in their own words.
    """
    defaults: dict[str, Any] = {
        "epochs": int(epochs_for(examples)),
        "batch_size": max(8, min(64, examples // 500)),
        "learning_rate_multiplier": 1.0,
        "adapter_rank": rank or TrainingOptions().rank,
        "seed": 0,
    }
    if method == "preference":
        defaults |= {"epochs": min(MOST_PREFERRED, defaults["epochs"]), "beta": BETA}
    given = {name: asked[name] for name in defaults if asked.get(name) is not None}
    _check(given, rank)
    chosen = {**defaults, **given}
    return Choices(
        **{**chosen, "batch_size": min(chosen["batch_size"], examples)},
        last_checkpoint_only=bool(asked.get("last_checkpoint_only")),
        open=tuple(name for name in defaults if name not in given),
    )


def training_options(choices: Choices, max_length: int, *, cut_long: bool) -> TrainingOptions:
    """What the trainer is asked for: all epochs, and the weights of the last step."""
    usual = TrainingOptions()
    return replace(
        usual,
        rank=choices.adapter_rank,
        alpha=math.ceil(ALPHA_PER_RANK * choices.adapter_rank),
        learning_rate=_rate(choices) * choices.learning_rate_multiplier,
        epochs=float(choices.epochs),
        tokens_per_batch=TOKENS_AT_ONCE,
        evaluations_per_epoch=1,
        checkpoint_seconds=30.0,
        max_length=max_length,
        seed=choices.seed,
        rows_per_batch=choices.batch_size,
        to_the_end=True,
        cut_long=cut_long,
        objective="answers" if choices.beta is None else "preference",
        beta=usual.beta if choices.beta is None else choices.beta,
    )


def _rate(choices: Choices) -> float:
    usual = TrainingOptions().learning_rate
    return usual if choices.beta is None else usual / 10


def steps_of(choices: Choices, conversations: int) -> int:
    """How many steps the training takes."""
    return choices.epochs * math.ceil(conversations / choices.batch_size)


def _check(given: Mapping[str, Any], rank: int | None) -> None:
    wanted = given.get("adapter_rank")
    if wanted is not None and wanted not in RANKS:
        raise _wrong("adapter_rank", wanted, f"one of {', '.join(map(str, RANKS))}")
    if rank is not None and wanted not in (None, rank):
        raise _wrong("adapter_rank", wanted, f"{rank}, that of the tuned model to go on from")
    for name, most in (("epochs", MOST_EPOCHS), ("batch_size", 1024)):
        value = given.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise _wrong(name, value, f"a whole number from 1 to {most}")
    rate = given.get("learning_rate_multiplier", 1.0)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= 100:
        raise _wrong("learning_rate_multiplier", rate, "a number above 0, at most 100")
    beta = given.get("beta", BETA)
    if isinstance(beta, bool) or not isinstance(beta, int | float) or not 0 < beta <= 2:
        raise _wrong("beta", beta, "a number above 0, at most 2")
    seed = given.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise _wrong("seed", seed, "a whole number")


def _wrong(name: str, value: Json, wanted: str) -> JobFailed:
    return JobFailed(
        f"{name!r} has to be {wanted}, not {value!r}", code="invalid_value", param=name
    )
