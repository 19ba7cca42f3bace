"""A learned order of the best candidates: a few weights, found on train, kept as JSON.

Six things are looked at of each candidate, each standardised over the candidates of its query:

    words     BM25
    meaning   cosine of the encoder's vectors
    tokens    late interaction: the mean, over the query's tokens, of the best cosine with a token
              of the passage; rare words weigh more
    window    the same within the best 40 tokens of the passage
    pairs     share of the query's neighbouring words that are neighbours in the passage
    cover     share of the query's words that are in the passage; rare words weigh more

The weights make the gold passages most probable under a softmax over each query's candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..core import Json
from ..errors import NotApplicable, StepladderError
from .encoder import encode, encode_tokens, token_spans
from .index import Index
from .lexical import WORD, score_rows, word_weights

__all__ = ["FEATURES", "Ranker", "features", "fit_ranker", "reranked"]

FEATURES = ("words", "meaning", "tokens", "window", "pairs", "cover")
WINDOW, STEP = 40, 20  # tokens
STRENGTH = 1e-3  # of the pull towards weights of 0
DEPTH = 50


@dataclass(frozen=True)
class Ranker:
    """Weights of the features, and how many candidates are ordered by them.

    `queries` is how many train queries had a gold passage among their candidates.
    """

    weights: tuple[float, ...]
    depth: int = DEPTH
    queries: int = 0

    def record(self) -> dict[str, Json]:
        """As JSON, with the names of the features."""
        return {**asdict(self), "weights": dict(zip(FEATURES, self.weights, strict=True))}

    @staticmethod
    def load(record: Mapping[str, Json]) -> Ranker:
        """The ranker of a record.

        Raises:
            StepladderError: it is of other features than these.
        """
        weights = record.get("weights")
        if not isinstance(weights, Mapping) or tuple(weights) != FEATURES:
            raise StepladderError(
                f"the reranker's weights are not those of {', '.join(FEATURES)}",
                hint="learn it again with stepladder.knowledge.rerank.fit_ranker",
            )
        numbers = tuple(float(weights[name]) for name in FEATURES)
        return Ranker(numbers, int(record["depth"]), int(record.get("queries", 0)))


def reranked(
    index: Index, ranker: Ranker, queries: Sequence[str], found: Sequence[tuple[Any, Any]]
) -> list[tuple[Any, Any]]:
    """The same candidates, the first `depth` of each query in the ranker's order.

    What is beyond keeps its order, below all that was looked at. Scores are the ranker's.
    """
    heads = [rows[: ranker.depth] for rows, _ in found]
    weights = np.array(ranker.weights)
    made = []
    for (rows, _), head, seen in zip(found, heads, features(index, queries, heads), strict=True):
        scores = seen @ weights
        order = np.argsort(-scores, kind="stable")
        rest = rows[len(head) :]
        least = scores.min(initial=0.0)
        below = least - 1.0 - np.arange(len(rest))
        made.append((np.concatenate([head[order], rest]), np.concatenate([scores[order], below])))
    return made


def fit_ranker(
    index: Index,
    queries: Sequence[str],
    found: Sequence[tuple[Any, Any]],
    gold: Sequence[Any],
    depth: int = DEPTH,
) -> Ranker:
    """The weights that fit best. Data of train only: these are what a solver will use.

    `found` are the candidates of each query, `gold` the rows that are right for it (passages of a
    gold document, say). Queries without any among their first `depth` teach nothing.

    Raises:
        NotApplicable: no query has a right and a wrong candidate.
    """
    from scipy.optimize import minimize

    heads = [rows[:depth] for rows, _ in found]
    taught = []
    for seen, head, right in zip(features(index, queries, heads), heads, gold, strict=True):
        is_gold = np.isin(head, right)
        if is_gold.any() and not is_gold.all():
            taught.append((seen, is_gold / is_gold.sum()))
    if not taught:
        raise NotApplicable(
            "no train query has a gold passage among others that were found",
            hint="name the gold documents of the examples, or leave the reranker out",
        )

    def loss(weights: Any) -> tuple[float, Any]:
        total, slope = STRENGTH * float(weights @ weights), 2 * STRENGTH * weights
        for seen, share in taught:
            scores = seen @ weights
            log_sum = np.logaddexp.reduce(scores)
            total += (log_sum - float(share @ scores)) / len(taught)
            slope = slope + seen.T @ (np.exp(scores - log_sum) - share) / len(taught)
        return total, slope

    best = minimize(loss, np.zeros(len(FEATURES)), jac=True, method="L-BFGS-B")
    return Ranker(tuple(round(float(one), 6) for one in best.x), depth, len(taught))


def features(index: Index, queries: Sequence[str], found: Sequence[Any]) -> list[Any]:
    """Per query, what is seen of each of its candidate rows: shape (candidates, 6), standardised.

    Needs the encoder; token vectors that the index does not store are computed here.
    """
    vectors = encode(queries)
    tokens = encode_tokens(queries)
    spans = token_spans(queries)
    stored = index.tokens
    fresh = {} if stored is not None else _fresh(index, found)
    made = []
    for at, (query, rows) in enumerate(zip(queries, found, strict=True)):
        weights = word_weights(index.words, query)
        asked = np.asarray(tokens[at], dtype=np.float32)
        if stored is not None:
            asked = stored.turned(asked)
        of_tokens = _token_weights(query, spans[at], weights)[: len(asked)]
        seen = np.zeros((len(rows), len(FEATURES)))
        seen[:, 0] = score_rows(index.words, query, rows)
        seen[:, 1] = np.asarray(index.vectors[rows], dtype=np.float32) @ vectors[at]
        for place, row in enumerate(rows):
            told = stored.of(row) if stored is not None else fresh[int(row)]
            seen[place, 2:4] = _late(asked, told, of_tokens)
        for place, text in enumerate(index.texts(rows)):
            seen[place, 4:] = _shared(query, text, weights)
        made.append(_standard(seen))
    return made


def _fresh(index: Index, found: Sequence[Any]) -> dict[int, Any]:
    rows = sorted({int(row) for one in found for row in one})
    return dict(zip(rows, encode_tokens(list(index.texts(rows))), strict=True))


def _late(asked: Any, told: Any, weights: Any) -> tuple[float, float]:
    """Of the whole passage, and of its best window."""
    if not len(asked) or not len(told):
        return 0.0, 0.0
    alike = asked @ np.asarray(told, dtype=np.float32).T
    # the best of each step of 20, so that a window is two neighbours
    starts = np.arange(0, alike.shape[1], STEP)
    steps = np.maximum.reduceat(alike, starts, axis=1)
    windows = np.maximum(steps[:, :-1], steps[:, 1:]) if steps.shape[1] > 1 else steps
    return float(steps.max(axis=1) @ weights), float((windows.T @ weights).max())


def _token_weights(
    query: str, spans: Sequence[tuple[int, int]], weights: Mapping[str, float]
) -> Any:
    """Of each token, that of its word; the least for what is no word; together 1."""
    least = min(weights.values(), default=1.0)
    by_place = np.full(len(query) + 1, least, dtype=np.float32)
    for match in WORD.finditer(query):
        by_place[match.start() : match.end()] = weights.get(match.group().lower(), least)
    made = np.array([by_place[start] for start, _ in spans], dtype=np.float32)
    return made / made.sum() if len(made) else made


def _shared(query: str, text: str, weights: Mapping[str, float]) -> tuple[float, float]:
    asked, told = WORD.findall(query.lower()), WORD.findall(text.lower())
    pairs = set(pairwise(asked))
    common = pairs & set(pairwise(told))
    words = set(told)
    total = sum(weights.values())
    cover = sum(weight for word, weight in weights.items() if word in words)
    return len(common) / max(len(pairs), 1), cover / total if total else 0.0


def _standard(seen: Any) -> Any:
    if not len(seen):
        return seen
    return (seen - seen.mean(axis=0)) / (seen.std(axis=0) + 1e-6)
