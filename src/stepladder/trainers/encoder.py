"""Fine-tunes the text encoder to give labels: all of it learns but its word vectors.

It starts from the linear model on the frozen encoder, so that the encoder is not first bent towards
a head that knows nothing (Kumar et al., 2022), and few epochs are enough. The loop is that of the
language models, see `loop.py`; folder, lock and resuming are in `encoder_jobs.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..core import Example, Task, Workshop
from ..encoders.running import vectors
from ..solvers.artifact import save_artifact
from ..solvers.embedding_linear import EmbeddingLinearSolver
from ..solvers.prompt import render_input
from . import TrainingOptions
from .encoder_jobs import EncoderJob, FittedEncoder, Train, hold_out, run_job, scratch_folder
from .encoder_model import (
    EncodedText,
    encode_texts,
    encoder_artifact,
    make_encoder_learner,
    text_vectors,
    with_head,
)
from .heads import Linear, calibrated, fit_on_vectors, train_vectors
from .labelled import Labelled, read_labels
from .learner import Learner

__all__ = ["ENCODER_OPTIONS", "fit_encoder", "fitted"]

ENCODER_OPTIONS = TrainingOptions(
    method="full",
    learning_rate=1e-4,
    epochs=8.0,
    tokens_per_batch=4096,
    rows_per_batch=32,
    warm_up=0.1,
    weight_decay=0.01,
    evaluations_per_epoch=1,
    patience=2,
)
LEAST_ALIKE = 0.99  # cosine of the exported encoder's vector and the trained one's


def fit_encoder(
    task: Task,
    train: Sequence[Example],
    workshop: Workshop,
    options: TrainingOptions = ENCODER_OPTIONS,
) -> FittedEncoder:
    """The encoder tuned on train, a tenth of which says when to stop and how sure it is.

    Raises:
        NotApplicable: train has no labels to learn.
        MissingExtra: torch or transformers is not installed.
        ModelError: the training diverged, or the encoder's weights cannot be had.
        StoreError: a checkpoint cannot be written.
    """
    labelled = read_labels(task, train)
    job = EncoderJob("labels", tuple(train), replace(options, seed=task.seed), labelled.labels)
    return run_job(job, workshop, partial(_make, job, labelled, workshop))


def fitted(
    learner: Learner,
    held: Sequence[EncodedText],
    served: Any,
    encoder: Mapping[str, bytes],
    linear: Linear,
    workshop: Workshop,
) -> FittedEncoder:
    """The trained encoder, as the files of it that are served, with the linear model on it.

    `served` are the vectors of the `held` texts by those files.
    """
    artifact = save_artifact(workshop.artifacts, {**encoder, **linear.files()})
    return FittedEncoder(
        EmbeddingLinearSolver(artifact),
        linear.calibration.words(),
        (*_differ(learner, held, served), *linear.calibration.cautions()),
    )


def _differ(learner: Learner, rows: Sequence[EncodedText], served: Any) -> tuple[str, ...]:
    """A sentence where the vectors that are served are not those that were trained."""
    import torch

    with torch.no_grad():
        trained = np.vstack([text_vectors(learner, [row]).numpy() for row in rows])
    least = float((trained * served).sum(axis=1).min())
    if least >= LEAST_ALIKE:
        return ()
    return (
        f"the exported encoder is not quite the trained one: of a held-out text the vectors have "
        f"a cosine of {least:.3f}",
    )


def _make(job: EncoderJob, labelled: Labelled, workshop: Workshop, train: Train) -> FittedEncoder:
    """Trained, exported, and judged as it will be served."""
    texts = [render_input(example.input) for example in job.train]
    rows = encode_texts(texts, labelled.places)
    held, learnt = hold_out(job.train, job.options.seed)
    head = _first_head(job, labelled, learnt, workshop)
    scores = _several_scores if labelled.several else _single_scores
    learner = make_encoder_learner(with_head(head), scores, job.options.weight_decay)
    held_rows = [rows[at] for at in held]
    train(learner, [rows[at] for at in learnt], held_rows)
    weights, intercepts = (one.detach().numpy() for one in (head.weight, head.bias))
    made = encoder_artifact(learner.model)
    with scratch_folder(made) as folder:
        served = vectors([texts[at] for at in held], folder)
    scored = served @ weights.T + intercepts
    final, calibration = calibrated(labelled, scored, labelled.rows(held))
    linear = Linear(final, weights, intercepts, calibration)
    return fitted(learner, held_rows, served, made, linear, workshop)


def _first_head(
    job: EncoderJob, labelled: Labelled, learnt: Sequence[int], workshop: Workshop
) -> Any:
    """The linear model on the frozen encoder, as a torch module."""
    import torch

    examples = [job.train[at] for at in learnt]
    part = replace(labelled, truth=labelled.rows(learnt))
    found = train_vectors(examples, workshop)
    start = fit_on_vectors(found, part, examples, job.options.seed)
    head = torch.nn.Linear(found.shape[1], len(labelled.labels))
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(start.weights))
        head.bias.copy_(torch.from_numpy(start.intercepts))
    return head


def _single_scores(learner: Learner, rows: Sequence[EncodedText]) -> tuple[Any, int, int]:
    """Cross-entropy of the one label."""
    import torch

    logits = learner.model["head"](text_vectors(learner, rows))
    truth = torch.tensor([row.labels[0] for row in rows])
    loss = torch.nn.functional.cross_entropy(logits, truth, reduction="sum")
    return loss, len(rows), int((logits.argmax(1) == truth).sum())


def _several_scores(learner: Learner, rows: Sequence[EncodedText]) -> tuple[Any, int, int]:
    """Cross-entropy of each label by itself, summed over labels."""
    import torch

    logits = learner.model["head"](text_vectors(learner, rows))
    truth = torch.zeros_like(logits)
    for at, row in enumerate(rows):
        truth[at, list(row.labels)] = 1
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="sum")
    return loss, len(rows), int(((logits > 0) == (truth > 0)).all(1).sum())
