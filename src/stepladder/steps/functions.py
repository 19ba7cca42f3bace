"""The functions step: the model is given functions that it may call, with and without examples.

It is tried where task.toml has `[steps.functions]`. Which functions there are and what may run is
the user's to say; nothing is searched here, dev decides.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ..core import Candidate, Estimate, Example, Json, Task, Trial, Workshop
from ..errors import NotApplicable, TaskError
from ..functions.catalogue import read_catalogue, save_catalogue
from ..functions.description import Described, described_record
from ..functions.opening import open_sources, source_record
from ..functions.running import Running
from ..solvers.calling import CallingSolver
from ..solvers.prompt import PromptSolver
from ..solvers.selection import save_pool
from .demos import not_too_long
from .prompt_variants import no_plain_prompts
from .sampling import spread_over_labels

__all__ = ["Functions", "calling_solver", "calls_as_prompt", "moved_calls", "plain_calls"]

_WHY = "functions are described to the model, which calls them"
_HELD = "held to a JSON list of calls"


@dataclass(frozen=True)
class Functions:
    """Proposes the task's model with functions, and with `shots` demonstrations from train.

    `catalogue` is a file of descriptions, for predicting calls; `sources` are what calls run
    through, as tables with a `kind` of "python", "openapi" or "mcp". `candidates` names the input's
    field that lists what may be called for it. `gives`, `allowed`, `dry` and the limits are those
    of the solver (`solvers/calling.py`).
    """

    catalogue: str | None = None
    sources: tuple[Mapping[str, Json], ...] = ()
    candidates: str | None = None
    gives: Literal["calls", "record", "answer"] = "calls"
    allowed: tuple[str, ...] = ()
    dry: bool = False
    shots: int = 4
    turns: int = 8
    seconds: float = 60.0
    dollars: float | None = None
    result_characters: int = 4000
    name: str = field(default="functions", init=False)

    @staticmethod
    def concerns(task: Task) -> bool:
        """Whether the task says which functions there are."""
        return "functions" in task.steps

    def check(self, task: Task) -> None:
        """Raise TaskError where the options and the task do not go together."""
        if not self.concerns(task):
            return
        if self.catalogue is None and not self.sources:
            raise TaskError(
                "task.toml: [steps.functions] names no functions",
                hint="give catalogue = 'functions.json', or sources = [{kind = 'python', ...}]",
            )
        if self.gives != "calls" and not self.sources:
            raise TaskError(
                f"task.toml: [steps.functions] gives = {self.gives!r} needs sources to run calls",
                hint="give sources, or gives = 'calls' to predict them",
            )
        if self.shots < 0 or self.turns < 1:
            raise TaskError(
                f"step 'functions' cannot work with shots={self.shots}, turns={self.turns}",
                hint="give shots of at least 0, turns of at least 1",
            )

    def estimate(self, task: Task, train: Sequence[Example], workshop: Workshop) -> Estimate:
        """Nothing is asked while building."""
        self._applies(task)
        return Estimate(0.0, 0.0, 0, "nothing is searched")

    def measured(self, task: Task, train: Sequence[Example]) -> list[PromptSolver | None]:
        """What dev will measure, as prompts of about its size; None where sources describe more."""
        if not task.models:
            return []
        held = self._held_to_json(task.models[0])
        plain = self.as_prompt(task, task.models[0], train)
        found = [plain] * (1 + held)
        if self._demonstrated(task.models[0]) and train:
            shown = tuple((one.input, one.expected) for one in self._fixed(train, task))
            found += [plain and replace(plain, demos=shown)] * 2
        return found

    def as_prompt(self, task: Task, model: str, train: Sequence[Example]) -> PromptSolver | None:
        """A prompt about as long as the first turn, for planning; None where it is not known.

        With candidates per input it is that of an example of middling size.
        """
        if self.catalogue is None or self.sources or self.gives != "calls" or not train:
            return None
        known = read_catalogue(task.folder / self.catalogue)
        told = [list(known)] if self.candidates is None else [
            [key for key in one.input[self.candidates] if key in known]
            for one in train
            if isinstance(one.input, Mapping) and self.candidates in one.input
        ]  # fmt: skip
        if not told:
            return None
        keys = sorted(told, key=len)[len(told) // 2]
        lines = [json.dumps(described_record(known[key])) for key in keys]
        said = "\n".join([task.instructions, *lines])
        return PromptSolver(
            model, said, output_format="json", max_output_tokens=task.max_output_tokens
        )

    def propose(
        self, task: Task, train: Sequence[Example], base: Trial | None, workshop: Workshop
    ) -> Iterable[Candidate]:
        """The plain one, and those with demonstrations of calls from train.

        A local model is held to a list of calls, unless its last words are the answer: a small one
        would make none by itself. That it is asked plainly is proposed as well.
        """
        self._applies(task)
        model = task.models[0]
        plain = self.solver(task, model, workshop)
        found = [_candidate("plain", plain, _WHY)]
        if self._held_to_json(model):
            plain = replace(plain, form="json")
            found.append(_candidate("json", plain, f"{_WHY}; {_HELD}"))
        if not self._demonstrated(model) or not train:
            return found
        fixed = self._fixed(train, task)
        demos = tuple((example.input, example.expected) for example in fixed)
        changed = f"{found[-1].changed}; {len(demos)} demonstrations"
        found.append(_candidate(f"shots-{len(demos)}", replace(plain, demos=demos), changed))
        pool = save_pool([(one.input, one.expected) for one in train], "bm25", workshop)
        picked = {"method": "bm25", "k": len(demos), "pool": pool}
        found.append(
            _candidate(
                f"bm25-{len(demos)}",
                replace(plain, selector=picked),
                f"{changed}, the most alike of train for each input",
            )
        )
        return found

    def solver(self, task: Task, model: str, workshop: Workshop) -> CallingSolver:
        """The solver without demonstrations.

        Raises:
            TaskError: a file of functions cannot be used, or an allowed function is not there.
        """
        sources = tuple(source_record(one, task.folder) for one in self.sources)
        return CallingSolver(
            model,
            task.instructions,
            save_catalogue(self._described(task.folder, sources), workshop.artifacts),
            candidates=self.candidates,
            gives=self.gives,
            sources=() if self.gives == "calls" else sources,
            allowed=() if self.gives == "calls" else self.allowed,
            dry=self.dry,
            steps=self.turns,
            seconds=self.seconds,
            dollars=self.dollars,
            result_characters=self.result_characters,
            max_output_tokens=task.max_output_tokens,
            thinking_tokens=task.thinking_tokens,
        )

    def _described(
        self, folder: Path, sources: Sequence[Mapping[str, Json]]
    ) -> dict[str, Described]:
        found = {} if self.catalogue is None else read_catalogue(folder / self.catalogue)
        with open_sources(sources) as opened:
            there = Running(opened, frozenset(self.allowed)).described
        return {**found, **{one.name: one for one in there}}

    def _demonstrated(self, model: str) -> bool:
        """What is expected shows a turn only where calls are what a turn answers with."""
        return bool(self.shots) and (self.gives == "calls" or self._held_to_json(model))

    def _fixed(self, train: Sequence[Example], task: Task) -> Sequence[Example]:
        return not_too_long(spread_over_labels(train, task.seed))[: self.shots]

    def _held_to_json(self, model: str) -> bool:
        return self.gives != "answer" and model.startswith("local:")

    def _applies(self, task: Task) -> None:
        if not self.concerns(task):
            raise NotApplicable(
                "the task names no functions", hint="describe them in [steps.functions]"
            )
        if not task.models:
            raise NotApplicable("the task names no model", hint="add models = [...] to task.toml")


def _candidate(name: str, solver: CallingSolver, changed: str) -> Candidate:
    return Candidate("functions", name, solver, changed, build_dollars=0.0)


def calling_solver(task: Task, model: str, workshop: Workshop) -> CallingSolver | None:
    """What a `model` that is tuned on the task's calls is asked with; None where none is tuned so.

    It is held to a list of calls, which it may leave empty. What is expected are the calls of one
    turn, so a task that goes on after them is not tuned on.
    """
    step = _step_of(task)
    if step is None or step.gives == "answer" or (step.gives == "record" and step.turns > 1):
        return None
    # it has seen what there is to call: where that differs by input it is told, in short
    shown: Literal["signatures", "nothing"] = "signatures" if step.candidates else "nothing"
    return replace(step.solver(task, model, workshop), form="json", shown=shown)


def plain_calls(task: Task, model: str, workshop: Workshop) -> CallingSolver | None:
    """The functions of a task whose answers are calls, given to `model`; None for other tasks."""
    step = _step_of(task) if no_plain_prompts(task) is not None else None
    return None if step is None else moved_calls(step.solver(task, model, workshop), model)


def moved_calls(solver: CallingSolver, model: str) -> CallingSolver:
    """The same functions and demonstrations, asked of another model in the form that it has."""
    local = model.startswith("local:") and solver.gives != "answer"
    return replace(solver, model=model, form="json" if local else "native")


def calls_as_prompt(task: Task, model: str, train: Sequence[Example]) -> PromptSolver | None:
    """A prompt about as long as that of the task's calls, for planning; None where unknown."""
    step = _step_of(task)
    return None if step is None else step.as_prompt(task, model, train)


def _step_of(task: Task) -> Functions | None:
    from ..session import make_steps

    if not Functions.concerns(task):
        return None
    (step,) = make_steps(task, ["functions"])
    assert isinstance(step, Functions)
    return step
