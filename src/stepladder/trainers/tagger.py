"""Fine-tunes the text encoder to find spans and what they are to each other, for JSON answers.

The shape of the answers and where their values stand is read by `alignment.py`. A tenth of train
is held out: it says when to stop, and from which score on a span or a link is taken.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..core import Example, Task, Workshop
from ..encoders.running import MOST_TOKENS, open_tokenizer
from ..encoders.windows import cut_windows
from ..errors import NotApplicable
from ..solvers.answer_shape import Shape
from ..solvers.artifact import save_artifact
from ..solvers.prompt import render_input
from ..solvers.span_scores import link_scores
from ..solvers.tagger import OVERLAP, SHAPE_FILE, SPANS_FILE, TaggerSolver, read_text
from . import TrainingOptions
from .alignment import Aligned, Alignment, align
from .encoder_jobs import EncoderJob, FittedEncoder, Train, hold_out, run_job, scratch_folder
from .encoder_model import encoder_artifact, make_encoder_learner, with_head
from .span_head import SpanRow, make_span_head, span_row_scores

__all__ = ["fit_tagger", "tagger_options"]

SEEN = 6000  # examples, over all epochs
EPOCHS = (6, 30)  # at least and at most

_OPTIONS = TrainingOptions(
    method="full",
    learning_rate=5e-4,
    tokens_per_batch=2048,
    rows_per_batch=16,
    warm_up=0.1,
    weight_decay=0.01,
    evaluations_per_epoch=1,
    to_the_end=True,  # the loss of held-out spans rises while more of them are found
)
LOWEST = -3.0  # the least sure spans that are looked at when the bar is chosen
BARS = np.arange(LOWEST, 3.01, 0.25)


def tagger_options(examples: int) -> TrainingOptions:
    """How so many examples are learnt where nothing is said."""
    least, most = EPOCHS
    return replace(_OPTIONS, epochs=float(min(most, max(least, round(SEEN / max(1, examples))))))


def fit_tagger(
    task: Task, train: Sequence[Example], workshop: Workshop, options: TrainingOptions
) -> FittedEncoder:
    """The encoder tuned to write answers in the shape of train's.

    Raises:
        NotApplicable: answers are no records of values that are copied from the text.
        MissingExtra: torch or transformers is not installed.
        ModelError: the training diverged, or the encoder's weights cannot be had.
        StoreError: a checkpoint cannot be written.
    """
    alignment = align(train)
    job = EncoderJob("spans", tuple(train), replace(options, seed=task.seed))
    return run_job(job, workshop, partial(_make, job, alignment, workshop))


def _make(job: EncoderJob, alignment: Alignment, workshop: Workshop, train: Train) -> FittedEncoder:
    import torch

    texts = [render_input(example.input) for example in job.train]
    rows, lost = _cut(alignment, texts)
    shape = replace(alignment.shape, widest=_widest(rows))
    held, learnt = hold_out(job.train, job.options.seed)
    model = with_head(torch.nn.Identity())
    model["head"] = make_span_head(shape, model["encoder"].config.hidden_size)
    learner = make_encoder_learner(model, partial(span_row_scores, shape), job.options.weight_decay)
    flat = [[row for at in part for row in rows[at]] for part in (learnt, held)]
    train(learner, flat[0], flat[1])
    made = {**encoder_artifact(model), SPANS_FILE: _head_weights(model["head"])}
    with scratch_folder({**made, SHAPE_FILE: _shape_file(shape, LOWEST, 0.0)}) as folder:
        gold = [alignment.rows[at] for at in held]
        span_bar, link_bar, words = _bars(folder, shape, [texts[at] for at in held], gold)
    files = {**made, SHAPE_FILE: _shape_file(shape, span_bar, link_bar)}
    cautions = [*alignment.cautions]
    if lost > 0:
        cautions.append(
            f"{lost} spans of train begin or end within a token of the encoder, or are longer "
            "than a window: they were not learnt"
        )
    solver = TaggerSolver(save_artifact(workshop.artifacts, files))
    return FittedEncoder(solver, words, tuple(cautions))


def _cut(alignment: Alignment, texts: Sequence[str]) -> tuple[list[list[SpanRow]], int]:
    """The windows of each text, and how many spans of train are whole in none of them."""
    encoded = open_tokenizer().encode_batch(list(texts))
    cut = [list(_rows(alignment, at, one)) for at, one in enumerate(encoded)]
    kept = sum(len({number for _, numbers in own for number in numbers}) for own in cut)
    lost = sum(len(one.spans) for one in alignment.rows) - kept
    return [[row for row, _ in own] for own in cut], lost


def _widest(rows: Sequence[Sequence[SpanRow]]) -> int:
    """Tokens of the longest span."""
    widths = [last - first + 1 for own in rows for row in own for _, first, last in row.spans]
    if not widths:
        raise NotApplicable("no value of train begins and ends with a token of the encoder")
    return max(widths)


def _rows(alignment: Alignment, at: int, encoded: Any) -> Iterator[tuple[SpanRow, list[int]]]:
    """The windows of an example with what of its gold lies within each, and which spans that is."""
    aligned, shape = alignment.rows[at], alignment.shape
    begins = {start: n for n, (start, end) in enumerate(encoded.offsets) if end > start}
    ends = {end: n for n, (start, end) in enumerate(encoded.offsets) if end > start}
    for (start, end), ids in cut_windows(encoded.ids, MOST_TOKENS, OVERLAP):
        kept: dict[int, tuple[int, int, int]] = {}
        for number, (tag, one, other) in enumerate(aligned.spans):
            first, last = begins.get(one, -1) - start, ends.get(other, -1) - start
            if 0 < first <= last <= end - start:
                kept[number] = (tag, first, last)
        yield _window(shape, aligned, tuple(ids), kept), list(kept)


def _window(
    shape: Shape, aligned: Aligned, ids: tuple[int, ...], kept: dict[int, tuple[int, int, int]]
) -> SpanRow:
    place = {number: at for at, number in enumerate(kept)}
    spans = tuple(kept.values())
    looked = _linked(shape)
    pairs = tuple(
        (a, b)
        for a in range(len(spans))
        for b in range(len(spans))
        if a != b and (spans[a][0], spans[b][0]) in looked
    )
    links = tuple(
        (place[a], place[b], link) for a, b, link in aligned.links if a in place and b in place
    )
    first: dict[int, int] = {}
    for n, (of, _) in enumerate(shape.choices):
        first.setdefault(of, n)
    frames = tuple(
        (
            tuple(place[n] for n in members if n in place),
            tuple((first[of] + n, value) for n, value in enumerate(chosen)),
        )
        for of, members, chosen in aligned.frames
        if chosen
    )
    return SpanRow(ids, spans, links, pairs, frames)


def _linked(shape: Shape) -> set[tuple[int, int]]:
    """The pairs of tags between whose spans there may be links."""
    return {ends for one in shape.records for ends in one.ends}


def _head_weights(head: Any) -> bytes:
    from safetensors.torch import save

    return save({name: one.detach().contiguous() for name, one in head.state_dict().items()})


def _shape_file(shape: Shape, span_bar: float, link_bar: float) -> bytes:
    record = {"shape": asdict(shape), "span_bar": span_bar, "link_bar": link_bar}
    return json.dumps(record, ensure_ascii=False).encode()


def _bars(
    folder: Path, shape: Shape, texts: Sequence[str], gold: Sequence[Aligned]
) -> tuple[float, float, str]:
    """(bar of spans, bar of links, how good they are, in words), for the best F1 as served."""
    from safetensors.numpy import load_file

    weights = load_file(folder / SPANS_FILE)
    spans: list[tuple[float, bool]] = []
    links: list[tuple[float, bool]] = []
    for (seen, _), aligned in zip(read_text(folder, texts), gold, strict=True):
        wanted = {*aligned.spans}
        keys = [(one.node.tag, one.node.start, one.node.end) for one in seen]
        spans += [(one.node.score, key in wanted) for one, key in zip(seen, keys, strict=True)]
        if shape.links and len(seen) > 1:
            tags = np.array([one.node.tag for one in seen])
            found = link_scores(weights, np.stack([one.ends for one in seen]), tags)
            links += _judged_links(shape, found, keys, aligned)
    span_bar, span_f1 = _best_bar(spans, sum(len(one.spans) for one in gold))
    link_bar, link_f1 = _best_bar(links, sum(told for _, told in links))
    words = f"F1 of spans {span_f1:.3f}"
    if shape.links:
        words += f", of links between right spans {link_f1:.3f}"
    return span_bar, link_bar, f"{words} (n = {len(texts)})"


def _judged_links(
    shape: Shape, scores: Any, keys: Sequence[tuple[int, int, int]], gold: Aligned
) -> list[tuple[float, bool]]:
    """(score, whether it is there) of each link that may be between two right spans of a text.

    `keys` are the (tag, start, end) of its spans, and `scores` (spans, spans, links) of them.
    """
    place = {key: n for n, key in enumerate(keys)}
    told = {
        (place[gold.spans[a]], place[gold.spans[b]], link)
        for a, b, link in gold.links
        if gold.spans[a] in place and gold.spans[b] in place
    }
    right = [n for n, key in enumerate(keys) if key in {*gold.spans}]
    looked = _linked(shape)
    return [
        (float(scores[a, b, n]), (a, b, n) in told)
        for a in right
        for b in right
        if a != b and (keys[a][0], keys[b][0]) in looked
        for n in range(len(shape.links))
    ]


def _best_bar(found: Sequence[tuple[float, bool]], wanted: int) -> tuple[float, float]:
    """(bar, F1): of equals the one nearest to 0, where training put it."""
    scores = np.array([score for score, _ in found])
    right = np.array([told for _, told in found], dtype=bool)
    best = (0.0, 0.0)
    for bar in sorted(BARS, key=abs):
        taken = scores >= bar
        f1 = 2 * float(right[taken].sum()) / max(1.0, float(taken.sum()) + wanted)
        if f1 > best[1] + 1e-9:
            best = (float(bar), f1)
    return best
