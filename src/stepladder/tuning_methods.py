"""Methods of fine-tuning against one another: each tunes the same model on the same train.

Every tuned model is scored on all of dev and compared in pairs with the first. The sealed test is
not touched, and no step of a ladder is chosen here; what is found is told by `report/methods.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .compare import paired_gain
from .core import Candidate, Evaluation, Gain, Json, Task
from .errors import MissingExtra, ModelError, NotApplicable, StepladderError
from .steps.fine_tune import FineTune

if TYPE_CHECKING:
    from .climb import Climb

__all__ = ["SERVING", "Compared", "compare_methods", "local_model"]

_MERGED = "one model of its own in memory; as fast as the base"
SERVING: Mapping[str, str] = {
    "lora": f"{_MERGED}; or many adapters over one base",
    "rslora": f"{_MERGED}; or many adapters over one base",
    "dora": f"{_MERGED}; the adapter apart where the server knows DoRA",
    "qlora": f"{_MERGED}; the four bits were for training only",
    "prompt": "its tokens before every prompt; otherwise as fast as the base",
    "prefix": "through transformers only: slower, no constrained answers, no scoring",
    "freeze": _MERGED,
    "full": _MERGED,
}


@dataclass(frozen=True)
class Compared:
    """One method: the candidate it made and how dev scored it, or `why` there is none.

    `facts` is the training's own record; `gain` is over the first method that has a score.
    """

    method: str
    candidate: Candidate | None = None
    evaluation: Evaluation | None = None
    gain: Gain | None = None
    facts: Mapping[str, Json] = field(default_factory=dict)
    why: str = ""


def compare_methods(step: FineTune, methods: Sequence[str], on: Climb) -> list[Compared]:
    """Each method in the order given; one that cannot be had here says why.

    Raises StepladderError before anything is tuned where a method is unknown, and NotApplicable
    where none can be had.
    """
    steps = {method: replace(step, method=method) for method in methods}  # type: ignore[arg-type]
    found: list[Compared] = []
    for method, tuning in steps.items():
        one = _tuned(tuning, method, on)
        first = next((other for other in found if other.evaluation is not None), None)
        if one.evaluation is not None and first is not None and first.evaluation is not None:
            bench = on.bench
            gain = paired_gain(
                one.evaluation.rows,
                first.evaluation.rows,
                bench.metric.scale,
                bench.alpha,
                against=first.method,
                seed=bench.task.seed,
            )
            one = replace(one, gain=gain)
        found.append(one)
    if not any(one.evaluation for one in found):
        raise NotApplicable(
            f"no method can tune here: {found[0].why if found else 'none was named'}",
            hint="name methods with --methods, and a local model in the task",
        )
    return found


def local_model(task: Task, asked: str | None) -> str:
    """The model to tune: the one that was asked for, or the task's first local one.

    Raises StepladderError where it is not local.
    """
    local = [name for name in task.models if name.startswith("local:")]
    if asked is not None and asked.startswith("local:"):
        return asked
    if asked is not None or not local:
        raise StepladderError(
            f"{asked!r} is not a local model" if asked else "the task names no local model",
            hint="methods are compared on weights that lie here: name a model as local:...",
        )
    return local[0]


def _tuned(step: FineTune, method: str, on: Climb) -> Compared:
    task, workshop = on.bench.task, on.bench.workshop
    try:
        on.budget.afford(step.name, step.estimate(task, on.split.train, workshop))
        with on.budget.building():
            (candidate, *_) = step.propose(task, on.split.train, None, workshop)
    except (NotApplicable, MissingExtra, ModelError) as reason:
        on.tell("left out", step=step.name, name=method, why=reason.message)
        return Compared(method, why=reason.message)
    with on.runner(candidate, "dev", on.split.dev) as runner:
        runner.answer(on.split.dev)
    evaluation = runner.evaluation()
    on.tell("tried", step=step.name, score=evaluation.score, n=evaluation.n)
    return Compared(method, candidate, evaluation, facts=_facts(candidate, on))


def _facts(candidate: Candidate, on: Climb) -> Mapping[str, Json]:
    """What the training wrote of itself."""
    name = str(getattr(candidate.solver, "model", "")).rpartition("/")[2]
    try:
        text = (on.bench.workshop.artifacts / name / "training.json").read_text(encoding="utf-8")
    except OSError:  # tuned at a service, which keeps its own record
        return {}
    facts: Mapping[str, Json] = json.loads(text)
    return facts
