"""Which passages are right for a train question, and an order that is learned from them.

Right are the passages of a question's gold documents that have its answer, word for word.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..core import Example
from ..knowledge.index import Index, write_whole
from ..knowledge.scoring import gold_of
from ..solvers.citing import Knowledge
from ..solvers.grounding import query_of

__all__ = ["DEEP", "Rights", "answer_of", "folded", "learn_ranker", "right_passages"]

DEEP = 50  # candidates that a reranker orders
Rights = Mapping[str, Mapping[str, int]]  # by example: rows of right passages by their ids


def learn_ranker(
    index: Index,
    questions: Sequence[Example],
    gold: str,
    knowledge: Knowledge,
    right: Rights | None = None,
) -> Mapping[str, Any]:
    """The record of a reranker learned on these questions, kept beside the index.

    It is learned once: weights that differ in a last digit would make a climb that goes on another
    solver, whose look at the sealed test counts anew.

    Raises:
        NotApplicable: no question has a right passage among others that were found.
    """
    said = [[one.id, str(one.input), str(one.expected)] for one in questions]
    key = json.dumps([index.folder.name, DEEP, gold, knowledge.query, sorted(said)])
    kept = index.folder.with_name(f"ranker-{hashlib.sha256(key.encode()).hexdigest()[:32]}.json")
    if kept.is_file():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    if right is None:
        right = right_passages(index, questions, gold)
    record = _learned(index, questions, knowledge, right)
    write_whole(kept, json.dumps(record))
    return record


def _learned(
    index: Index, questions: Sequence[Example], knowledge: Knowledge, right: Rights
) -> dict[str, Any]:
    from ..knowledge.rerank import fit_ranker
    from ..knowledge.searching import candidates

    asked = [query_of(knowledge, one.input) for one in questions]
    rows = [list(right.get(one.id, {}).values()) for one in questions]
    return fit_ranker(index, asked, candidates(index, "hybrid", asked, DEEP), rows, DEEP).record()


def right_passages(index: Index, questions: Sequence[Example], field: str) -> Rights:
    """Per question with gold documents, their passages with the answer, word for word; or else all.

    By the question's id, the row of each passage by the passage's id.
    """
    golds = {one.id: gold_of(one, field) for one in questions}
    wanted = frozenset().union(*golds.values())
    of_document: dict[str, dict[str, tuple[int, str]]] = {id: {} for id in wanted}
    for row, passage in enumerate(index.passages(range(len(index))) if wanted else ()):
        if passage.document in wanted:
            of_document[passage.document][passage.id] = (row, folded(passage.text))
    made = {}
    for example in questions:
        answer = folded(answer_of(example))
        every = {id: one for gold in golds[example.id] for id, one in of_document[gold].items()}
        exact = {id: row for id, (row, text) in every.items() if answer and answer in text}
        if golds[example.id]:
            made[example.id] = exact or {id: row for id, (row, _) in every.items()}
    return made


def answer_of(example: Example) -> str:
    """The expected text, of several the first; "" where something else is expected."""
    value = example.expected
    if isinstance(value, list | tuple) and value:
        value = value[0]
    return value if isinstance(value, str) else ""


def folded(text: str) -> str:
    """Words with a space on both sides, so that no word is found in another; "" without words."""
    words = re.findall(r"\w+", text.casefold())
    return f" {' '.join(words)} " if words else ""
