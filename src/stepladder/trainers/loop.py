"""The training loop: steps by plan, held-out loss, early end, checkpoints, progress told.

It knows nothing of files except through `checkpoint.py`, and of torch only through `learner.py`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..core import LearningPoint, Tell
from ..errors import ModelError
from . import TrainingOptions
from .batches import Kind, Learnable, Packable, fitting, padding_share, training_plan
from .checkpoint import Progress, latest_checkpoint
from .learner import Learner, take_step

__all__ = [
    "NOTHING_KEPT", "Keeping", "fit", "held_out_loss", "held_out_scores", "kept_steps",
    "learning_rate_at", "padding_of",
]  # fmt: skip

_STOPPED = {
    "loss": "held-out loss stopped falling",
    "accuracy": "held-out answers stopped getting better",
}
POINTS = 40  # learning points besides the evaluations, over the whole training


@dataclass(frozen=True)
class Keeping:
    """What to do with the weights at the end of epochs: at most about `most` times."""

    most: int = 0
    save: Callable[[Progress], None] = lambda progress: None


NOTHING_KEPT = Keeping()


@dataclass(frozen=True)
class _Course:
    """What stays the same from the first step to the last."""

    plan: Sequence[tuple[float, list[int]]]
    evaluations: frozenset[int]  # steps after which the held-out loss is taken
    train: Sequence[Learnable]
    held_out: Sequence[Learnable]
    options: TrainingOptions
    folder: Path
    tell: Tell
    lengths: Sequence[int]
    keep_at: frozenset[int]
    keeping: Keeping
    usual: float  # the mean weight of a batch


def fit(
    learner: Learner,
    rows: tuple[Sequence[Learnable], Sequence[Learnable]],
    options: TrainingOptions,
    folder: Path,
    tell: Tell,
    keeping: Keeping = NOTHING_KEPT,
) -> Progress:
    """Train on the first of `rows`, watch the second, and return how it went.

    Starts from the newest checkpoint in `folder` if there is one, and repeats no step before it.
    What is to be kept is saved before the checkpoint of its step, so that none is ever missing.
    Raises ModelError when the training diverges, StoreError when a checkpoint cannot be written.
    """
    train, held_out = rows
    lengths = [len(row) for row in train]
    plan = training_plan(
        lengths, options.tokens_per_batch, options.seed, options.epochs, options.rows_per_batch
    )
    evaluations = _evaluation_steps(plan, options.evaluations_per_epoch) if held_out else ()
    course = _Course(
        plan,
        frozenset(evaluations),
        train,
        held_out,
        options,
        folder,
        tell,
        lengths,
        kept_steps(plan, keeping.most),
        keeping,
        sum(train[index].weight for _, batch in plan for index in batch) / max(1, len(plan)),
    )
    progress = _begin(course, learner)
    saved_at = progress.seconds
    while not progress.ended:
        progress = _advance(course, learner, progress)
        if progress.step in course.keep_at:
            keeping.save(progress)
        due = progress.seconds - saved_at >= options.checkpoint_seconds
        if due or progress.ended or progress.step in course.evaluations | course.keep_at:
            learner.company.save(folder, progress, learner)
            saved_at = progress.seconds
    return progress


def learning_rate_at(share: float, warm_up: float, peak: float) -> float:
    """Linear rise over the first `warm_up` of the training, then half a cosine to a twentieth.

    `share` is how much of the training is done, 0 to 1.
    """
    if share < warm_up:
        return peak * (share / warm_up)
    fall = (min(share, 1.0) - warm_up) / max(1e-9, 1.0 - warm_up)
    return peak * (0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * fall)))


def held_out_loss(learner: Learner, rows: Sequence[Learnable], tokens_per_batch: int) -> float:
    """Mean loss in nats: per answer token, or per pair of answers."""
    return held_out_scores(learner, rows, tokens_per_batch)[0]


def held_out_scores(
    learner: Learner, rows: Sequence[Learnable], tokens_per_batch: int
) -> tuple[float, float]:
    """Mean loss in nats per answer token, or pair, and the share of those that are right."""
    import torch

    learner.model.eval()
    lengths = [len(row) for row in rows]
    total, count, right = 0.0, 0, 0
    with torch.no_grad():
        for _, batch in training_plan(lengths, tokens_per_batch, seed=0, epochs=1):
            loss, weight, hits = learner.scores(learner, [rows[index] for index in batch])
            total, count, right = total + loss.item(), count + weight, right + hits
    return total / count, right / count


def padding_of(rows: Sequence[Packable], options: TrainingOptions) -> float:
    """The share of the first epoch's batches that is padding where rows are not packed, 0 to 1."""
    lengths = [len(row) for row in rows]
    plan = training_plan(
        lengths, options.tokens_per_batch, options.seed, 1.0, options.rows_per_batch
    )
    return padding_share(
        part for _, batch in plan for part in _parts(rows, batch, lengths, options)
    )


