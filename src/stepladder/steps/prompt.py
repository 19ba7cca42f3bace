"""The prompt step: which wording, shown context, format and placement the model follows best.

Real alternatives are tried on a small sample of train, and only the best few go on to be measured
on dev, the plain prompt always among them. Demonstrations are for `few_shot.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ..core import Candidate, Estimate, Example, Task, Trial, Workshop
from ..errors import NotApplicable, StepladderError
from ..metrics import load_metric
from ..solvers.prompt import CONTENT_FREE, PromptSolver
from .measure import Effort, can_score
from .prompt_search import PLAIN, Found, Search, search_prompts
from .prompt_variants import no_plain_prompts, plain_prompt, variants
from .sampling import spread_over_labels
from .speed import answer_tokens, estimate_calls

__all__ = ["Prompt"]


@dataclass(frozen=True)
class Prompt:
    """Searches prompts on `sample` train examples and proposes the best `keep`.

    Label scoring costs a model's work per label and example; it is tried only when the search
    would take at most `max_scoring_calls` of them. `search` "gepa" adds a wording that the package
    gepa evolves with `task.prompt_model` reflecting, over about `gepa_calls` answers; "none"
    proposes the plain prompt alone.
    """

    sample: int = 32
    keep: int = 4
    max_scoring_calls: int = 2000
    search: Literal["built-in", "gepa", "none"] = "built-in"
    gepa_calls: int = 150
    name: str = field(default="prompt", init=False)

    def __post_init__(self) -> None:
        if self.search not in ("built-in", "gepa", "none"):
            raise StepladderError(
                f"step 'prompt' has no search {self.search!r}", hint="built-in, gepa or none"
            )
        if self.sample < 8 or self.keep < 1:
            raise StepladderError(
                f"step 'prompt' cannot search with sample={self.sample}, keep={self.keep}",
                hint="give sample >= 8 and keep >= 1",
            )

    @staticmethod
    def concerns(task: Task) -> bool:
        """Tasks that are asked in words; calls of functions are for the step of that name."""
        return no_plain_prompts(task) is None

    def estimate(self, task: Task, train: Sequence[Example], workshop: Workshop) -> Estimate:
        """At most the calls of the search, from the edits that this task allows."""
        self._check(task)
        if self.search == "none" or len(train) < 2:
            return Estimate(0.0, 0.0, 0, "the plain prompt needs no search")
        learn, judge = self._samples(task, train)
        edits = 1 + len(variants(task, scoring=self._scoring_fits(task, train, workshop)))
        third = max(1, len(judge) // 3)
        entrants = (edits + 1) // 2 + 4  # plain, a combination, two corrected
        calls = edits * len(learn) + entrants * third + self.keep * (len(judge) - third)
        calls += 2 * len(CONTENT_FREE) + (self.gepa_calls if self.search == "gepa" else 0)
        scored = self._scored_label_tokens(task, train, workshop) / calls
        plain = plain_prompt(task)
        return estimate_calls(task, plain, judge, calls, workshop, unshared_tokens=scored)

    def measured(self, task: Task, train: Sequence[Example]) -> list[PromptSolver]:
        """What dev will measure at most: the plain prompt, and those kept by the search."""
        if self.search == "none" or len(train) < 2:
            return [plain_prompt(task)]
        return [plain_prompt(task)] * (1 + self.keep + (self.search == "gepa"))

    def propose(
        self,
        task: Task,
        train: Sequence[Example],
        base: Trial | None,
        workshop: Workshop,
    ) -> Iterable[Candidate]:
        """The plain prompt and the best found on the task's first model, fewest tokens first."""
        self._check(task)
        if self.search == "none" or len(train) < 2:
            return [_plain(task)]
        return list(self._searched(task, train, workshop))

    def _searched(
        self, task: Task, train: Sequence[Example], workshop: Workshop
    ) -> Iterator[Candidate]:
        search = Search(task, load_metric(task), workshop)
        learn, judge = self._samples(task, train)
        fits = self._scoring_fits(task, train, workshop)
        found = search_prompts(search, learn, judge, keep=self.keep, scoring=fits)
        if self.search == "gepa":
            from .gepa_search import evolve

            found.append(evolve(search, found[0], learn, judge, self.gepa_calls))
        cautions = tuple(search.cautions)
        if task.labels and not fits and can_score(workshop.model(task.models[0])):
            cautions += (self._why_no_scoring(task, train),)
        for one in sorted(found, key=lambda one: one.attempt.tokens_per_request):
            yield _candidate(one, search.effort, cautions)

    def _check(self, task: Task) -> None:
        if (reason := no_plain_prompts(task)) is not None:
            raise reason
        if not task.models:
            raise NotApplicable("the task names no model", hint="add models = [...] to task.toml")
        if self.search == "gepa" and task.prompt_model is None:
            raise StepladderError(
                "step 'prompt' with search = 'gepa' needs a capable model that rewrites prompts",
                hint="set prompt_model in task.toml, or use search = 'built-in'",
            )

    def _samples(self, task: Task, train: Sequence[Example]) -> tuple[list[Example], list[Example]]:
        """Examples to learn lessons from, and others to judge on."""
        drawn = spread_over_labels(train, task.seed)[: self.sample]
        quarter = max(1, len(drawn) // 4)
        return drawn[:quarter], drawn[quarter:]

    def _scoring_fits(self, task: Task, train: Sequence[Example], workshop: Workshop) -> bool:
        able = bool(task.labels) and can_score(workshop.model(task.models[0]))
        return able and self._scoring_calls(task, train) <= self.max_scoring_calls

    def _scoring_calls(self, task: Task, train: Sequence[Example]) -> int:
        """Two scoring variants over the whole sample, and two calibrations."""
        asked = 2 * min(self.sample, len(train)) + 2 * len(CONTENT_FREE)
        return len(task.labels) * asked

    def _scored_label_tokens(
        self, task: Task, train: Sequence[Example], workshop: Workshop
    ) -> float:
        """What label scoring adds to the search: the tokens of each label, for each example."""
        if not self._scoring_fits(task, train, workshop):
            return 0.0
        model = workshop.model(task.models[0])
        each = sum(answer_tokens(model, label) for label in task.labels) / len(task.labels)
        return each * self._scoring_calls(task, train)

    def _why_no_scoring(self, task: Task, train: Sequence[Example]) -> str:
        return (
            f"label scoring was left out: {len(task.labels)} labels would take "
            f"{self._scoring_calls(task, train):,} scored answers in the search, more than "
            f"max_scoring_calls = {self.max_scoring_calls:,}"
        )


def _candidate(found: Found, effort: Effort, cautions: tuple[str, ...]) -> Candidate:
    """The plain prompt is free; any other was found by the whole search."""
    spent = Effort() if found.variant.name == PLAIN.name else effort
    return Candidate(
        step="prompt",
        name=found.variant.name,
        solver=found.solver,
        changed=found.variant.why,
        build_seconds=spent.seconds,
        build_dollars=spent.dollars,
        build_calls=spent.calls,
        build_tokens=spent.tokens,
        cautions=cautions,
    )


def _plain(task: Task) -> Candidate:
    return Candidate("prompt", PLAIN.name, plain_prompt(task), PLAIN.why, build_dollars=0.0)
