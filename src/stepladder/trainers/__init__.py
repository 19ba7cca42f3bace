"""The seam behind the fine-tune step: what is to be trained, and what comes back.

Light on purpose: planning, hashing and looking up a finished model load no torch. The training
itself is in `local.py` and the files beside it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from ..core import Json, LearningPoint, Message, Tell
from ..errors import ModelError

__all__ = [
    "Conversation",
    "Method",
    "Objective",
    "Pair",
    "Row",
    "TrainedModel",
    "Trainer",
    "TrainingJob",
    "TrainingOptions",
    "base_fingerprint",
    "epochs_for",
    "job_hash",
]

Method = Literal["lora", "dora", "rslora", "qlora", "prompt", "prefix", "freeze", "full"]
Objective = Literal["answers", "preference", "text"]
Conversation = tuple[tuple[Message, ...], str]  # what the model is given, what it should answer


@dataclass(frozen=True, slots=True)
class Pair:
    """One conversation with a better and a worse answer."""

    messages: tuple[Message, ...]
    chosen: str
    rejected: str


Row = Conversation | Pair | str  # by the objective: "answers", "preference", "text"

RECIPE = 2  # raise it when the same job would now train a different model
WHAT_A_MODEL_IS = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


@dataclass(frozen=True)
class TrainingOptions:
    """How to train. Lengths and batch sizes are in tokens, `warm_up` is a share of all steps.

    `objective` says what a row is and what is learned of it: the "answers" of conversations, to
    prefer the better of two answers ("preference", by DPO with `beta`), or every token of raw
    "text". `layers` is how many of the last layers learn by method "freeze", `virtual_tokens` how
    many "prompt" and "prefix" put before the input. `checkpointing` computes activations twice to
    hold fewer of them.

    With `max_seconds` the learning rate falls with whichever runs out first, steps or time, so
    that a run cut short still ends on a settled model. With `rows_per_batch` a step learns from
    so many examples, however long they are, and `tokens_per_batch` only bounds what is in memory
    at once. `judged_by` says which weights are the best and are kept: those of the lowest held-out
    "loss", or of the highest held-out "accuracy", where of equal ones the loss decides. Training
    ends when for `patience` looks neither those nor the loss got better. `to_the_end` trains all
    epochs and keeps the last weights, whatever the held-out scores say; `cut_long` learns the
    beginning of an answer that is too long, where else the example is left out.
    """

    method: Method = "lora"
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ()  # of LoRA; empty: every linear layer except the head
    learning_rate: float = 2e-3
    epochs: float = 3.0
    tokens_per_batch: int = 768
    warm_up: float = 0.05
    weight_decay: float = 0.0
    clip: float = 1.0  # gradient norm
    patience: int = 3  # looks in a row at held-out answers that got no better
    evaluations_per_epoch: int = 2
    checkpoint_seconds: float = 60.0
    max_seconds: float | None = None
    max_length: int = 1024
    seed: int = 0
    rows_per_batch: int | None = None
    judged_by: Literal["loss", "accuracy"] = "loss"
    to_the_end: bool = False
    cut_long: bool = False
    objective: Objective = "answers"
    beta: float = 0.1
    virtual_tokens: int = 0
    layers: int = 0
    checkpointing: bool = False


@dataclass(frozen=True)
class TrainingJob:
    """A base model, what it should learn, and how. Rows are as `options.objective` has them.

    `held_out` is a slice of train: it decides when to stop and is never trained on. `threads`,
    `device` and `packing` say how it is computed; they are recorded, and do not make it another
    job. `packing` lays the rows of a batch one behind the other, without padding; None does it
    where it gains time. `start` is the folder of a LoRA adapter of this base to go on from.
    `most_kept` asks for an adapter at the end of every epoch, or of about so many of them; with
    `merge` false there is no merged model.
    """

    base: str
    folder: Path
    train: tuple[Row, ...]
    held_out: tuple[Row, ...]
    options: TrainingOptions = TrainingOptions()
    threads: int | None = None
    device: str = "auto"
    start: Path | None = None
    most_kept: int = 0
    merge: bool = True
    packing: bool | None = None


@dataclass(frozen=True)
class TrainedModel:
    """A finished training: the name to serve it by, its folder, and how it went.

    `tokens` counts every token that went through a training step, prompts and repeats included.
    `cautions` are sentences for the report: over-fitting, examples left out, an early end.
    """

    name: str
    folder: Path
    learning: tuple[LearningPoint, ...]
    seconds: float
    tokens: int
    cautions: tuple[str, ...] = ()
    facts: Mapping[str, Json] = field(default_factory=dict)  # the whole of training.json


@runtime_checkable
class Trainer(Protocol):
    """Turns a job into a model under `artifacts`; the same job again returns the same model."""

    def train(self, job: TrainingJob, artifacts: Path, tell: Tell) -> TrainedModel:
        """The trained model, from `artifacts` if it was finished before.

        `tell` may raise to end the training within a step; the same job then goes on from its last
        checkpoint.
        """
        ...


def job_hash(job: TrainingJob) -> str:
    """Twenty hexadecimal digits that name the model this job makes."""
    what = {
        "recipe": RECIPE,
        "base": base_fingerprint(job.folder),
        "options": _as_before(job.options),
        "train": [_plain(row) for row in job.train],
        "held_out": [_plain(row) for row in job.held_out],
        **_unusual(job),
    }
    text = json.dumps(what, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def epochs_for(examples: int) -> float:
    """More passes over little data: about 750 examples seen, between 2 and 10 epochs."""
    return float(min(10, max(2, math.ceil(750 / examples))))


def base_fingerprint(folder: Path) -> str:
    """SHA-256 over the weights, configuration and tokenizer files of a model folder.

    Raises ModelError when the folder holds no safetensors weights.
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ModelError(
            f"no weights to train in {folder}: it has no .safetensors file",
            hint="give a folder in the layout of the transformers library, with model.safetensors",
        )
    digest = hashlib.sha256()
    for path in [*(folder / name for name in WHAT_A_MODEL_IS), *weights]:
        if path.exists():
            digest.update(path.name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


_LATER = (  # options that jobs made earlier did not have
    "rows_per_batch", "judged_by", "to_the_end", "cut_long", "objective", "beta", "virtual_tokens",
    "layers", "checkpointing",
)  # fmt: skip


def _as_before(options: TrainingOptions) -> dict[str, Json]:
    """The options, those added later only where they were chosen: old jobs keep their names."""
    usual = {one.name: one.default for one in fields(options) if one.name in _LATER}
    said = asdict(options)
    return {name: value for name, value in said.items() if usual.get(name, ...) != value}


def _unusual(job: TrainingJob) -> dict[str, Json]:
    """What most jobs do not ask for, where this one does."""
    unusual: dict[str, Json] = {}
    if job.start is not None:
        unusual["start"] = _adapter_fingerprint(job.start)
    if job.most_kept:
        unusual["most_kept"] = job.most_kept
    if not job.merge:
        unusual["merge"] = False
    return unusual


def _adapter_fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        try:
            digest.update((folder / name).read_bytes())
        except OSError as error:
            raise ModelError(
                f"there is no adapter to go on from in {str(folder)!r}: {error}",
                hint="give a folder with adapter_config.json and adapter_model.safetensors",
            ) from error
    return digest.hexdigest()


def _plain(row: Row) -> Json:
    if isinstance(row, str):
        return row
    if isinstance(row, Pair):
        return [[asdict(message) for message in row.messages], row.chosen, row.rejected]
    messages, completion = row
    return [[asdict(message) for message in messages], completion]
