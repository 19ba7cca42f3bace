"""The retrieval step: the model answers from passages of documents that are searched per input.

Tried where the task folder has `knowledge/` or `corpus.jsonl`. How to cut and to search is found on
train by cheap measures (`retrieval_search.py`); what the model makes of the best searches, on a
slice of train that they were not chosen on (`retrieval_trying.py`). Dev decides, as for any step.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from ..core import Candidate, Estimate, Example, Task, Trial, Workshop
from ..errors import NotApplicable, StepladderError, TaskError
from ..knowledge.documents import knowledge_of, read_documents
from ..knowledge.index import IndexShape, open_index
from ..knowledge.scoring import GOLD
from ..knowledge.searching import METHODS
from ..metrics import load_metric
from ..solvers.citing import ABSENT, Knowledge
from ..solvers.prompt import PromptSolver
from .measure import try_solver
from .prompt_variants import plain_prompt
from .retrieval_candidates import Proposing, kept_of
from .retrieval_right import learn_ranker
from .retrieval_search import ENCODED_PER_SECOND, Found, Method, Plan, Ranking, find_ways
from .retrieval_trying import Trying
from .sampling import hold_out, spread_over_labels
from .speed import TOKENS_PER_WORD, estimate_calls

__all__ = ["Retrieval"]

WORDS_PER_SECOND = 600_000.0  # cut and counted for BM25
BYTES_PER_WORD = 6.0
_WIDER = 3


@dataclass(frozen=True)
class Retrieval:
    """Searches `sizes` with `overlaps` (shares of a size), `retrievers`, reranked ones, and `k`.

    `gold` names the metadata field with an example's gold documents, `query` the input's field that
    is searched for. `absent` is what to answer when the documents do not say; "" leaves it out.
    Vectors are made for the best `deep` sizes. `slice` train examples are held out to ask the model
    about, up to `questions` others choose the search; neither goes on after `seconds`. `keep`
    candidates are proposed. `at` is the URL of a database that holds the passages, whose secrets
    come from the environment. Queries are rewritten where the task has a `prompt_model`.
    """

    sizes: tuple[int, ...] = (80, 160, 320)
    overlaps: tuple[float, ...] = (0.0, 0.25)
    retrievers: tuple[Method, ...] = ("words", "meaning", "hybrid")
    rerank: bool = True
    k: tuple[int, ...] = (1, 3, 5)
    gold: str = GOLD
    query: str | None = None
    absent: str = ABSENT
    rewrite: bool = True
    at: str = ""
    deep: int = 1
    slice: int = 24
    questions: int = 300
    keep: int = 2
    seconds: float = 1800.0
    max_input_tokens: int = 4096
    name: str = field(default="retrieval", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", tuple(sorted(set(self.k))))
        object.__setattr__(self, "sizes", tuple(sorted(set(self.sizes))))
        if unknown := [one for one in self.retrievers if one not in METHODS]:
            raise StepladderError(
                f"step 'retrieval' has no retriever {unknown[0]!r}",
                hint=f"known: {', '.join(METHODS)}",
            )
        counts = (*self.k, *self.sizes, self.keep, self.deep, self.questions)
        shares = all(0 <= one < 1 for one in self.overlaps)
        lists = self.k and self.sizes and self.overlaps and self.retrievers
        if not lists or min(counts) < 1 or self.slice < 2 or not shares:
            raise StepladderError(
                f"step 'retrieval' cannot work with k={self.k}, sizes={self.sizes}, "
                f"overlaps={self.overlaps}, slice={self.slice}",
                hint="give numbers of at least 1, overlaps from 0 to below 1, slice of at least 2",
            )

    @staticmethod
    def concerns(task: Task) -> bool:
        """Whether there are documents to answer from."""
        return knowledge_of(task.folder) is not None

    def check(self, task: Task) -> None:
        """Raise TaskError where the database's URL cannot be used as it is written."""
        if not self.at:
            return
        if urlsplit(self.at).password:
            raise TaskError(
                "task.toml: [steps.retrieval] at = ... has a password in it",
                hint="leave it out: PostgreSQL's is read from PGPASSWORD or ~/.pgpass, Qdrant's "
                "key from QDRANT_API_KEY",
            )
        if urlsplit(self.at).scheme not in ("postgresql", "postgres", "qdrant", "http", "https"):
            raise TaskError(
                f"task.toml: [steps.retrieval] at = {self.at!r} is no database that is known",
                hint="give postgresql://... (with pgvector), qdrant://... or https://... (Qdrant)",
            )

    def estimate(self, task: Task, train: Sequence[Example], workshop: Workshop) -> Estimate:
        """Indexing by the size of the documents, and the calls on the slice, about 12 for each."""
        _, held = self._divided(task, train)
        rounds = 4 + len(self.k) + 2 + 2 + (bool(self.rewrite and task.prompt_model))
        middle = self._middle() * self._size() * TOKENS_PER_WORD
        asked = estimate_calls(
            task, plain_prompt(task), held, rounds * len(held), workshop, unshared_tokens=middle
        )
        indexing = min(self.seconds, self._indexing_seconds(task))
        note = f"{asked.note}; indexing and searching about {indexing:.0f} s the first time"
        if self.rewrite and task.prompt_model:
            note += f"; without what {task.prompt_model} takes to rewrite {len(held)} queries"
        seconds = None if asked.seconds is None else asked.seconds + indexing
        return Estimate(seconds, asked.dollars, asked.calls, note)

    def measured(self, task: Task, train: Sequence[Example]) -> list[PromptSolver | None]:
        """What dev will measure at most: `keep` prompts with the most passages."""
        most = Knowledge(k=self.k[-1], size=self._size(), absent=self.absent)
        return [replace(plain_prompt(task), knowledge=most)] * self.keep

    def propose(
        self, task: Task, train: Sequence[Example], base: Trial | None, workshop: Workshop
    ) -> Iterable[Candidate]:
        """The best way to search and to show passages, and the next one; fewest tokens first.

        Raises:
            NotApplicable: no documents, too few examples, or none that a search can be judged by.
            TaskError: a document cannot be read.
        """
        pool, held = self._divided(task, train)
        until = time.monotonic() + self.seconds
        plan = self._plan(task, pool, until, workshop)
        ranking = self._remote(plan, task, workshop) if self.at else find_ways(plan, workshop)
        trying = Trying(task, load_metric(task), workshop, pool, held, until)
        ways = [self._knowledge(one, plan, plan.questions, workshop, task) for one in
                _different(ranking.found)]  # fmt: skip
        prompt = _prompt(base, task)
        without = try_solver(prompt, held, trying.metric, workshop)
        trying.effort += without.effort
        best = trying.best(prompt, ways, self.k, rewrite=self.rewrite)
        proposing = Proposing(task, plan, ranking, trying, without, workshop)
        kept = sorted(
            kept_of(best, trying.all, self.keep), key=lambda one: one.attempt.tokens_per_request
        )
        return [proposing.candidate(one, train, base) for one in kept]

    def _plan(self, task: Task, pool: Sequence[Example], until: float, workshop: Workshop) -> Plan:
        knowledge = knowledge_of(task.folder)
        assert knowledge is not None
        shapes = [
            IndexShape(size, int(size * share)) for size in self.sizes for share in self.overlaps
        ]
        return Plan(
            partial(read_documents, knowledge, workshop.artifacts),
            tuple(dict.fromkeys(shapes)),
            self.retrievers,
            self.rerank,
            tuple(spread_over_labels(pool, task.seed)[: self.questions]),
            self._blank(task),
            self.gold.removeprefix("meta.").removeprefix("metadata."),
            self._middle() * self._size(),
            self.deep,
            until,
            seed=task.seed,
        )

    def _divided(
        self, task: Task, train: Sequence[Example]
    ) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
        if knowledge_of(task.folder) is None:
            raise NotApplicable(
                "the task folder has no documents",
                hint="put files into knowledge/, or passages into corpus.jsonl",
            )
        if not task.models:
            raise NotApplicable("the task names no model", hint="add models = [...] to task.toml")
        grouped = any(example.group for example in train)
        # of groups more are held out than asked about: a slice of two articles says little
        pool, apart = hold_out(train, (_WIDER if grouped else 1) * self.slice, task.seed)
        held = _in_turns(apart)[: self.slice]
        if len(held) < 2 or len(pool) < 2:
            raise NotApplicable(
                f"{len(train)} train examples are too few to choose a search on and to hold out a "
                "slice of",
                hint="label more examples",
            )
        return pool, held

    def _blank(self, task: Task) -> Knowledge:
        """What every knowledge of this task has: a label or a record has no place for a number."""
        free = plain_prompt(task).output_format == "text"
        return Knowledge(
            k=self._middle(),
            cite="asked" if free else "found" if task.kind != "classification" else "no",
            absent=self.absent if free else "",
            query=self.query,
            most_tokens=self.max_input_tokens,
        )

    def _knowledge(
        self,
        found: Found,
        plan: Plan,
        questions: Sequence[Example],
        workshop: Workshop,
        task: Task,
    ) -> Knowledge:
        """The way as data, with a reranker learned on these questions."""
        blank = self._blank(task)
        if self.at:
            return replace(blank, retriever="meaning", at=self.at, collection=found.index,
                           size=found.way.shape.size)  # fmt: skip
        rerank = None
        if found.way.reranked:
            rerank = learn_ranker(
                open_index(workshop.artifacts, found.index), questions, plan.gold, blank
            )
        room = self._middle() * self._size()
        size = found.way.shape.size
        return replace(
            blank,
            index=found.index,
            retriever=found.way.retriever,
            rerank=rerank,
            size=size,
            k=max(1, round(room / size)),
        )

    def _remote(self, plan: Plan, task: Task, workshop: Workshop) -> Ranking:
        from .retrieval_remote import remote_ways

        return remote_ways(plan, self.at, task.name, self._size(), workshop)

    def _middle(self) -> int:
        return self.k[len(self.k) // 2]

    def _size(self) -> int:
        return self.sizes[len(self.sizes) // 2]

    def _indexing_seconds(self, task: Task) -> float:
        knowledge = knowledge_of(task.folder)
        assert knowledge is not None
        words = _bytes(knowledge) / BYTES_PER_WORD
        cutting = len(self.sizes) * len(self.overlaps) * words / WORDS_PER_SECOND
        if self.retrievers == ("words",) and not self.rerank:
            return cutting
        encoded = 2 * self.deep * words / self._size()  # for vectors, and for those of words
        return cutting + encoded / ENCODED_PER_SECOND


def _in_turns(examples: Sequence[Example]) -> tuple[Example, ...]:
    """One of each group in turn; those without a group as they come."""
    seen: dict[str | None, int] = {}
    keyed = []
    for at, one in enumerate(examples):
        turn = at if one.group is None else seen.get(one.group, 0)
        seen[one.group] = turn + 1
        keyed.append((turn, at, one))
    return tuple(one for _, _, one in sorted(keyed, key=lambda each: each[:2]))


def _different(found: Sequence[Found]) -> list[Found]:
    """The best way of each kind, the best three: what is alike to the model is not asked twice."""
    kinds: dict[tuple[str, bool], Found] = {}
    for one in found:
        kinds.setdefault((one.way.retriever, one.way.reranked), one)
    return list(kinds.values())[:3]


def _prompt(base: Trial | None, task: Task) -> PromptSolver:
    """The base's prompt; label priors belong to one prompt, and here every input has its own."""
    solver = base.candidate.solver if base else None
    prompt = solver if isinstance(solver, PromptSolver) else plain_prompt(task)
    if prompt.scoring == "calibrated":
        return replace(prompt, scoring="labels", label_priors=(), priors_for="")
    return prompt


def _bytes(knowledge: Path) -> int:
    if knowledge.is_file():
        return knowledge.stat().st_size
    return sum(path.stat().st_size for path in knowledge.rglob("*") if path.is_file())