def kept_steps(plan: Sequence[tuple[float, list[int]]], most: int) -> frozenset[int]:
    """The steps that end an epoch, the last one among them, thinned evenly to `most`."""
    if most <= 0:
        return frozenset()
    ends = sorted({*_evaluation_steps(plan, 1)})
    if len(ends) > most:
        ends = [ends[math.ceil((n + 1) * len(ends) / most) - 1] for n in range(most)]
    return frozenset(ends)


def _begin(course: _Course, learner: Learner) -> Progress:
    progress = latest_checkpoint(course.folder)
    if progress is not None:
        learner.company.restore(course.folder, progress.step, learner)
        course.tell("training", {"resumed": True, "step": progress.step})
        return progress
    if not course.held_out:
        return Progress()
    started = time.monotonic()
    tokens = course.options.tokens_per_batch
    before, accuracy = held_out_scores(learner, course.held_out, tokens)
    # what the untrained model makes of the held-out answers; its "train loss" is the same thing
    seconds = learner.company.clock(time.monotonic() - started)
    point = LearningPoint(0, 0.0, before, before, seconds, accuracy)
    return Progress(seconds=point.seconds, learning=(point,))


def _advance(course: _Course, learner: Learner, progress: Progress) -> Progress:
    started = time.monotonic()
    options = course.options
    epoch, batch = course.plan[progress.step]
    rows = [course.train[index] for index in batch]
    rate = learning_rate_at(
        _share(course, progress, ahead=1), options.warm_up, options.learning_rate
    )
    parts = _parts(course.train, batch, course.lengths, options)
    scores = take_step(learner, parts, course.usual, learning_rate=rate, clip=options.clip)
    _check_finite(scores.loss, scores.norm, progress.step + 1, options)
    progress = replace(
        progress,
        step=progress.step + 1,
        epoch=epoch,
        tokens=progress.tokens + sum(map(len, rows)),
        loss_sum=progress.loss_sum + scores.loss,
        loss_tokens=progress.loss_tokens + scores.weight,
    )
    before = progress.seconds
    progress = replace(progress, seconds=learner.company.clock(before + time.monotonic() - started))
    progress, looked = _look(course, learner, progress)
    if looked:
        seconds = learner.company.clock(before + time.monotonic() - started)
        progress = replace(progress, seconds=seconds)
    progress = replace(progress, ended=_why_ended(course, progress))
    told = {
        "train_loss": scores.loss / scores.weight,
        "train_accuracy": scores.right / scores.weight,
    }
    accuracy = progress.learning[-1].held_out_accuracy if looked else None
    _report(course, progress, {**told, "held_out_accuracy": accuracy})
    return progress


def _parts(
    rows: Sequence[Kind], batch: Sequence[int], lengths: Sequence[int], options: TrainingOptions
) -> list[list[Kind]]:
    """The rows of a step, in as many parts as memory asks for."""
    if options.rows_per_batch is None:
        return [[rows[index] for index in batch]]
    parts = fitting(batch, lengths, options.tokens_per_batch)
    return [[rows[index] for index in part] for part in parts]


def _look(course: _Course, learner: Learner, progress: Progress) -> tuple[Progress, bool]:
    """Adds a learning point when one is due, and says whether held-out answers were looked at.

    They are also looked at when time is over: the rate has fallen by then, and weights that
    nobody looked at could not be kept.
    """
    steps = len(course.plan)
    over = bool(course.held_out) and _is_out_of_time(course, progress)
    evaluate = progress.step in course.evaluations or over
    if not evaluate and progress.step % math.ceil(steps / POINTS) and progress.step < steps:
        return progress, False
    loss, accuracy = (
        held_out_scores(learner, course.held_out, course.options.tokens_per_batch)
        if evaluate
        else (None, None)
    )
    point = LearningPoint(
        progress.step,
        progress.epoch,
        progress.loss_sum / progress.loss_tokens,
        loss,
        progress.seconds,
        accuracy,
    )
    _check_sound(progress.learning, point, course.options)
    earlier = progress.learning
    progress = replace(progress, learning=(*earlier, point), loss_sum=0.0, loss_tokens=0)
    if not evaluate:
        return progress, False
    better = _is_better(point, progress, course.options)
    learns = better or _still_learns(point, earlier)
    progress = replace(progress, worse=0 if learns else progress.worse + 1)
    if better:
        progress = replace(progress, best_step=point.step, best_loss=loss, best_accuracy=accuracy)
    return progress, True


