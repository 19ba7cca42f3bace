"""Extraction by a tuned encoder: finds spans and how they belong together, and writes the JSON.

Its weights lie in one artifact with the shape of the task's answers. Long texts are read in
windows that overlap; a span that several of them see is taken as the surest one sees it. Made by
`trainers/tagger.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..core import Input, Output, Workshop
from ..encoders.running import BATCH, MOST_TOKENS, open_tokenizer, run
from ..encoders.windows import cut_windows
from ..registry import need
from .answer_shape import Found, Node, Shape, put_together, shape_from_record
from .artifact import open_artifact
from .prompt import render_input
from .span_scores import choice_scores, link_scores, span_scores
from .timed import timed

__all__ = ["OVERLAP", "SHAPE_FILE", "SPANS_FILE", "TaggerSolver", "find", "read_text"]

OVERLAP = 64  # tokens that neighbouring windows share
SHAPE_FILE = "shape.json"
SPANS_FILE = "spans.safetensors"
MOST_NODES = 200  # of a text, the surest: each is looked at beside each


@dataclass(frozen=True)
class TaggerSolver:
    """Answers JSON in the shape of train's; confidence is the mean probability of its spans."""

    artifact: str
    kind: str = field(default="tagger", init=False)

    def answer(self, inputs: Sequence[Input], workshop: Workshop) -> Iterator[tuple[int, Output]]:
        """An answer in the shape of train's for each input."""
        folder = open_artifact(workshop.artifacts, self.artifact)
        yield from timed(self.kind, inputs, lambda batch: _tag(folder, batch), BATCH)


@dataclass(frozen=True)
class _Tagger:
    shape: Shape
    weights: dict[str, Any]
    span_bar: float  # the logit from which on a span is taken
    link_bar: float


@dataclass(frozen=True)
class _Seen:
    """A span with the hidden states of its first and last token, and the mean of its tokens."""

    node: Node
    ends: Any
    mean: Any


def read_text(folder: Path, texts: Sequence[str]) -> list[tuple[list[_Seen], Any]]:
    """(spans above the bar, mean of all tokens) for each text."""
    tagger = _load(folder)
    encoded = open_tokenizer(folder).encode_batch(list(texts))
    owners: list[tuple[int, int]] = []
    windows: list[list[int]] = []
    for at, one in enumerate(encoded):
        for (start, _), ids in cut_windows(one.ids, MOST_TOKENS, OVERLAP):
            owners.append((at, start))
            windows.append(ids)
    seen: list[dict[tuple[int, int, int], _Seen]] = [{} for _ in texts]
    sums = np.zeros((len(texts), 1), dtype=np.float32)
    wholes: Any = None
    for rows, hidden in run(windows, "hidden", folder):
        if wholes is None:
            wholes = np.zeros((len(texts), hidden.shape[2]), dtype=np.float32)
        for row, states in zip(rows, hidden, strict=True):
            at, start = owners[row]
            states = states[: len(windows[row])]
            wholes[at] += states.sum(axis=0)
            sums[at] += len(states)
            offsets = encoded[at].offsets[1 + start : start + len(states) - 1]
            for one in _spans(tagger, states, offsets, texts[at]):
                key = (one.node.tag, one.node.start, one.node.end)
                if key not in seen[at] or seen[at][key].node.score < one.node.score:
                    seen[at][key] = one
    best = [sorted(one.values(), key=lambda s: -s.node.score)[:MOST_NODES] for one in seen]
    return [(one, wholes[at] / sums[at]) for at, one in enumerate(best)]


