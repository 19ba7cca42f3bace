"""Which search finds the right passages, on train, without a language model.

All sizes are searched by words first, which costs seconds; vectors, which cost minutes, are made of
the best size only. What is compared is what a prompt has room for: the passages of a fixed number
of words, so that long passages have no advantage. A reranker is judged on groups of questions that
it did not learn from.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ..core import Example, Row, Workshop
from ..errors import MissingExtra, ModelError, NotApplicable, TaskError
from ..knowledge.documents import Document
from ..knowledge.index import Index, IndexShape, build_index, open_index
from ..knowledge.retriever import Hit
from ..knowledge.scoring import gold_of, retrieval_rows
from ..solvers.citing import Knowledge, is_absent
from ..solvers.grounding import query_of
from ..stats import aggregate
from .measure import paired_gain
from .retrieval_right import DEEP, Rights, answer_of, learn_ranker, right_passages

__all__ = [
    "ENCODED_PER_SECOND", "Found", "Method", "Plan", "Ranking", "Way", "find_ways", "measures",
]  # fmt: skip

Method = Literal["words", "meaning", "hybrid"]

BM25 = ((0.9, 0.4), (1.6, 0.9))  # tried beside the usual 1.2 and 0.75, on the best size
FOLDS = 3
ENCODED_PER_SECOND = 28.0  # passages of 160 words, by the small encoder on 2 cores
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Way:
    """How passages are cut, and what puts them in order."""

    shape: IndexShape
    retriever: Method = "words"
    reranked: bool = False

    @property
    def name(self) -> str:
        overlap = f"+{self.shape.overlap}" if self.shape.overlap else ""
        again = ", reranked" if self.reranked else ""
        return f"{self.retriever}{again}, {self.shape.size}{overlap} words"


@dataclass(frozen=True)
class Found:
    """A way, its index, and one row per question for each measure; `main` is chosen by."""

    way: Way
    index: str
    passages: int
    rows: Mapping[str, tuple[Row, ...]]
    main: str

    @property
    def score(self) -> float:
        return aggregate([row.counts for row in self.rows[self.main]])


@dataclass(frozen=True)
class Plan:
    """What is searched, and with which questions.

    `room` is the words of passages that a prompt has room for. `gold` is the metadata field that
    names gold documents. `read` gives the documents; `until` is when the clock says to stop.
    """

    read: Callable[[], Iterable[Document]]
    shapes: tuple[IndexShape, ...]
    retrievers: tuple[Method, ...]
    rerank: bool
    questions: tuple[Example, ...]
    knowledge: Knowledge  # of it only the query is used
    gold: str
    room: int
    deep: int  # sizes of which vectors are made
    until: float
    clock: Callable[[], float] = time.monotonic
    seed: int = 0


@dataclass
class Ranking:
    """The ways that were compared, the best first, and what was left out."""

    found: list[Found] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)
    seconds: float = 0.0


def find_ways(plan: Plan, workshop: Workshop) -> Ranking:
    """Every way that there was time for, the best first; of equals the cheaper one.

    Raises:
        TaskError: the documents cannot be read.
        NotApplicable: no question can be judged.
    """
    began = plan.clock()
    made = _Search(plan, workshop)
    by_words = _unlike([made.measured(Way(shape)) for shape in plan.shapes])
    best = max(by_words, key=lambda one: one.score)
    tuned = [
        made.measured(Way(replace(best.way.shape, k1=k1, b=b))) for k1, b in made.in_time(BM25)
    ]
    best = _clearly_best(best, tuned)
    ranking = Ranking([*by_words, *tuned])
    if plan.rerank or set(plan.retrievers) - {"words"}:
        try:
            ranking.found += made.by_vectors(_best_shapes(best, by_words, plan.deep))
        except (MissingExtra, ModelError) as error:
            ranking.cautions.append(f"only words were searched: {error.message}")
    ranking.found.sort(key=lambda one: (-round(one.score, 3), _cost(one.way)))
    ranking.cautions += made.cautions
    ranking.seconds = plan.clock() - began
    return ranking


@dataclass
class _Search:
    """Makes indexes and measures ways on the plan's questions."""

    plan: Plan
    workshop: Workshop
    cautions: list[str] = field(default_factory=list)
    encoding: float | None = None  # seconds that making vectors took, the last time
    rights: dict[str, Rights] = field(default_factory=dict)  # by index

    def in_time(self, items: Sequence[Any]) -> Iterator[Any]:
        """The items, as long as there is time."""
        for at, item in enumerate(items):
            if self.plan.clock() > self.plan.until:
                self.cautions.append(f"{len(items) - at} ways were not tried: the time was up")
                return
            yield item

    def measured(self, way: Way) -> Found:
        """By words, on an index that is only that."""
        index, name = self._index(replace(way.shape, dense=False))
        return self._found(replace(way, shape=index.shape), index, name)

    def by_vectors(self, shapes: Sequence[IndexShape]) -> list[Found]:
        made: list[Found] = []
        for shape in shapes:
            left = self.plan.until - self.plan.clock()
            if made and self.encoding is not None and self.encoding > left:
                self.cautions.append(
                    f"passages of {shape.size} words were not compared by meaning: vectors take "
                    f"about {self.encoding:.0f} s, and {max(0.0, left):.0f} s are left"
                )
                break
            began = self.plan.clock()
            index, name = self._index(replace(shape, dense=True))
            self.encoding = self.plan.clock() - began
            plain = [Way(index.shape, one) for one in self.plan.retrievers if one != "words"]
            again = [
                Way(index.shape, one, True) for one in self.plan.retrievers if one != "meaning"
            ]
            ways = [*plain, *(again if self._can_rerank() else [])]
            made += [self._found(way, index, name) for way in self.in_time(ways)]
        return made

    def _can_rerank(self) -> bool:
        return self.plan.rerank and any(gold_of(e, self.plan.gold) for e in self.plan.questions)

    def _index(self, shape: IndexShape) -> tuple[Index, str]:
        def tell(event: str, fields: Mapping[str, Any]) -> None:
            left = max(0.0, self.plan.until - self.plan.clock())
            note = f"indexing {fields['passages']:,} passages of {shape.size} words, "
            about = ""
            if fields["part"] in ("vectors", "tokens"):
                about = f", about {fields['passages'] / ENCODED_PER_SECOND:.0f} s on 2 cores"
            self._say(f"{note}{fields['part']}{about}; {left:.0f} s of the time are left")

        artifacts = self.workshop.artifacts
        name = build_index(self.plan.read(), shape, artifacts, tell)
        return open_index(artifacts, name), name

    def _found(self, way: Way, index: Index, name: str) -> Found:
        hits = self._reranked(way, index) if way.reranked else self._searched(way, index)
        rows, main = measures(self.plan, hits, self._right(index))
        found = Found(way, name, len(index), rows, main)
        self._say(f"{way.name}: {main} {found.score:.1%} of {len(rows[main])} train questions")
        return found

    def _right(self, index: Index) -> Rights:
        name = index.folder.name
        if name not in self.rights:
            self.rights[name] = right_passages(index, self.plan.questions, self.plan.gold)
        return self.rights[name]

    def _searched(self, way: Way, index: Index) -> list[list[Hit]]:
        from ..knowledge.searching import IndexRetriever

        return IndexRetriever(index, way.retriever).search(self._queries(), DEEP)

    def _reranked(self, way: Way, index: Index) -> list[list[Hit]]:
        """Each question in the order of a reranker that learned from other groups."""
        from ..knowledge.rerank import Ranker
        from ..knowledge.searching import IndexRetriever

        questions, queries = self.plan.questions, self._queries()
        hits: list[list[Hit]] = [[] for _ in questions]
        for fold in _folds(questions, self.plan.seed):
            inside = set(fold)
            rest = [one for at, one in enumerate(questions) if at not in inside]
            ranker: Ranker | None = None
            try:
                ranker = Ranker.load(
                    learn_ranker(
                        index, rest, self.plan.gold, self.plan.knowledge, self._right(index)
                    )
                )
            except NotApplicable:
                self.cautions.append(f"{way.name}: too few gold documents to learn an order")
            retriever = IndexRetriever(index, way.retriever, ranker)
            found = retriever.search([queries[at] for at in fold], DEEP)
            for at, one in zip(fold, found, strict=True):
                hits[at] = one
        return hits

    def _queries(self) -> list[str]:
        return [query_of(self.plan.knowledge, one.input) for one in self.plan.questions]

    def _say(self, note: str) -> None:
        self.workshop.tell("building", {"step": "retrieval", "note": note})


