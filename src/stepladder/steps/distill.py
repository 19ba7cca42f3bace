"""The distill step: the best solver so far labels unlabelled inputs, and a small one learns them.

What a long prompt, a large model or retrieval knows is bought once, for inputs that nobody has
labelled, and owned from then on. The student is whatever another step builds from examples, by the
options of that step; `distill_labels.py` judges the teacher's answers. Off unless
`[steps.distill]` is in the task; `stepladder distill` names the teacher.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from ..candidate_costs import or_nan
from ..core import Candidate, Estimate, Example, Solver, Step, Task, Trial, Workshop
from ..cost import machine_dollars
from ..data.formats import read_unlabelled
from ..data.pool import Pool, open_pool
from ..data.split import load_split
from ..errors import NotApplicable, StepladderError, TaskError
from ..solvers.artifact import save_artifact
from ..solvers.prompt import PromptSolver
from .distill_labels import ROWS, Labelling, Rules, label_inputs, labelled_lines
from .measure import seconds_of

__all__ = ["STUDENTS", "Distill"]

STUDENTS = ("baseline", "heads", "encoder", "fine_tune", "scratch")
LEAST = 16  # answers that are good enough; below, there is nothing to learn from


@dataclass(frozen=True)
class Distill:
    """Proposes what the step `student` builds of the answers of the best solver so far.

    `unlabelled` is a file of rows like the task's, in its folder; inputs of dev and test, and
    nearly those, are left out of it, which is all that dev and test are looked at for. At most
    `limit` of its inputs are asked about. `samples`, `temperature`, `agreement`, `drop` and
    `least_confidence` say which answers are learned from (`distill_labels.Rules`). With
    `with_train` the student learns the labelled examples of train too.
    """

    unlabelled: str | None = None
    student: str = "fine_tune"
    limit: int | None = None
    samples: int = 0
    temperature: float = 0.7
    agreement: float = 0.8
    drop: float = 0.1
    least_confidence: float | None = None
    with_train: bool = True
    others: tuple[Solver, ...] = field(default=(), init=False)
    name: str = field(default="distill", init=False)

    def __post_init__(self) -> None:
        if self.student not in STUDENTS:
            raise StepladderError(
                f"step 'distill' has no student {self.student!r}",
                hint=f"a step that builds a solver of examples: {', '.join(STUDENTS)}",
            )
        for option, low, high in (("agreement", 0, 1), ("drop", 0, 0.9), ("temperature", 0, 2)):
            if not low <= getattr(self, option) <= high:
                raise StepladderError(
                    f"step 'distill': {option} = {getattr(self, option)} makes no sense",
                    hint=f"give {low} to {high}",
                )
        if self.samples < 0 or (self.limit is not None and self.limit < 1):
            raise StepladderError(
                "step 'distill': samples and limit are whole numbers, limit above zero",
                hint="leave them out, or give such numbers",
            )

    @staticmethod
    def concerns(task: Task) -> bool:
        """Tasks that name a file of unlabelled inputs."""
        return "distill" in task.steps

    @cached_property
    def rules(self) -> Rules:
        """When an answer is learned from."""
        return Rules(
            self.samples, self.temperature, self.agreement, self.drop, self.least_confidence
        )

    def beside(self, others: Sequence[Solver]) -> Distill:
        """The step whose teacher's answers have to agree with those of other solvers."""
        found = replace(self)
        object.__setattr__(found, "others", tuple(others))
        return found

    def check(self, task: Task) -> None:
        """Raise TaskError before any step begins where the inputs or the student's options fail."""
        self._student(task)
        if self.unlabelled is None:
            return
        pool = self._pool(task)
        if len(pool.inputs) < LEAST:  # before anything is asked, paid or opened
            left_out = [f"{count:,} {why}" for why, count in pool.left_out.items()]
            without = f", without {', '.join(left_out)}" if left_out else ""
            raise TaskError(
                f"{Path(self.unlabelled).name!r} has {len(pool.inputs)} inputs to learn from"
                f"{without}; {LEAST} are the least",
                hint="give more unlabelled inputs" + (", or a higher limit" if self.limit else ""),
            )

    def estimate(self, task: Task, train: Sequence[Example], workshop: Workshop) -> Estimate:
        """What the student's training will take; the teacher's answers are counted, not priced."""
        pool = self._pool(task)
        like = train[0].expected if train else None
        learned = (*train, *(replace(one, expected=like) for one in pool.inputs))
        student = self._student(task).estimate(task, learned, workshop)
        asked = len(pool.inputs) * (1 + self.samples + len(self.others))
        # who teaches is not known before; a budget counts its answers as they are paid for
        note = f"{asked:,} answers of the best solver so far, which are not in this; {student.note}"
        return replace(student, note=note)

    def measured(self, task: Task, train: Sequence[Example]) -> list[PromptSolver | None]:
        """None: the student is not known before."""
        return [None]

    def propose(
        self,
        task: Task,
        train: Sequence[Example],
        base: Trial | None,
        workshop: Workshop,
    ) -> Iterable[Candidate]:
        """The student's candidates, fitted on the teacher's answers."""
        if base is None:
            raise NotApplicable(
                "there is no solver to learn from",
                hint="climb other steps before it, or name one: stepladder distill --teacher",
            )
        teacher = base.candidate
        labelling = self._labelled(task, teacher.solver, workshop)
        kept = labelling.examples
        name = save_artifact(workshop.artifacts, {ROWS: labelled_lines(labelling).encode()})
        rows = workshop.artifacts / name / ROWS
        told = {"left_out": labelling.reasons, "kept": len(kept), "rows": str(rows)}
        workshop.tell("labelled", {**told, "teacher": f"{teacher.step}/{teacher.name}"})
        said = _in_words(teacher, labelling, len(train) if self.with_train else 0)
        workshop.tell("note", {"text": f"{said}; each answer, and why, is in {rows}"})
        if len(kept) < LEAST:
            raise NotApplicable(
                f"{len(kept)} answers are too few to learn from: {said}",
                hint="give more unlabelled inputs, a better teacher, or milder rules",
            )
        learned = (*train, *kept) if self.with_train else kept
        for candidate in self._student(task).propose(task, learned, None, workshop):
            yield self._taught(candidate, labelling, said, task, workshop)

    def _labelled(self, task: Task, teacher: Solver, workshop: Workshop) -> Labelling:
        pool = self._pool(task)
        found = label_inputs(teacher, pool.inputs, self.rules, task, workshop, self.others)
        return replace(found, left_out=pool.left_out)

    def _pool(self, task: Task) -> Pool:
        if self.unlabelled is None:
            raise NotApplicable(
                "there are no unlabelled inputs to learn from",
                hint='name a file of them: [steps.distill] unlabelled = "inbox.jsonl"',
            )
        if task.kind == "calls":
            raise NotApplicable("calls of functions are not distilled: tune on the calls you have")
        file = task.folder / self.unlabelled
        if not file.is_file():
            raise TaskError(
                f"there is no file of unlabelled inputs {str(file)!r}",
                hint="its path in [steps.distill] unlabelled is from the task's folder",
            )
        pool = open_pool(list(read_unlabelled(file, task.data)), load_split(task))
        return replace(pool, inputs=pool.inputs[: self.limit])

    def _student(self, task: Task) -> Step:
        from ..session import make_steps  # here: a session makes this step too

        [step] = make_steps(task, (self.student,))
        return step

    def _taught(
        self,
        candidate: Candidate,
        labelling: Labelling,
        said: str,
        task: Task,
        workshop: Workshop,
    ) -> Candidate:
        """The candidate with what the teacher's answers took counted in."""
        usage = labelling.usage
        asking = seconds_of(usage, labelling.seconds)
        tokens = sum((one.input_tokens or 0) + (one.output_tokens or 0) for one in usage)
        answers = workshop.price(usage) if usage else 0.0
        cautions = candidate.cautions
        if answers is None:
            cautions = (*cautions, f"{self.name}: what the teacher's answers cost is unknown")
        return replace(
            candidate,
            step=self.name,
            name=f"{self.student}-{candidate.name}",
            changed=f"{said}; {candidate.changed}",
            build_seconds=candidate.build_seconds + max(asking, labelling.seconds),
            build_dollars=_sum(answers, _built(candidate, task, workshop)),
            build_calls=candidate.build_calls + len(usage),
            build_tokens=candidate.build_tokens + tokens,
            cautions=cautions,
        )


def _in_words(teacher: Candidate, labelling: Labelling, train: int) -> str:
    """Who taught, on how many inputs, how many were left out and why."""
    kept, asked = len(labelling.examples), len(labelling.rows)
    said = f"taught by {teacher.step}/{teacher.name} on {kept:,} of {asked:,} unlabelled inputs"
    if train:
        said += f" and by the {train:,} labels of train"
    return f"{said}{_reasons(labelling.reasons)}"


def _reasons(reasons: Mapping[str, int]) -> str:
    listed: Iterator[str] = (f"{count:,} {why}" for why, count in reasons.items())
    return f" (left out: {', '.join(listed)})" if reasons else ""


def _built(candidate: Candidate, task: Task, workshop: Workshop) -> float | None:
    """Dollars of the student's training: as it says, or those of this machine's time."""
    settings = workshop.settings("local")
    if candidate.build_dollars is not None or settings is None:
        return candidate.build_dollars
    return machine_dollars(candidate.build_seconds, task.hardware, settings.prices).dollars


def _sum(first: float | None, second: float | None) -> float | None:
    whole = or_nan(first) + or_nan(second)
    return whole if whole == whole else None
