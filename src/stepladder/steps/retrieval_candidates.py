"""What the retrieval step proposes, in words and numbers: solvers, what was compared, and why.

Measures nothing: see `retrieval_search.py` and `retrieval_trying.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..core import Candidate, Diagnosis, Example, Task, Trial, Tried, Workshop
from ..knowledge.index import open_index
from ..knowledge.scoring import scale_of
from ..solvers.citing import Knowledge
from ..solvers.prompt import PromptSolver
from ..stats import interval
from .measure import Attempt, paired_gain
from .retrieval_right import learn_ranker
from .retrieval_search import Found, Plan, Ranking
from .retrieval_trying import Tries, Trying

__all__ = ["Proposing", "kept_of"]

_OF_FORM = (
    "did not parse", "does not fit the schema", "label outside the set", "cut off", "empty",
    "call failed", "other script", "too long",
)  # fmt: skip


@dataclass(frozen=True)
class Proposing:
    """Makes candidates of what was tried."""

    task: Task
    plan: Plan
    ranking: Ranking
    trying: Trying
    without: Attempt
    workshop: Workshop

    def candidate(self, one: Tries, train: Sequence[Example], base: Trial | None) -> Candidate:
        """The solver that was measured; its reranker now learns from all of train."""
        knowledge = one.solver.knowledge
        assert knowledge is not None
        found = self._found(knowledge)
        if knowledge.rerank is not None:
            index = open_index(self.workshop.artifacts, knowledge.index)
            learned = learn_ranker(index, train, self.plan.gold, self.plan.knowledge)
            knowledge = replace(knowledge, rerank=learned)
        effort = self.trying.effort
        return Candidate(
            step="retrieval",
            name=_name(one.solver, knowledge),
            solver=replace(one.solver, knowledge=knowledge),
            changed="; ".join(self._words(one, found, base)),
            build_seconds=effort.seconds + self.ranking.seconds,
            build_dollars=effort.dollars,
            build_calls=effort.calls,
            build_tokens=effort.tokens,
            cautions=tuple(dict.fromkeys((*self.ranking.cautions, *self.trying.cautions))),
            tried=(*_searched(self.ranking.found), *self._asked()),
        )

    def _found(self, knowledge: Knowledge) -> Found:
        named = knowledge.index or knowledge.collection
        way = (named, knowledge.retriever, knowledge.rerank is not None)
        return next(
            one
            for one in self.ranking.found
            if (one.index, one.way.retriever, one.way.reranked) == way
        )

    def _words(self, one: Tries, found: Found, base: Trial | None) -> list[str]:
        rows = found.rows[found.main]
        gain, error = paired_gain(one.attempt.counts, self.without.counts)
        extra = one.attempt.tokens_per_request - self.without.tokens_per_request
        k = one.solver.knowledge.k if one.solver.knowledge else 0
        words = [
            f"{k} of {found.passages:,} passages, by {found.way.name}: {found.main} for "
            f"{found.score:.1%} of {len(rows)} train questions",
            f"{gain:+.1%} (standard error {error:.1%}) on {len(one.attempt.counts)} held-out train "
            f"examples for {extra:+.0f} tokens per request",
            *self.trying.why,
        ]
        if base is not None and (said := _called_for(base.diagnosis)):
            words.insert(0, said)
        return words

    def _asked(self) -> list[Tried]:
        scale = self.trying.metric.scale
        made = []
        for one in self.trying.all:
            counts = one.attempt.counts
            groups = [example.group for example in one.attempt.examples]
            bound = interval(counts, scale, self.task.target.alpha, groups=groups)
            scores = {self.trying.metric.name: (bound.score, bound.low, bound.high, len(counts))}
            knowledge = one.solver.knowledge
            assert knowledge is not None
            made.append(Tried(f"asked: {one.words}", scores, _name(one.solver, knowledge)))
        return made


def _searched(found: Sequence[Found]) -> list[Tried]:
    made = []
    for one in found:
        scores = {}
        for measure, rows in one.rows.items():
            scale = scale_of(measure) if "@" in measure else "binary"
            groups = [row.group for row in rows]
            bound = interval([row.counts for row in rows], scale, 0.05, groups=groups)
            scores[measure] = (bound.score, bound.low, bound.high, len(rows))
        k1, b = one.way.shape.k1, one.way.shape.b
        note = f"{one.passages:,} passages, k1 {k1:g}, b {b:g}"
        made.append(Tried(f"searched by {one.way.name}", scores, note))
    return made


def _called_for(diagnosis: Diagnosis) -> str:
    """Whether the failures of the step before are such as documents mend."""
    failures = sum(diagnosis.kinds.values())
    of_form = sum(diagnosis.kinds.get(kind, 0) for kind in _OF_FORM)
    if not failures:
        return ""
    if of_form == failures:
        return f"all {failures} failures before were of form, which documents do not mend"
    content = failures - of_form
    return f"{content} of {failures} failures before were of content, which documents may mend"


def kept_of(best: Tries, tried: Sequence[Tries], keep: int) -> list[Tries]:
    """The best one, and the next ones that differ in what is searched or in how much is shown."""
    ordered = sorted(tried, key=lambda one: -one.attempt.score)
    kept: dict[object, Tries] = {_kind(best): best}
    for one in ordered:
        kept.setdefault(_kind(one), one)
    return list(kept.values())[:keep]


def _kind(one: Tries) -> object:
    knowledge = one.solver.knowledge
    assert knowledge is not None
    return (knowledge.index, knowledge.retriever, knowledge.rerank is None, knowledge.k)


def _name(solver: PromptSolver, knowledge: Knowledge) -> str:
    parts = [knowledge.retriever, *(["reranked"] if knowledge.rerank else [])]
    parts += [f"{knowledge.k}x{knowledge.size}"]
    parts += ["rewritten"] if knowledge.rewrite else []
    parts += [f"shots-{len(solver.demos)}"] if solver.demos else []
    return "-".join(parts)