def measures(
    plan: Plan, hits: Sequence[Sequence[Hit]], right: Rights
) -> tuple[dict[str, tuple[Row, ...]], str]:
    """Rows by measure, and the measure to choose by: right passages within the plan's room.

    Raises:
        NotApplicable: no question has gold documents or an answer that is a text.
    """
    within = [_within(one, plan.room) for one in hits]
    if right:
        main = f"right passage in {plan.room} words"
        rows = {main: tuple(_shown_right(plan.questions, within, right))}
        for measure in ("recall@5", "ndcg@10", "mrr@10"):
            rows[measure] = retrieval_rows(measure, plan.questions, hits, plan.gold)
        return rows, main
    main = f"answer in {plan.room} words"
    texts = [
        replace(one, expected="" if is_absent(plan.knowledge, answer_of(one)) else answer_of(one))
        for one in plan.questions
    ]
    try:
        rows = {main: retrieval_rows(f"answer@{DEEP}", texts, within)}
        rows["answer@5"] = retrieval_rows("answer@5", texts, hits)
    except TaskError as error:
        raise NotApplicable(
            "no train example says which documents are right, and none expects a text",
            hint="name gold documents in the examples' metadata, and the field by "
            '[steps.retrieval] gold = "..."',
        ) from error
    return rows, main


