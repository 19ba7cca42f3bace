"""A job that tunes an encoder: done once, found again by its hash, resumed where it was killed.

What is learnt is the caller's: labels, pairs of texts, spans. Here are the folder, the lock, the
slice that is held out, and the record of how it went.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..core import Example, Json, LearningPoint, Solver, Tell, Workshop
from ..embeddings import ENCODER
from ..registry import need
from ..solvers import plain, solver_from_record, solver_record
from . import TrainingOptions
from .batches import Learnable
from .calibration import deal_folds
from .checkpoint import Progress, load_weights, saving, write_json
from .jobs import alone
from .learner import Learner
from .loop import fit

__all__ = [
    "EncoderJob", "FittedEncoder", "Train", "encoder_threads", "hold_out", "job_name", "run_job",
    "scratch_folder",
]  # fmt: skip

VERSION = 1  # another one is another job: what is learnt, or how, was changed
FEW = 60  # examples below which a fifth is held out, else a tenth

# learner, rows to learn, rows held out -> how it went, with the best weights in place
Train = Callable[[Learner, Sequence[Learnable], Sequence[Learnable]], Progress]


@dataclass(frozen=True)
class EncoderJob:
    """What is learnt ("labels", "pairs", "spans"), from what, and how."""

    what: str
    train: tuple[Example, ...]
    options: TrainingOptions
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class FittedEncoder:
    """The solver, how its training went, and what to know of it, in sentences."""

    solver: Solver
    words: str
    cautions: tuple[str, ...] = ()
    learning: tuple[LearningPoint, ...] = ()
    seconds: float = 0.0
    tokens: int = 0


def job_name(job: EncoderJob) -> str:
    """The same for the same train, options and open encoder."""
    rows = [[plain(one.input), one.expected, one.group] for one in job.train]
    record = [VERSION, job.what, rows, job.labels, asdict(job.options), ENCODER.sha256]
    text = json.dumps(record, sort_keys=True, ensure_ascii=False)
    return f"encoder-{hashlib.sha256(text.encode()).hexdigest()}"


def run_job(
    job: EncoderJob, workshop: Workshop, make: Callable[[Train], FittedEncoder]
) -> FittedEncoder:
    """What `make` gives with torch seeded, from the artifacts if this job was finished before.

    Two processes with the same job do it once.

    Raises:
        MissingExtra: torch is not installed.
        StoreError: the folder cannot be written.
    """
    torch = need("torch", extra="train", what="tuning a text encoder")
    name = job_name(job)
    folder = workshop.artifacts / name
    with alone(workshop.artifacts, name, workshop.tell):
        if (found := _finished(folder)) is not None:
            return found
        went: list[Progress] = []

        def train(
            learner: Learner, rows: Sequence[Learnable], held: Sequence[Learnable]
        ) -> Progress:
            went.append(_train(learner, (rows, held), job.options, folder, workshop.tell))
            return went[-1]

        torch.manual_seed(job.options.seed)
        made = make(train)
        (progress,) = went
        fitted = replace(
            made,
            cautions=(*made.cautions, *_cautions(progress, job.options)),
            learning=progress.learning,
            seconds=progress.seconds,
            tokens=progress.tokens,
        )
        _finish(folder, fitted)
    return fitted


def hold_out(train: Sequence[Example], seed: int) -> tuple[list[int], list[int]]:
    """(held out, learnt): places in train; labels even, no group in both."""
    held = deal_folds(train, 5 if len(train) < FEW else 10, seed)[0]
    kept = {*held}
    return held, [at for at in range(len(train)) if at not in kept]


def encoder_threads() -> int:
    """Half of the processor's threads: two of a core share the unit that multiplies matrices."""
    usable = getattr(os, "sched_getaffinity", None)
    return max(1, (len(usable(0)) if usable else os.cpu_count() or 1) // 2)


@contextmanager
def scratch_folder(files: Mapping[str, bytes]) -> Iterator[Path]:
    """A folder with these files, for as long as it takes to judge them."""
    with tempfile.TemporaryDirectory(prefix="encoder-") as name:
        for file, content in files.items():
            (Path(name) / file).write_bytes(content)
        yield Path(name)


def _train(
    learner: Learner,
    rows: tuple[Sequence[Learnable], Sequence[Learnable]],
    options: TrainingOptions,
    folder: Path,
    tell: Tell,
) -> Progress:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(encoder_threads())
    try:
        progress = fit(learner, rows, options, folder / "checkpoints", tell)
    finally:
        torch.set_num_threads(threads)
    if progress.best_step and progress.best_step != progress.step and not options.to_the_end:
        load_weights(folder / "checkpoints", progress.best_step, learner.parameters)
    learner.model.eval()
    return progress


def _cautions(progress: Progress, options: TrainingOptions) -> Iterator[str]:
    losses = [one.held_out_loss for one in progress.learning if one.held_out_loss is not None]
    best = progress.best_loss
    if best is not None and losses[-1] > 1.1 * best and not options.to_the_end:
        yield (
            f"tuning over-fitted: the held-out loss rose from {best:.3f} to {losses[-1]:.3f}; the "
            "weights of the lower loss were kept"
        )
    if progress.ended == "time limit":
        yield (
            f"tuning was ended by its time limit after {progress.epoch:.1f} epochs; longer "
            "training may do better"
        )


def _finish(folder: Path, fitted: FittedEncoder) -> None:
    record: dict[str, Json] = {
        "schema": "stepladder.encoder/1",
        "solver": solver_record(fitted.solver),
        "words": fitted.words,
        "cautions": list(fitted.cautions),
        "learning": [asdict(point) for point in fitted.learning],
        "seconds": fitted.seconds,
        "tokens": fitted.tokens,
    }
    with saving(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "done.unfinished", record)
        os.replace(folder / "done.unfinished", folder / "done.json")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _finished(folder: Path) -> FittedEncoder | None:
    try:
        record: dict[str, Any] = json.loads((folder / "done.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return FittedEncoder(
        solver_from_record(record["solver"]),
        record["words"],
        tuple(record["cautions"]),
        tuple(LearningPoint(**point) for point in record["learning"]),
        record["seconds"],
        record["tokens"],
    )
