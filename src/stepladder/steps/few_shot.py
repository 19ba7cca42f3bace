"""The few-shot step: which examples to show in the prompt, and how many are worth their tokens.

Fixed ones (random, balanced over labels, diverse) are computed once by an engine with a prefix
cache; those picked for each input (BM25, embeddings) are computed for each input. All come from
train; how many is decided on a slice of train that no demonstration comes from (`worth.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ..core import Candidate, Diagnosis, Estimate, Example, Metric, Task, Trial, Workshop
from ..diagnose import form_fails
from ..errors import MissingExtra, ModelError, NotApplicable, StepladderError
from ..metrics import load_metric
from ..solvers.prompt import PromptSolver, ask_ahead, calibrate, render
from .demos import not_too_long, pick_balanced, pick_confused, pick_diverse, pick_random
from .measure import Attempt, Effort, paired_gain, try_solver
from .prompt_variants import no_plain_prompts, plain_prompt
from .sampling import hold_out
from .speed import estimate_calls
from .worth import Measured, choose_k

__all__ = ["FewShot"]

_FIXED = {"random": pick_random, "balanced": pick_balanced, "diverse": pick_diverse}
_CONFUSED = "confused"  # fixed too, but steered by what the base mixes up
_PER_INPUT = ("bm25", "embedding")
_METHODS = (*_FIXED, _CONFUSED, *_PER_INPUT)


@dataclass(frozen=True)
class FewShot:
    """Tries `methods` with each of `k` on `slice` held-out train examples; proposes `keep` methods.

    What the base trial's failures say is used: where answers fail by their form, demonstrations are
    tried on the base held to its form; where labels are mixed up, `confused` shows those labels.

    No prompt and answer take more than `max_input_tokens`, or than the context of a model that
    tells it, with the longest input of the slice.
    """

    k: tuple[int, ...] = (2, 4, 8)
    methods: tuple[str, ...] = _METHODS
    slice: int = 24
    keep: int = 3
    max_input_tokens: int = 4096
    name: str = field(default="few_shot", init=False)

    def __post_init__(self) -> None:
        counts = (self.k,) if isinstance(self.k, int) else self.k  # a task file gives one or a list
        object.__setattr__(self, "k", tuple(sorted(set(counts))))
        object.__setattr__(self, "methods", tuple(self.methods))
        if unknown := [method for method in self.methods if method not in _METHODS]:
            raise StepladderError(
                f"step 'few_shot' has no method {unknown[0]!r}",
                hint=f"known: {', '.join(_METHODS)}",
            )
        if not self.k or self.k[0] < 1 or self.slice < 2 or self.keep < 1:
            raise StepladderError(
                f"step 'few_shot' cannot work with k={self.k}, slice={self.slice}, "
                f"keep={self.keep}",
                hint="give k of at least 1, slice of at least 2, keep of at least 1",
            )

    @staticmethod
    def concerns(task: Task) -> bool:
        """Tasks that are asked in words; calls of functions are for the step of that name."""
        return no_plain_prompts(task) is None

    def estimate(self, task: Task, train: Sequence[Example], workshop: Workshop) -> Estimate:
        """Calls on the slice: each method with each k, and the base without demonstrations."""
        pool, held = self._divided(task, train)
        methods = self._methods(task)
        base = plain_prompt(task)
        fixed = [method for method in methods if method not in _PER_INPUT]
        per_input = (len(methods) - len(fixed)) * len(self.k) * len(held)
        model = workshop.model(base.model)
        longer = self._longer(task, pool, self.k[len(self.k) // 2])
        extra = model.count_tokens(render(longer, "")) - model.count_tokens(render(base, ""))
        once = estimate_calls(
            task, longer, held, (1 + len(fixed) * len(self.k)) * len(held), workshop
        )
        each = estimate_calls(task, base, held, per_input, workshop, unshared_tokens=extra)
        return Estimate(
            _sum(once.seconds, each.seconds),
            _sum(once.dollars, each.dollars),
            once.calls + each.calls,
            f"fixed: {once.note}; picked per input: {each.note}",
        )

    def measured(self, task: Task, train: Sequence[Example]) -> list[PromptSolver]:
        """What dev will measure at most: `keep` prompts, each with the most demonstrations."""
        pool, _ = self._divided(task, train)
        return [self._longer(task, pool, self.k[-1])] * min(self.keep, len(self._methods(task)))

    def propose(
        self,
        task: Task,
        train: Sequence[Example],
        base: Trial | None,
        workshop: Workshop,
    ) -> Iterable[Candidate]:
        """The best `keep` methods, each with the k worth its tokens; fewest tokens first."""
        pool, held = self._divided(task, train)
        solver = base.candidate.solver if base else None
        prompt = solver if isinstance(solver, PromptSolver) else plain_prompt(task)
        diagnosis = base.diagnosis if base else Diagnosis()
        trying = _Trying(self, task, load_metric(task), workshop, pool, held, prompt, diagnosis)
        methods = [m for m in self._methods(task) if m != _CONFUSED or diagnosis.confusions]
        return list(trying.candidates(train, methods))

    def _divided(
        self, task: Task, train: Sequence[Example]
    ) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
        if (reason := no_plain_prompts(task)) is not None:
            raise reason
        if not task.models:
            raise NotApplicable("the task names no model", hint="add models = [...] to task.toml")
        pool, held = hold_out(train, self.slice, task.seed)
        if len(held) < 2 or len(pool) < self.k[0]:
            raise NotApplicable(
                f"{len(train)} train examples are too few to show {self.k[0]} and to hold out a "
                "slice for choosing",
                hint="label more examples",
            )
        return pool, held

    def _longer(self, task: Task, pool: Sequence[Example], k: int) -> PromptSolver:
        shown = pick_random(not_too_long(pool), k, task.seed)
        return replace(plain_prompt(task), demos=tuple((e.input, e.expected) for e in shown))

    def _methods(self, task: Task) -> list[str]:
        """Balance and confusion need labels; without them each would be another random draw."""
        of_labels = ("balanced", _CONFUSED)
        return [m for m in self.methods if m not in of_labels or task.kind == "classification"]


@dataclass
class _Trying:
    """The measurements on the held-out slice, and what they took."""

    step: FewShot
    task: Task
    metric: Metric
    workshop: Workshop
    pool: tuple[Example, ...]
    held: tuple[Example, ...]
    base: PromptSolver
    diagnosis: Diagnosis = field(default_factory=Diagnosis)
    effort: Effort = field(default_factory=Effort)
    cautions: list[str] = field(default_factory=list)
    stored: dict[tuple[str, int], str] = field(default_factory=dict)

    def candidates(self, train: Sequence[Example], methods: Sequence[str]) -> Iterator[Candidate]:
        without = self._steered_base()
        tried = {method: self._solvers(method) for method in methods}
        if getattr(self.workshop.model(self.base.model), "batching", False):
            self._ask_ahead(one for solvers in tried.values() for one in solvers.values())
        chosen: list[tuple[str, Attempt, str]] = []
        for method, solvers in tried.items():
            if not solvers:
                continue
            attempts = self._attempts(solvers)
            measured = [_measured(k, a) for k, a in attempts.items()]
            kept, why = choose_k(measured, self.task.economics.dollars_per_success)
            words = _words(method, kept.k, attempts[kept.k], without)
            chosen.append((method, attempts[kept.k], f"{words}; {why}"))
        if not chosen:
            raise NotApplicable(
                "no demonstrations could be tried: " + "; ".join(self.cautions),
                hint="install the extra 'local', or raise max_input_tokens",
            )
        chosen.sort(key=lambda one: (-one[1].score, one[1].tokens_per_request))
        best = chosen[: self.step.keep]
        best.sort(key=lambda one: one[1].tokens_per_request)
        for method, attempt, changed in best:
            yield self._candidate(method, attempt, changed, train)

    def _steered_base(self) -> Attempt:
        """The base held to its form, where its failures are of form and the model can; else it."""
        can_hold = bool(self.base.labels) or self.base.schema is not None
        held = replace(self.base, constrained=True)
        if form_fails(self.diagnosis) and can_hold and held != self.base:
            try:
                attempt = self._attempt(held)
            except ModelError as error:
                self.cautions.append(f"answers fail by their form, but {error.message}")
            else:
                self.base = held
                return attempt
        return self._attempt(self.base)

    def _attempts(self, solvers: Mapping[int, PromptSolver]) -> dict[int, Attempt]:
        """One attempt per k."""
        self._ask_ahead(solvers.values())
        return {k: self._attempt(solver) for k, solver in solvers.items()}

    def _ask_ahead(self, solvers: Iterable[PromptSolver]) -> None:
        plain = [solver for solver in solvers if solver.scoring == "none"]
        ask_ahead(plain, [example.input for example in self.held], self.workshop)

    def _solvers(self, method: str) -> dict[int, PromptSolver]:
        """One per k; none, with a caution, when the method cannot run here."""
        solvers: dict[int, PromptSolver] = {}
        for k in self.step.k:
            if k > len(self.pool):
                break
            try:
                solver = self._solver(method, k, self.pool)
            except (MissingExtra, ModelError, NotApplicable) as error:
                self.cautions.append(f"{method} was left out: {error.message}")
                break
            if self._too_long(solver, k):
                self.cautions.append(
                    f"{method} was not tried with k={k}: its prompts are longer than "
                    f"the context or max_input_tokens = {self.step.max_input_tokens} allows"
                )
                break
            solvers[k] = solver
        return solvers

    def _solver(self, method: str, k: int, pool: Sequence[Example]) -> PromptSolver:
        if method not in _PER_INPUT:
            picked = self._picked(method, not_too_long(pool), k)
            demos = tuple((example.input, example.expected) for example in picked)
            solver = replace(self.base, demos=demos, selector=None)
            if solver.scoring == "calibrated":
                solver = calibrate(solver, self.workshop)
            return solver
        selector = {"method": method, "k": k, "pool": self._stored(method, pool)}
        # Label priors belong to one prompt, and here every input has its own.
        scoring = "labels" if self.base.scoring == "calibrated" else self.base.scoring
        return replace(self.base, demos=(), selector=selector, scoring=scoring)

    def _picked(self, method: str, pool: Sequence[Example], k: int) -> list[Example]:
        if method == _CONFUSED:
            return pick_confused(pool, k, self.task.seed, self.diagnosis.confusions)
        return _FIXED[method](pool, k, self.task.seed)

    def _stored(self, method: str, pool: Sequence[Example]) -> str:
        """The pool's artifact, made once for all k: embedding it takes a while."""
        from ..solvers.selection import save_pool

        key = (method, len(pool))
        if key not in self.stored:
            demos = tuple((example.input, example.expected) for example in pool)
            kind: Literal["bm25", "embedding"] = "bm25" if method == "bm25" else "embedding"
            self.stored[key] = save_pool(demos, kind, self.workshop)
        return self.stored[key]

    def _too_long(self, solver: PromptSolver, k: int) -> bool:
        """Whether the prompt for the longest input is; the `k` longest demos stand for any."""
        model = self.workshop.model(solver.model)
        longest = max(self.held, key=lambda example: len(str(example.input)))
        picked: tuple[Example, ...] = ()
        if solver.selector is not None:
            by_size = sorted(self.pool, key=lambda e: len(str(e.input)) + len(str(e.expected)))
            picked = tuple(by_size[-k:])
        messages = render(solver, longest.input, [(e.input, e.expected) for e in picked])
        context = getattr(model, "context_tokens", None)  # local models tell theirs
        most = min(self.step.max_input_tokens, context or self.step.max_input_tokens)
        return model.count_tokens(messages) > most - solver.max_output_tokens

    def _attempt(self, solver: PromptSolver) -> Attempt:
        attempt = try_solver(solver, self.held, self.metric, self.workshop)
        self.effort += attempt.effort
        score = {"score": attempt.score, "n": len(self.held)}
        self.workshop.tell("tried", {"step": "few_shot", **score})
        return attempt

    def _candidate(
        self, method: str, attempt: Attempt, changed: str, train: Sequence[Example]
    ) -> Candidate:
        """The measured solver; one that picks per input now picks from all of train."""
        solver = attempt.solver
        assert isinstance(solver, PromptSolver)
        k = len(solver.demos)
        if solver.selector is not None:
            k = solver.selector["k"]
            solver = self._solver(method, k, train)
        return Candidate(
            step=self.step.name,
            name=f"{method}-{k}",
            solver=solver,
            changed=changed,
            build_seconds=self.effort.seconds,
            build_dollars=self.effort.dollars,
            build_calls=self.effort.calls,
            build_tokens=self.effort.tokens,
            cautions=tuple(self.cautions),
        )


def _measured(k: int, attempt: Attempt) -> Measured:
    dollars = attempt.effort.dollars
    per_request = None if dollars is None else dollars / len(attempt.outputs)
    return Measured(k, attempt.counts, attempt.tokens_per_request, per_request)


def _words(method: str, k: int, kept: Attempt, without: Attempt) -> str:
    gain, error = paired_gain(kept.counts, without.counts)
    extra = kept.tokens_per_request - without.tokens_per_request
    how = "picked per input" if method in _PER_INPUT else "the same for all inputs"
    before, after = without.compute_seconds_per_request, kept.compute_seconds_per_request
    seconds = (
        "" if before is None or after is None else f" and {after - before:+.2f} s of computing"
    )
    return (
        f"{k} examples by {method}, {how}: {gain:+.1%} (standard error {error:.1%}) on "
        f"{len(kept.counts)} held-out train examples for {extra:+.0f} tokens{seconds} per request"
    )


def _sum(*values: float | None) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
