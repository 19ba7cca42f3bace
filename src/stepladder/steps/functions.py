"""The functions step: the model is given functions that it may call, with and without examples.

It is tried where task.toml has `[steps.functions]`. Which functions there are and what may run is
the user's to say; nothing is searched here, dev decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ..core import Candidate, Estimate, Example, Json, Task, Trial, Workshop
from ..errors import NotApplicable, TaskError
from ..functions.catalogue import read_catalogue, save_catalogue
from ..functions.description import Described
from ..functions.opening import open_sources, source_record
from ..functions.running import Running
from ..solvers.calling import CallingSolver
from .demos import not_too_long
from .sampling import spread_over_labels

__all__ = ["Functions", "calling_solver"]

_WHY = "functions are described to the model, which calls them"
_HELD = "held to a JSON list of calls"


@dataclass(frozen=True)
class Functions:
    """Proposes the task's model with functions, and the same with `shots` demonstrations.

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

    def measured(self, task: Task, train: Sequence[Example]) -> list[None]:
        """How many candidates dev will measure; what they will say depends on the functions."""
        held = bool(task.models) and self._held_to_json(task.models[0])
        return [None] * (1 + held + bool(self._shown(train, task)))

    def propose(
        self, task: Task, train: Sequence[Example], base: Trial | None, workshop: Workshop
    ) -> Iterable[Candidate]:
        """The plain one, and the one with demonstrations of calls from train.

        A local model that predicts calls is held to a list of them: a small one would make none by
        itself. That it is asked plainly is proposed as well.
        """
        self._applies(task)
        plain = self.solver(task, task.models[0], workshop)
        found = [Candidate("functions", "plain", plain, _WHY, build_dollars=0.0)]
        if self._held_to_json(plain.model):
            plain = replace(plain, form="json")
            found.append(Candidate("functions", "json", plain, f"{_WHY}; {_HELD}",
                                   build_dollars=0.0))  # fmt: skip
        if shown := self._shown(train, task):
            demos = tuple((example.input, example.expected) for example in shown)
            changed = f"{found[-1].changed}; {len(demos)} demonstrations"
            more = replace(plain, demos=demos)
            found.append(Candidate("functions", f"shots-{len(demos)}", more, changed,
                                   build_dollars=0.0))  # fmt: skip
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

    def _shown(self, train: Sequence[Example], task: Task) -> Sequence[Example]:
        """What is expected shows a call only where calls are the answer."""
        if self.gives != "calls" or not self.shots:
            return ()
        return not_too_long(spread_over_labels(train, task.seed))[: self.shots]

    def _held_to_json(self, model: str) -> bool:
        return self.gives == "calls" and model.startswith("local:")

    def _applies(self, task: Task) -> None:
        if not self.concerns(task):
            raise NotApplicable(
                "the task names no functions", hint="describe them in [steps.functions]"
            )
        if not task.models:
            raise NotApplicable("the task names no model", hint="add models = [...] to task.toml")


def calling_solver(task: Task, model: str, workshop: Workshop) -> CallingSolver | None:
    """What a tuned `model` predicts calls of the task's functions with; None where it does not.

    It is held to a list of calls, which it may leave empty.
    """
    from ..session import make_steps

    if not Functions.concerns(task):
        return None
    (step,) = make_steps(task, ["functions"])
    assert isinstance(step, Functions)
    if step.gives != "calls":
        return None
    # it has seen what there is to call: where that differs by input it is told, in short
    shown: Literal["signatures", "nothing"] = "signatures" if step.candidates else "nothing"
    return replace(step.solver(task, model, workshop), form="json", shown=shown)
