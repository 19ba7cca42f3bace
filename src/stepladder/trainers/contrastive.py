"""Tunes the text encoder so that texts of a label lie together, then fits a linear model on it.

After SetFit (Tunstall et al., 2022): pairs of a label are pulled together. Here every other text of
a batch counts at once (supervised contrastive loss, Khosla et al., 2020), which reads each text
once where pairs apart from each other would read it for each of its partners.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..core import Example, Task, Workshop
from ..encoders.running import vectors
from ..errors import NotApplicable
from ..solvers.prompt import render_input
from . import TrainingOptions
from .encoder import fitted
from .encoder_jobs import EncoderJob, FittedEncoder, Train, hold_out, run_job, scratch_folder
from .encoder_model import (
    EncodedText,
    encode_texts,
    encoder_artifact,
    make_encoder_learner,
    text_vectors,
    with_head,
)
from .heads import fit_judged
from .labelled import Labelled, read_labels
from .learner import Learner

__all__ = ["CONTRASTIVE_OPTIONS", "Pair", "draw_pairs", "fit_contrastive", "pairs_of"]

CONTRASTIVE_OPTIONS = TrainingOptions(
    method="full",
    learning_rate=1e-4,
    epochs=8.0,
    tokens_per_batch=8192,
    rows_per_batch=32,
    warm_up=0.1,
    weight_decay=0.01,
    evaluations_per_epoch=1,
    patience=2,
)
TEMPERATURE = 0.07  # of cosines in the loss
MOST_PAIRS = 4000  # drawn of train
LEAST_PAIRS = 512  # in an epoch: a small train is drawn from again and again


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts that share a label."""

    one: EncodedText
    other: EncodedText

    def __len__(self) -> int:
        return len(self.one) + len(self.other)

    @property
    def weight(self) -> int:
        """What the mean loss is taken over."""
        return 1


def fit_contrastive(
    task: Task,
    train: Sequence[Example],
    workshop: Workshop,
    options: TrainingOptions = CONTRASTIVE_OPTIONS,
) -> FittedEncoder:
    """The tuned encoder with a linear model on it.

    Raises:
        NotApplicable: train has no labels to learn, or no two examples of one label.
        MissingExtra: torch or transformers is not installed.
        ModelError: the training diverged, or the encoder's weights cannot be had.
        StoreError: a checkpoint cannot be written.
    """
    labelled = read_labels(task, train)
    job = EncoderJob("pairs", tuple(train), replace(options, seed=task.seed), labelled.labels)
    return run_job(job, workshop, partial(_make, job, labelled, workshop))


def pairs_of(n: int) -> int:
    """How many pairs an epoch over `n` texts has."""
    return min(MOST_PAIRS, max(LEAST_PAIRS, n))


def draw_pairs(
    anchors: Sequence[EncodedText], pool: Sequence[EncodedText], n: int, seed: int
) -> list[Pair]:
    """At most `n` pairs: each anchor in turn with a random other text of `pool` and its label.

    An anchor that shares a label with nothing is left out.
    """
    chance = random.Random(seed)
    by_label: dict[int, list[EncodedText]] = {}
    for text in pool:
        for label in text.labels:
            by_label.setdefault(label, []).append(text)
    found: list[Pair] = []
    while len(found) < n:
        before = len(found)
        for anchor in chance.sample(anchors, len(anchors)):
            if not anchor.labels:
                continue
            others = [
                one for one in by_label.get(chance.choice(anchor.labels), ()) if one is not anchor
            ]
            if others:
                found.append(Pair(anchor, chance.choice(others)))
        if len(found) == before:
            break
    return found[:n]


def _make(job: EncoderJob, labelled: Labelled, workshop: Workshop, train: Train) -> FittedEncoder:
    import torch

    seed = job.options.seed
    texts = [render_input(example.input) for example in job.train]
    rows = encode_texts(texts, labelled.places)
    held, learnt = hold_out(job.train, seed)
    known, held_rows = [rows[at] for at in learnt], [rows[at] for at in held]
    pairs = draw_pairs(known, known, pairs_of(len(known)), seed)
    if not pairs:
        raise NotApplicable("no two train examples share a label")
    judged = draw_pairs(held_rows, known, max(len(held), 64), seed)
    model = with_head(torch.nn.Identity())
    learner = make_encoder_learner(model, _pair_scores, job.options.weight_decay)
    train(learner, pairs, judged)
    made = encoder_artifact(model)
    with scratch_folder(made) as folder:
        found = vectors(texts, folder)
    linear = fit_judged(found, labelled, held, learnt)
    return fitted(learner, held_rows, found[held], made, linear, workshop)


def _pair_scores(learner: Learner, pairs: Sequence[Pair]) -> tuple[Any, int, int]:
    """For each text, how unlikely those of its labels are among all others, by cosine.

    Summed over pairs; right is a pair whose first text lies nearest to one that shares a label.
    """
    import torch

    texts = [pair.one for pair in pairs] + [pair.other for pair in pairs]
    found = text_vectors(learner, texts)
    cosines = found @ found.T / TEMPERATURE
    itself = torch.eye(len(texts), dtype=torch.bool)
    logits = cosines.masked_fill(itself, float("-inf"))
    logs = logits.log_softmax(dim=1).masked_fill(itself, 0.0)
    shared = _share_labels(texts) & ~itself
    loss = -(logs * shared).sum(1) / shared.sum(1)
    nearest = logits.detach().argmax(1)
    right = shared[torch.arange(len(texts)), nearest][: len(pairs)]
    return loss.sum() / 2, len(pairs), int(right.sum())


def _share_labels(texts: Sequence[EncodedText]) -> Any:
    """Which texts have a label in common, (texts, texts)."""
    import torch

    labels = sorted({label for text in texts for label in text.labels})
    place = {label: at for at, label in enumerate(labels)}
    has = torch.zeros((len(texts), len(labels)))
    for row, text in enumerate(texts):
        has[row, [place[label] for label in text.labels]] = 1
    return (has @ has.T) > 0