def _still_learns(point: LearningPoint, earlier: Sequence[LearningPoint]) -> bool:
    """Whether the held-out loss is the lowest so far, the untrained model's left aside.

    The share of right tokens moves in jumps and is still for a while as the loss falls: by it
    alone a training would be ended that goes on to learn.
    """
    seen = [one.held_out_loss for one in earlier if one.step and one.held_out_loss is not None]
    return point.held_out_loss is not None and point.held_out_loss < min(seen, default=math.inf)


def _is_better(point: LearningPoint, progress: Progress, options: TrainingOptions) -> bool:
    """Whether the weights of this moment are to be kept rather than those kept so far."""
    now = (point.held_out_accuracy or 0.0, -(point.held_out_loss or 0.0))
    before = (progress.best_accuracy or 0.0, -(progress.best_loss or 0.0))
    if progress.best_loss is None:
        return True
    return now > before if options.judged_by == "accuracy" else now[1] > before[1]


def _share(course: _Course, progress: Progress, ahead: int) -> float:
    """How much of the training is done: by steps or by time, whichever is further."""
    share = (progress.step + ahead) / len(course.plan)
    if course.options.max_seconds is None:
        return share
    return max(share, progress.seconds / course.options.max_seconds)


def _why_ended(course: _Course, progress: Progress) -> str:
    options = course.options
    if progress.step >= len(course.plan):
        return "all epochs done"
    if progress.worse >= options.patience and not options.to_the_end:
        return _STOPPED[options.judged_by]
    return "time limit" if _is_out_of_time(course, progress) else ""


def _is_out_of_time(course: _Course, progress: Progress) -> bool:
    limit = course.options.max_seconds
    return limit is not None and progress.seconds >= limit


def _report(course: _Course, progress: Progress, scores: dict[str, float | None]) -> None:
    per_share = progress.seconds / max(1e-9, _share(course, progress, ahead=0))
    evaluated = [p.held_out_loss for p in progress.learning if p.held_out_loss is not None]
    course.tell(
        "training",
        {
            "step": progress.step,
            "steps": len(course.plan),
            "epoch": round(progress.epoch, 3),
            **scores,
            "held_out_loss": evaluated[-1] if evaluated else None,
            "tokens_per_second": progress.tokens / max(1e-9, progress.seconds),
            "seconds_left": max(0.0, per_share - progress.seconds),
        },
    )


def _evaluation_steps(plan: Sequence[tuple[float, list[int]]], per_epoch: int) -> list[int]:
    """The steps that complete another 1/`per_epoch` of an epoch, and the last one."""
    steps = [
        number
        for number, (epoch, _) in enumerate(plan, start=1)
        if math.floor(epoch * per_epoch + 1e-9)
        > math.floor((plan[number - 2][0] if number > 1 else 0.0) * per_epoch + 1e-9)
    ]
    return [*steps, len(plan)]


def _check_finite(loss: float, norm: float, step: int, options: TrainingOptions) -> None:
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise _diverged(f"loss {loss}, gradient norm {norm} at step {step}", options)


def _check_sound(
    earlier: Sequence[LearningPoint], point: LearningPoint, options: TrainingOptions
) -> None:
    """Refuse to go on when the loss is far above where the untrained model began."""
    if not earlier:
        return
    first = earlier[0].train_loss
    now = point.train_loss if point.held_out_loss is None else point.held_out_loss
    if now > 2 * first + 1:
        raise _diverged(f"loss rose from {first:.2f} to {now:.2f} by step {point.step}", options)


def _diverged(what: str, options: TrainingOptions) -> ModelError:
    return ModelError(
        f"training diverged: {what}",
        hint=f"lower learning_rate (it was {options.learning_rate:g}; "
        f"try {options.learning_rate / 5:.1g})",
    )
