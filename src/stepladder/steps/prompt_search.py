"""The rounds of the prompt search: try, drop the weaker half, combine, correct, try again.

Successive halving (Jamieson and Talwalkar, 2016) over the edits of `prompt_variants.py`. The
examples that corrective sentences were learnt from are not those on which they are judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from ..core import Example, Metric, Task, Workshop
from ..errors import ModelError
from ..solvers.prompt import CONTENT_FREE, PromptSolver, ask_ahead, calibrate
from .lessons import lessons
from .measure import Attempt, Effort, try_solver
from .prompt_variants import Variant, combine, plain_prompt, variants, with_lessons

__all__ = ["PLAIN", "Found", "Search", "search_prompts"]

PLAIN = Variant("plain", {}, "the task's own words", "wording")


@dataclass(frozen=True)
class Found:
    """A variant, the solver it makes and how that did so far."""

    variant: Variant
    solver: PromptSolver
    attempt: Attempt


@dataclass
class Search:
    """Where attempts are made, and what they took together."""

    task: Task
    metric: Metric
    workshop: Workshop
    effort: Effort = field(default_factory=Effort)
    cautions: list[str] = field(default_factory=list)

    def try_all(self, variants: Iterable[Variant], examples: Sequence[Example]) -> list[Found]:
        """Each variant on these examples, the best first; what the model cannot do is left out.

        Raises:
            ModelError: even the plain prompt fails.
        """
        variants = tuple(variants)
        self._ask_ahead(variants, examples)
        found = []
        for variant in variants:
            try:
                found.append(self.try_variant(variant, examples))
            except ModelError as error:  # no scores, no constraints: some models lack them
                if variant.name == PLAIN.name:
                    raise
                self.cautions.append(f"{variant.name} was left out: {error.message}")
        return _rank(found)

    def _ask_ahead(self, variants: Sequence[Variant], examples: Sequence[Example]) -> None:
        """Together what can be asked together: a calibrated solver must first measure priors."""
        plain = plain_prompt(self.task)
        solvers = [variant.apply(plain) for variant in variants]
        inputs = [example.input for example in examples]
        # a model that lacks constraints says so once more, of the variant that wants them
        with suppress(ModelError):
            ask_ahead([one for one in solvers if one.scoring == "none"], inputs, self.workshop)

    def try_variant(self, variant: Variant, examples: Sequence[Example]) -> Found:
        """The variant of the plain prompt, on these examples."""
        solver = variant.apply(plain_prompt(self.task))
        if solver.scoring == "calibrated":
            solver = calibrate(solver, self.workshop)
            self.effort += Effort(calls=len(CONTENT_FREE))
        return Found(variant, solver, self.attempt(solver, examples))

    def extend(self, found: Found, examples: Sequence[Example]) -> Found:
        """The same with more examples."""
        more = self.attempt(found.solver, examples)
        return replace(found, attempt=found.attempt + more)

    def attempt(self, solver: PromptSolver, examples: Sequence[Example]) -> Attempt:
        attempt = try_solver(solver, examples, self.metric, self.workshop)
        self.effort += attempt.effort
        score = {"score": attempt.score, "n": len(examples)}
        self.workshop.tell("tried", {"step": "prompt", **score})
        return attempt


def search_prompts(
    search: Search,
    learn: Sequence[Example],
    judge: Sequence[Example],
    *,
    keep: int,
    scoring: bool,
) -> list[Found]:
    """The best `keep` variants, the best first, the plain one always among them."""
    edits = (PLAIN, *variants(search.task, scoring=scoring))
    opening = search.try_all(edits, learn)
    survivors = [found.variant for found in opening[: (len(opening) + 1) // 2]]
    entrants = {
        edit.name: edit for edit in (PLAIN, *survivors, *_descendants(search.task, opening))
    }
    third = max(1, len(judge) // 3)
    second = search.try_all(entrants.values(), judge[:third])
    finalists = _with_plain(second, keep)
    if len(judge) == third:
        return finalists
    return _rank([search.extend(found, judge[third:]) for found in finalists])


def _rank(found: Sequence[Found]) -> list[Found]:
    """Best score first; of equals the more readable, then the shorter, then the one tried first.

    A small model often gets nothing right with any prompt; then a readable answer is the better
    start for the steps that follow.
    """
    return sorted(found, key=_standing)


def _standing(found: Found) -> tuple[float, float, float]:
    attempt = found.attempt
    return (-attempt.score, -attempt.readable, attempt.tokens_per_request)


def _with_plain(ranked: Sequence[Found], keep: int) -> list[Found]:
    """The first `keep`, plain in the last place if it did not earn one."""
    kept = list(ranked[:keep])
    if all(found.variant.name != PLAIN.name for found in kept):
        kept[-1] = next(found for found in ranked if found.variant.name == PLAIN.name)
    return kept


def _descendants(task: Task, opening: Sequence[Found]) -> list[Variant]:
    """What helped, combined; and the best so far and the combination with lessons of failures."""
    plain = next(found for found in opening if found.variant.name == PLAIN.name)
    helped = [
        found.variant
        for found in opening
        if found.attempt.score > plain.attempt.score and found.variant.name != PLAIN.name
    ]
    made = []
    combined = combine(helped)
    if combined is not None:
        made.append(combined)
    if sentences := lessons(task, opening[0].attempt):
        for parent in [opening[0].variant, *made]:
            solver = parent.apply(opening[0].solver)
            made.append(with_lessons(parent, solver, sentences))
    return made
