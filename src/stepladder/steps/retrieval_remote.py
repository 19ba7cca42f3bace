"""Searching a database of vectors as a way of the retrieval step: it is filled, then searched.

Databases search by meaning only here, and passages of one size: filling one is dear, and where it
lies is the user's to say. Joining it with words is `knowledge/fusion.py`'s, in Python.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import closing

from ..core import Json, Workshop
from ..knowledge.index import IndexShape
from ..knowledge.remote import Remote, fill
from ..knowledge.retriever import Hit
from ..knowledge.scoring import gold_of
from ..solvers.grounding import open_collection, query_of
from .retrieval_right import DEEP, Rights, answer_of, folded
from .retrieval_search import Found, Plan, Ranking, Way, measures

__all__ = ["remote_ways"]


def remote_ways(plan: Plan, at: str, task_name: str, size: int, workshop: Workshop) -> Ranking:
    """The one way there is, with the collection brought up to date; `Found.index` names it.

    Raises:
        StepladderError: the database cannot be reached or used.
        TaskError: the documents cannot be read.
        NotApplicable: no question can be judged.
    """
    began = plan.clock()
    shape = IndexShape(size, 0)
    name = _collection_of(task_name, size)
    with closing(open_collection(at, name)) as store:
        _say(workshop, f"bringing {name!r} up to date, by the hashes of documents")
        done = fill(store, plan.read(), size, 0, workshop.artifacts)
        queries = [query_of(plan.knowledge, one.input) for one in plan.questions]
        hits = Remote(store).search(queries, DEEP)
        passages = store.count()
    rows, main = measures(plan, hits, _right_among(plan, hits))
    found = Found(Way(shape, "meaning"), name, passages, rows, main)
    told = ", ".join(f"{count:,} {what}" for what, count in done.items())
    _say(workshop, f"documents: {told}; {main} {found.score:.1%}")
    return Ranking([found], [], plan.clock() - began)


def _right_among(plan: Plan, hits: Sequence[Sequence[Hit]]) -> Rights:
    """As `right_passages`, of what was found: the rest stays in the database."""
    made: dict[str, dict[str, int]] = {}
    for example, found in zip(plan.questions, hits, strict=True):
        if gold := gold_of(example, plan.gold):
            answer = folded(answer_of(example))
            of_gold = [hit.passage for hit in found if hit.passage.document in gold]
            exact = [one for one in of_gold if answer and answer in folded(one.text)]
            made[example.id] = {one.id: at for at, one in enumerate(exact or of_gold)}
    return made


def _say(workshop: Workshop, note: str) -> None:
    fields: Mapping[str, Json] = {"step": "retrieval", "note": note}
    workshop.tell("building", fields)


def _collection_of(name: str, size: int) -> str:
    """A name that any database takes; passages of another size are another collection."""
    return f"stepladder_{re.sub(r'[^a-z0-9]+', '_', name.lower()).strip('_')[:40]}_{size}"
