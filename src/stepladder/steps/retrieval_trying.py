"""What the model makes of passages, on a slice of train that no search was chosen on.

One thing is changed at a time, and what is best so far is kept: who cites, how many passages, their
place and order, demonstrations, another search, rewritten queries. Dev is for the trial.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..core import Example, Input, Json, Metric, Output, Task, Workshop
from ..errors import ModelError
from ..solvers.citing import Knowledge, Rewrite, is_absent, with_passages
from ..solvers.grounding import cited, query_of, retriever_of
from ..solvers.prompt import PromptSolver, ask_ahead
from .demos import not_too_long
from .measure import Attempt, Effort, paired_gain, try_solver
from .retrieval_right import answer_of, folded
from .sampling import spread_over_labels
from .worth import Measured, choose_k

__all__ = ["REWRITE", "Tries", "Trying"]

CITES = 0.5  # of the answers have to refer to a passage, for the model to be trusted with it
SHOTS = 2  # demonstrations with passages
REWRITE = (
    "Write one search query for the question: its key terms, and other words that a document which "
    "answers it would use. Give the query alone, on one line."
)


@dataclass(frozen=True)
class Tries:
    """A solver with what it is called in words, and how it did."""

    words: str
    solver: PromptSolver
    attempt: Attempt


@dataclass
class Trying:
    """The measurements on the held-out slice, what they took, and what each showed."""

    task: Task
    metric: Metric
    workshop: Workshop
    pool: tuple[Example, ...]
    held: tuple[Example, ...]
    until: float
    clock: Callable[[], float] = time.monotonic
    effort: Effort = field(default_factory=Effort)
    cautions: list[str] = field(default_factory=list)
    all: list[Tries] = field(default_factory=list)
    why: list[str] = field(default_factory=list)

    def best(
        self,
        base: PromptSolver,
        ways: Sequence[Knowledge],
        counts: Sequence[int],
        *,
        rewrite: bool,
    ) -> Tries:
        """The best solver over all stages; each begins only while there is time.

        `ways` are the searches to try, the most promising first, with the number of passages to
        begin with.
        """
        plain = replace(base, demos=(), selector=None)
        (found,) = self._tried([("to begin with", replace(plain, knowledge=ways[0]))])
        stages: list[Callable[[Tries], Tries]] = [
            self._who_cites,
            lambda best: self._how_many(best, counts),
            self._placed,
            lambda best: self._demonstrated(best, base),
            lambda best: self._other_ways(best, ways[1:]),
        ]
        if rewrite and self.task.prompt_model:
            stages.append(self._rewritten)
        for at, stage in enumerate(stages):
            if self.clock() > self.until:
                self.cautions.append(
                    f"{len(stages) - at} of {len(stages)} comparisons with the model were not made:"
                    " the time was up"
                )
                break
            found = stage(found)
        return found

    def _who_cites(self, best: Tries) -> Tries:
        """The model where most of its answers do and none the worse for it; else words."""
        knowledge = _knowledge(best.solver)
        if knowledge.cite != "asked":
            return best
        share = _citing(knowledge, best.attempt.outputs)
        (found,) = self._tried([("cited afterwards", _with(best.solver, cite="found"))])
        gain, error = paired_gain(found.attempt.counts, best.attempt.counts)
        if share >= CITES and gain <= error:
            self.why.append(f"the model cites by itself, in {share:.0%} of its answers")
            return best
        self.why.append(
            f"asked to cite, the model does in {share:.0%} of its answers and scores {-gain:+.1%}: "
            "what an answer rests on is found afterwards, by its words"
        )
        return found

    def _how_many(self, best: Tries, counts: Sequence[int]) -> Tries:
        rest = [k for k in counts if k != _knowledge(best.solver).k]
        tried = {_knowledge(best.solver).k: best}
        tried |= dict(
            zip(
                rest,
                self._tried([(f"{k} passages", _with(best.solver, k=k)) for k in rest]),
                strict=False,
            )
        )
        kept, why = choose_k(
            [_measured(k, one.attempt) for k, one in tried.items()],
            self.task.economics.dollars_per_success,
        )
        self.why.append(f"{kept.k} passages: {why}")
        return tried[kept.k]

    def _placed(self, best: Tries) -> Tries:
        others = [("after the input", _with(best.solver, where="after"))]
        if _knowledge(best.solver).k > 1:
            others.append(("the best one last", _with(best.solver, order="best_last")))
        return self._better(best, self._tried(others))

    def _demonstrated(self, best: Tries, base: PromptSolver) -> Tries:
        others = []
        if base.demos or base.selector:
            own = replace(best.solver, demos=base.demos, selector=base.selector)
            others.append(("with the demonstrations of the step before", own))
        if shown := self._with_passages(best.solver):
            others.append((f"with {len(shown)} demonstrations", replace(best.solver, demos=shown)))
        return self._better(best, self._tried(others))

    def _other_ways(self, best: Tries, ways: Sequence[Knowledge]) -> Tries:
        kept = _knowledge(best.solver)
        others = [
            (
                f"searched by {way.retriever}{', reranked' if way.rerank else ''}",
                _with(best.solver, index=way.index, retriever=way.retriever, rerank=way.rerank,
                      size=way.size, k=max(1, round(kept.k * kept.size / way.size))),
            )
            for way in ways
        ]  # fmt: skip
        return self._better(best, self._tried(others))

    def _rewritten(self, best: Tries) -> Tries:
        assert self.task.prompt_model is not None
        rewrite = Rewrite(self.task.prompt_model, REWRITE)
        words = f"queries rewritten by {self.task.prompt_model}"
        return self._better(best, self._tried([(words, _with(best.solver, rewrite=rewrite))]))

    def _with_passages(self, solver: PromptSolver) -> tuple[tuple[Input, Json], ...]:
        """Train examples as they would be asked, with the answer among two passages.

        One is unanswerable where train has such examples, so that both answers are shown.
        """
        knowledge = _knowledge(solver)
        absent = [one for one in self.pool if is_absent(knowledge, answer_of(one))]
        others = spread_over_labels(
            not_too_long([one for one in self.pool if one not in absent]), self.task.seed
        )
        examples = [*others[:20], *absent[:1]]
        retriever = retriever_of(knowledge, self.workshop.artifacts)
        queries = [query_of(knowledge, one.input) for one in examples]
        made: list[tuple[Input, Json]] = []
        for example, hits in zip(examples, retriever.search(queries, 10), strict=True):
            context = [cited(hit) for hit in hits]
            answer = folded(answer_of(example))
            right = next((one for one in context if answer and answer in folded(one.text)), None)
            is_one = example in absent
            if not is_one and (right is None or len(made) == SHOTS):
                continue
            chosen = context[:2] if is_one or right in context[:2] else [context[0], right]
            shown = [one for one in chosen if one is not None]
            said = example.expected
            if right is not None and not is_one and knowledge.cite == "asked":
                said = f"{answer_of(example)} [{shown.index(right) + 1}]"
            made.append((with_passages(knowledge, example.input, shown), said))
        return tuple(made)

    def _better(self, best: Tries, others: Sequence[Tries]) -> Tries:
        """The highest score; the simpler one of equals."""
        for other in others:
            if other.attempt.score > best.attempt.score + 1e-9:
                gain, error = paired_gain(other.attempt.counts, best.attempt.counts)
                self.why.append(f"{other.words}: {gain:+.1%} (standard error {error:.1%})")
                best = other
        return best

    def _tried(self, solvers: Sequence[tuple[str, PromptSolver]]) -> list[Tries]:
        inputs = [example.input for example in self.held]
        if len(solvers) > 1:
            plain = [solver for _, solver in solvers if solver.scoring == "none"]
            ask_ahead(plain, inputs, self.workshop)
        return list(self._attempts(solvers))

    def _attempts(self, solvers: Sequence[tuple[str, PromptSolver]]) -> Iterator[Tries]:
        for words, solver in solvers:
            try:
                attempt = try_solver(solver, self.held, self.metric, self.workshop)
            except ModelError as error:
                if not self.all:
                    raise
                self.cautions.append(f"{words} was left out: {error.message}")
                continue
            self.effort += attempt.effort
            found = Tries(words, solver, attempt)
            self.all.append(found)
            told: Mapping[str, Json] = {"score": attempt.score, "n": len(self.held)}
            self.workshop.tell("tried", {"step": "retrieval", **told})
            yield found


def _knowledge(solver: PromptSolver) -> Knowledge:
    assert solver.knowledge is not None
    return solver.knowledge


def _with(solver: PromptSolver, **changes: Json) -> PromptSolver:
    return replace(solver, knowledge=replace(_knowledge(solver), **changes))


def _citing(knowledge: Knowledge, outputs: Sequence[Output]) -> float:
    """Of the answers that say something, the share that refers to a passage."""
    said = [one for one in outputs if one.value is not None and one.value != knowledge.absent]
    return sum(bool(one.citations) for one in said) / len(said) if said else 0.0


def _measured(k: int, attempt: Attempt) -> Measured:
    dollars = attempt.effort.dollars
    per_request = None if dollars is None else dollars / len(attempt.outputs)
    return Measured(k, attempt.counts, attempt.tokens_per_request, per_request)