def find(folder: Path, seen: Sequence[_Seen], whole: Any) -> Found:
    """Spans, the links between them, and frames with their classes."""
    tagger = _load(folder)
    nodes = [one.node for one in seen]
    links: dict[tuple[int, int], Sequence[float]] = {}
    if nodes and tagger.shape.links:
        tags = np.array([node.tag for node in nodes])
        scores = link_scores(tagger.weights, np.stack([one.ends for one in seen]), tags)
        scores -= tagger.link_bar
        links = {
            (a, b): scores[a, b].tolist()
            for a in range(len(nodes))
            for b in range(len(nodes))
            if a != b and nodes[a].text != nodes[b].text
        }
    groups = {
        at: _groups(tagger.shape, at, nodes, links)
        for at, one in enumerate(tagger.shape.records)
        if one.style == "frame"
    }
    choices = {
        (at, number): _choose(tagger, at, whole, [seen[n].mean for n in group])
        for at, found in groups.items()
        for number, group in enumerate(found)
    }
    return Found(nodes, links, groups, choices)


def _tag(folder: Path, inputs: Sequence[Input]) -> list[Output]:
    shape = _load(folder).shape
    outputs = []
    for seen, whole in read_text(folder, [render_input(one) for one in inputs]):
        answer = put_together(shape, find(folder, seen, whole))
        sure = [1 / (1 + np.exp(-one.node.score)) for one in seen]
        confidence = float(np.mean(sure)) if sure else None
        outputs.append(
            Output(answer, json.dumps(answer, ensure_ascii=False), confidence=confidence)
        )
    return outputs


def _spans(
    tagger: _Tagger, states: Any, offsets: Sequence[tuple[int, int]], text: str
) -> Iterator[_Seen]:
    scores = span_scores(tagger.weights, states, tagger.shape.widest)
    for first, last, tag in zip(*np.nonzero(scores > tagger.span_bar), strict=True):
        start, end = offsets[first - 1][0], offsets[last - 1][1]
        node = Node(int(tag), start, end, text[start:end], float(scores[first, last, tag]))
        ends = np.concatenate([states[first], states[last]])
        yield _Seen(node, ends, states[first : last + 1].mean(axis=0))


def _groups(
    shape: Shape, at: int, nodes: Sequence[Node], links: dict[tuple[int, int], Sequence[float]]
) -> list[list[int]]:
    """The frame's spans, in as many records as they belong to."""
    records = shape.records[at]
    own = [n for n, node in enumerate(nodes) if shape.tags[node.tag].records == at]
    own.sort(key=lambda n: (nodes[n].start, nodes[n].end))
    if not own:
        return [[]] if records.always else []
    if not records.grouped:
        return [own]
    place = shape.links.index((at, ()))
    groups: list[list[int]] = []
    for one in own:
        fits = [g for g in groups if np.mean([_both(links, one, n, place) for n in g]) > 0]
        for group in fits:
            group.append(one)
        if not fits:
            groups.append([one])
    return groups


def _both(links: dict[tuple[int, int], Sequence[float]], a: int, b: int, place: int) -> float:
    """How surely two spans are in one record; the same words twice are."""
    if (a, b) not in links:
        return 1.0
    return (links[a, b][place] + links[b, a][place]) / 2


def _choose(tagger: _Tagger, at: int, whole: Any, means: Sequence[Any]) -> list[int]:
    if not tagger.shape.choices:
        return []
    mean = np.mean(means, axis=0) if means else np.zeros_like(whole)
    scores = choice_scores(tagger.weights, whole, mean)
    chosen, start = [], 0
    for of, one in tagger.shape.choices:
        part = scores[start : start + len(one.values)]
        start += len(one.values)
        if of == at:
            chosen.append(int(part.argmax()))
    return chosen


@lru_cache(maxsize=8)
def _load(folder: Path) -> _Tagger:
    safetensors = need("safetensors.numpy", extra="local", what="the tagger")
    record = json.loads((folder / SHAPE_FILE).read_text(encoding="utf-8"))
    weights = safetensors.load_file(folder / SPANS_FILE)
    return _Tagger(
        shape_from_record(record["shape"]), weights, record["span_bar"], record["link_bar"]
    )