def _shown_right(
    questions: Sequence[Example], within: Sequence[Sequence[Hit]], right: Rights
) -> Iterator[Row]:
    for example, shown in zip(questions, within, strict=True):
        if example.id in right:
            hit = any(one.passage.id in right[example.id] for one in shown)
            yield Row(example.id, (("", float(hit), 1.0),), example.group)


def _within(hits: Sequence[Hit], room: int) -> list[Hit]:
    """The first passages of together at most `room` words, and one in any case."""
    kept: list[Hit] = []
    used = 0
    for hit in hits:
        used += len(_WORD.findall(hit.passage.text))
        if kept and used > room:
            break
        kept.append(hit)
    return kept


def _folds(questions: Sequence[Example], seed: int) -> list[list[int]]:
    """Places of questions; those of one group are in one fold."""
    members: dict[str, list[int]] = {}
    for at, one in enumerate(questions):
        members.setdefault(f"group {one.group}" if one.group else f"row {at}", []).append(at)
    groups = sorted(members)
    random.Random(seed).shuffle(groups)
    folds: list[list[int]] = [[] for _ in range(min(FOLDS, len(groups)))]
    for group in groups:
        min(folds, key=len).extend(members[group])
    return [sorted(fold) for fold in folds]


def _unlike(found: Sequence[Found]) -> list[Found]:
    """One per size and number of passages: in documents that are one passage nothing overlaps."""
    return list({(one.way.shape.size, one.passages): one for one in reversed(found)}.values())[::-1]


def _clearly_best(best: Found, others: Sequence[Found]) -> Found:
    """Another one only where it gains more than its standard error: usual values are usual."""
    for other in others:
        before, after = ([row.counts for row in one.rows[one.main]] for one in (best, other))
        gain, error = paired_gain(after, before)
        if gain > error:
            best = other
    return best


def _best_shapes(best: Found, found: Sequence[Found], count: int) -> list[IndexShape]:
    """The best and the next ones, of different sizes."""
    ordered = [best, *sorted(found, key=lambda one: -one.score)]
    shapes = {one.way.shape.size: one.way.shape for one in reversed(ordered)}
    sizes = list(dict.fromkeys(one.way.shape.size for one in ordered))
    return [shapes[size] for size in sizes[:count]]


def _cost(way: Way) -> tuple[bool, bool, int, int]:
    """Cheaper ones first: without vectors, without a reranker, with less to store."""
    return way.reranked, way.retriever != "words", way.shape.overlap, -way.shape.size
