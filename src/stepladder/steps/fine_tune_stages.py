"""The trainings that one local fine-tuning is made of, each a job of its own over the last one.

    domain       every token of the domain's raw text, where there is some
    answers      the train examples, always
    preferences  pairs of a better and a worse answer, for method "preference"

Each ends in a model folder that the next begins from, so that a killed run goes on in the stage
where it was, and another choice in a later stage does not repeat the earlier ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..core import LearningPoint, Task
from ..errors import NotApplicable
from ..solvers.calling import CallingSolver
from ..solvers.prompt import PromptSolver, render, render_target
from ..trainers import Pair, TrainedModel, TrainingJob, TrainingOptions
from ..trainers.tuning_data import PREFERENCES, read_preferences
from .fine_tune_domain import DomainText, read_domain
from .fine_tune_plan import held_out_size

if TYPE_CHECKING:
    from .fine_tune import FineTune

__all__ = ["DomainText", "Stage", "domain_stage", "preference_stage", "stage_words"]

DOMAIN_RATE = {"full": 1e-4, "lora": 1e-3}  # rules of thumb
DOMAIN_LENGTH = 512  # tokens of a block
PREFERENCE_RATE = 2e-4  # for LoRA: a tenth of the rate that teaches answers (a rule of thumb)
PREFERENCE_EPOCHS = 3.0
LEAST_PAIRS = 8
LETTERS_PER_TOKEN = 4.0  # of English, for an estimate


@dataclass(frozen=True)
class Stage:
    """One training: `job` makes it over the model in a folder; `tokens` is an estimate of its size.

    `loss` names what its held-out loss is taken over.
    """

    name: Literal["domain", "answers", "preferences"]
    job: Callable[[str, Path], TrainingJob]
    tokens: float
    loss: str


def domain_stage(step: FineTune, task: Task, options: TrainingOptions) -> Stage:
    """Continued pre-training on the raw text that `domain` names, in the task's folder."""
    assert step.domain is not None
    text = read_domain(task.folder / step.domain, task.seed)
    # an adapter of few numbers learns answers well and a language badly, where all weights fit
    method: Literal["full", "lora"] = "lora" if options.method == "qlora" else "full"
    mine = replace(
        options,
        objective="text",
        judged_by="loss",
        method=method,
        layers=0,
        virtual_tokens=0,
        learning_rate=DOMAIN_RATE[method],
        epochs=step.domain_epochs,
        tokens_per_batch=max(DOMAIN_LENGTH, options.tokens_per_batch),
        max_length=DOMAIN_LENGTH,
        weight_decay=0.01,
    )
    tokens = text.characters / LETTERS_PER_TOKEN * step.domain_epochs

    def job(base: str, folder: Path) -> TrainingJob:
        given = (base, folder, text.train, text.held_out, mine, step.threads, step.device)
        return TrainingJob(*given, packing=step.packing)

    return Stage("domain", job, tokens, "token of held-out domain text")


def preference_stage(
    step: FineTune,
    task: Task,
    solver: PromptSolver | CallingSolver,
    options: TrainingOptions,
    mean_tokens: float,
) -> Stage:
    """Learning to prefer, by the pairs in the task's folder; the last of them are held out.

    Raises NotApplicable for a task of calls or too few pairs, TaskError for a file that cannot be
    read.
    """
    if isinstance(solver, CallingSolver):
        raise NotApplicable(
            "preferences between calls of functions cannot be tuned on",
            hint="leave method out to tune on the calls themselves",
        )
    pairs = tuple(
        Pair(
            render(solver, one.input),
            render_target(solver, one.chosen),
            render_target(solver, one.rejected),
        )
        for one in read_preferences(task.folder / PREFERENCES)
    )
    if len(pairs) < LEAST_PAIRS:
        raise NotApplicable(
            f"{len(pairs)} pairs of answers are too few to learn from",
            hint=f"write at least {LEAST_PAIRS} into {PREFERENCES}",
        )
    held = min(held_out_size(len(pairs), step.held_out), len(pairs) // 2)
    mine = replace(
        options,
        objective="preference",
        judged_by="loss",
        beta=step.beta,
        learning_rate=step.learning_rate or PREFERENCE_RATE,
        epochs=step.epochs or PREFERENCE_EPOCHS,
        tokens_per_batch=2 * options.tokens_per_batch,  # a pair is two rows
    )

    def job(base: str, folder: Path) -> TrainingJob:
        cut = len(pairs) - held
        given = (base, folder, pairs[:cut], pairs[cut:], mine, step.threads, step.device)
        return TrainingJob(*given, packing=step.packing)

    tokens = 2 * mean_tokens * len(pairs) * mine.epochs
    return Stage("preferences", job, tokens, "held-out pair")


def stage_words(done: Sequence[tuple[Stage, TrainingJob, TrainedModel]]) -> str:
    """What each stage did to its own held-out loss, and what went before the answers."""
    said = ""
    for stage, job, trained in done:
        looked = [point for point in trained.learning if point.held_out_loss is not None]
        losses = [p.held_out_loss for p in looked if p.held_out_loss is not None]
        if stage.name == "domain":
            said += f"; before that, on {len(job.train)} texts of the domain"
            if len(losses) > 1:
                before, after = math.exp(losses[0]), math.exp(min(losses))
                said += f" (perplexity of held-out text {before:.1f} to {after:.1f})"
            continue
        if stage.name == "preferences":
            said += f"; after that, on {len(job.train)} pairs of answers"
            right = trained.facts.get("preferences", {}).get("right")
            if right is not None:
                said += f" (the better one gained more in {right:.0%} of the held-out pairs)"
            if len(losses) > 1:
                said += (
                    f"; loss per {stage.loss} ({len(job.held_out)} of them) "
                    f"{losses[0]:.2f} to {min(losses):.2f}"
                )
        elif len(losses) > 1:
            said += f"; loss per answer token on {len(job.held_out)} held-out train examples "
            said += _learned(looked, trained.facts.get("best_step"))
    return said


def _learned(looked: Sequence[LearningPoint], best_step: int | None) -> str:
    """What the weights that were kept make of the held-out answers, after the untrained ones."""
    before, *after = looked
    lowest = min(after, key=lambda point: point.held_out_loss or 0.0)
    kept = next((point for point in after if point.step == best_step), lowest)
    said = f"{before.held_out_loss:.2f} to {kept.held_out_loss:.2f}"
    if before.held_out_accuracy is None or kept.held_out_accuracy is None:
        return said
    share = f"{before.held_out_accuracy:.0%} to {kept.held_out_accuracy:.0%}"
    return f"{said}, {share} of those tokens right"
