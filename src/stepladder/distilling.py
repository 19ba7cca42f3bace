"""A solver of an earlier run teaches a small one: a climb of two rungs, the teacher and `distill`.

Both are measured as any candidates, on dev in pairs, and on the sealed test where they may be able;
so what comes of it can be deployed. How answers are judged is in `steps/distill_labels.py`, how it
is told in `report/distill.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .bundles.chosen import Chosen, choose
from .core import Candidate, Decision, Estimate, Example, Json, Task, Tell, Trial, Workshop
from .data.findings import Finding
from .data.split import load_split
from .errors import StepladderError
from .session import Options, run_climb
from .steps.distill import Distill

__all__ = ["Distilled", "Teacher", "distil", "open_teacher"]


@dataclass(frozen=True)
class Teacher:
    """A step that proposes one solver of an earlier run, as it was built."""

    candidate: Candidate

    @property
    def name(self) -> str:
        return self.candidate.step

    def estimate(self, task: Task, train: Sequence[Example], workshop: Workshop) -> Estimate:
        """Nothing: it is there."""
        return Estimate(0.0, 0.0, 0, "built by an earlier climb")

    def propose(
        self,
        task: Task,
        train: Sequence[Example],
        base: Trial | None,
        workshop: Workshop,
    ) -> Iterable[Candidate]:
        """The one solver."""
        return [self.candidate]


@dataclass(frozen=True)
class Distilled:
    """What came of it: the climb's decision, its folder, and what was told of the labelling.

    `labelling` has `kept`, `left_out` (how many by reason) and `rows` (the file), or is empty where
    there was nothing to learn from.
    """

    decision: Decision
    folder: Path
    teacher: Trial
    students: tuple[Trial, ...]
    labelling: Mapping[str, Json] = field(default_factory=dict)


def open_teacher(run: Path, name: str | None, task: Task) -> Candidate:
    """The solver `step/name` of a finished run, the best on dev where none is named.

    Raises:
        StoreError: the run is not finished, or its files cannot be read.
        StepladderError: there is no such solver, or the run is of another task.
    """
    chosen = choose(run, solver=name or _best(run), unconfirmed=True)
    _check_task(chosen, task)
    trial = chosen.trial
    return Candidate(
        trial["step"],
        trial["solver"],
        chosen.solver,
        build_seconds=trial["build_seconds"] or 0.0,
        build_dollars=trial["build_dollars"],
    )


def distil(
    step: Distill,
    teacher: Candidate,
    task: Task,
    options: Options,
    tell: Tell,
    warnings: Sequence[Finding] = (),
) -> Distilled:
    """Measure the teacher, let it teach, measure the student, and decide as a climb does.

    Raises what a climb raises, and NotApplicable where too few answers are good enough.
    """
    told: dict[str, Json] = {}

    def listening(event: str, fields: Mapping[str, Json]) -> None:
        if event == "labelled":
            told.update(fields)
        tell(event, fields)

    said = {name: getattr(step, name) for name in _named(step)}
    said["teacher"] = f"{teacher.step}/{teacher.name}"
    task = replace(task, steps={**task.steps, "distill": said})  # another teacher is another run
    split = load_split(task)
    decision, folder = run_climb(
        task, split, options, listening, warnings, [Teacher(teacher), step]
    )
    students = tuple(one for one in decision.trials if one.candidate.step == step.name)
    first = [one for one in decision.trials if one.candidate.step != step.name]
    if not first or not students:
        why = "; ".join(one.reason for one in decision.skipped) or decision.reason
        # a decision about the teacher alone: no command is to take it for the latest one
        (folder / "decision.json").replace(folder / "nothing_distilled.json")
        raise StepladderError(
            f"nothing was distilled: {why}", hint=f"what was measured is in {folder}"
        )
    return Distilled(decision, folder, first[0], students, told)


def _best(run: Path) -> str:
    """The solver with the best score on all of dev."""
    from .report.record import load_decision_record

    trials: Sequence[Mapping[str, Any]] = load_decision_record(run)["trials"]
    whole = [trial for trial in trials if trial["stopped_early"] is None]
    if not whole:
        raise StepladderError("the run measured nothing to learn from", hint="climb first")
    best = max(whole, key=lambda trial: trial["score"])
    return f"{best['step']}/{best['solver']}"


def _check_task(chosen: Chosen, task: Task) -> None:
    """Refuse a teacher of other labels, schema or kind: its answers are not this task's."""
    record = chosen.task
    if record["name"] != task.name or record["kind"] != task.kind:
        raise StepladderError(
            f"the run is of the task {record['name']!r} ({record['kind']}), and this is "
            f"{task.name!r} ({task.kind})",
            hint="name a run of this task with --run",
        )
    if list(record.get("labels") or ()) != list(task.labels):
        raise StepladderError(
            "the task's labels are not those that the teacher was built for",
            hint="climb again, then distil",
        )


def _named(step: Distill) -> list[str]:
    from dataclasses import fields

    return [one.name for one in fields(step) if one.init]
