"""What is written about a training: its facts, and the cautions that the report will show."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..core import Json
from ..models.local.precision import has_bfloat16
from . import TrainingJob, TrainingOptions, base_fingerprint
from .batches import Learnable
from .checkpoint import Progress
from .objectives import answer_tokens
from .opening import chosen_device

__all__ = ["cautions", "facts"]


def cautions(
    progress: Progress, left_out: int, saved_loss: float | None, options: TrainingOptions
) -> tuple[str, ...]:
    """Sentences for the report; `saved_loss` is the held-out loss of what was saved."""
    during = _while_training(progress, left_out, options)
    return (*during, *_while_saving(progress, saved_loss))


def _while_training(progress: Progress, left_out: int, options: TrainingOptions) -> tuple[str, ...]:
    said: list[str] = []
    said.extend(_over_fitting(progress, options))
    if progress.ended == "time limit":
        said.append(
            f"fine-tuning was ended by its time limit after {progress.epoch:.1f} epochs; "
            "longer training may do better"
        )
    if left_out:
        said.append(f"{left_out} training examples were longer than max_length and left out")
    if progress.best_loss is None:
        said.append("fine-tuning had no held-out examples, so over-fitting could not be seen")
    return tuple(said)


def _over_fitting(progress: Progress, options: TrainingOptions) -> Iterator[str]:
    looked = [point for point in progress.learning if point.held_out_loss is not None]
    kept = next((point for point in looked if point.step == progress.best_step), None)
    if kept is None or len(looked) < 2:
        return
    of = (looked[0], kept, looked[-1])
    if options.judged_by == "loss":
        before, best, last = (point.held_out_loss or 0.0 for point in of)
        over, nothing = last > 1.02 * best, best > before
        what, turned = "the held-out loss", "rose"
        said = [f"{loss:.3f}" for loss in (before, best, last)]
    else:
        before, best, last = (point.held_out_accuracy or 0.0 for point in of)
        over, nothing = last < best - 0.02, best <= before
        what, turned = "the share of held-out tokens that are right", "fell"
        said = [f"{share:.1%}" for share in (before, best, last)]
    if over:
        rest = "" if options.to_the_end else "; the weights of then were kept"
        yield (
            f"fine-tuning over-fitted: {what} {turned} from {said[1]} after {kept.epoch:.1f} "
            f"epochs to {said[2]}{rest}"
        )
    if nothing:
        yield (
            f"fine-tuning taught nothing that holds: {what} was {said[0]} before and at best "
            f"{said[1]} after"
        )


def _while_saving(progress: Progress, saved: float | None) -> tuple[str, ...]:
    if saved is None or progress.best_loss is None or saved <= 1.05 * progress.best_loss:
        return ()
    return (
        f"merging and rounding to float16 raised the held-out loss from {progress.best_loss:.3f} "
        f"to {saved:.3f}",
    )


def facts(
    job: TrainingJob,
    progress: Progress,
    rows: tuple[Sequence[Learnable], Sequence[Learnable]],
    said: Sequence[str],
    saved_loss: float | None,
) -> Mapping[str, Json]:
    """What a person would need to repeat or judge this training."""
    train, held_out = rows
    return {
        "schema": "stepladder.training/1",
        "base": job.base,
        "base_sha256": base_fingerprint(job.folder),
        "options": asdict(job.options),
        "train_examples": len(train),
        "held_out_examples": len(held_out),
        "train_tokens_per_epoch": sum(map(len, train)),
        "answer_tokens_per_epoch": answer_tokens(train),
        "steps": progress.step,
        "epochs": progress.epoch,
        "ended": progress.ended,
        "best_step": progress.best_step,
        "held_out_loss": progress.best_loss,
        "held_out_accuracy": progress.best_accuracy,
        "held_out_loss_merged": saved_loss,
        "seconds": progress.seconds,
        "tokens": progress.tokens,
        "learning": [asdict(point) for point in progress.learning],
        "cautions": list(said),
        "environment": _environment(job),
    }


def _environment(job: TrainingJob) -> dict[str, Any]:
    import peft
    import torch
    import transformers

    device = chosen_device(job.device)
    return {
        "device": device.type,
        "threads": torch.get_num_threads(),
        "products_in": "bfloat16" if has_bfloat16(device) else "float32",
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
    }
