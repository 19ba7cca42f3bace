"""Prompt distillation on PHEE: a prompt of 2,000 tokens, and what small students learn of it.

The teacher is the embedded model (SmolLM2-135M-Instruct) behind a long prompt: what the annotators
did, a line a field, and train examples up to 2,000 tokens. It is weak, and its answers are what the
students of the first kind learn. So a second teacher is measured as well: the same model tuned
on half of train, asked with the schema. For each teacher one student learns its answers to the
other half of train as if nobody had labelled it, and for the ceiling one learns the gold labels
of that half. Everything is measured on the same test examples.

    python benchmarks/distill.py --data FOLDER --write

FOLDER holds PHEE's `train.jsonl` and `test.jsonl` with `id`, `input`, `output` and `meta`. What
annotators did is told in our own words in GUIDE below.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from custom_kinds import make_task, read, rounded
from environment import finish, parser, where

from stepladder.compare import paired_gain
from stepladder.core import Candidate, Evaluation, Example, Json, Task, Workshop
from stepladder.errors import NotApplicable
from stepladder.evaluate import Bench, evaluate
from stepladder.metrics import load_metric
from stepladder.models.local import LocalProvider
from stepladder.solvers.prompt import PromptSolver, render
from stepladder.steps.distill_labels import Labelling, Rules, label_inputs
from stepladder.steps.encoder import Encoder
from stepladder.steps.fine_tune import FineTune
from stepladder.steps.prompt_variants import plain_prompt

MODEL = "local:smollm2-135m-instruct"
LONG = 2000  # tokens of the teacher's prompt
SHORT = (
    "List the drug events of the sentence as JSON. event: adverse_event or "
    "potential_therapeutic_event. Copy spans; leave out absent keys."
)
GUIDE = """Read one sentence of a medical case report and list its drug events as JSON.
Answer {"events": [...]}. Each event has these keys; leave out one that the sentence does not fill.
Every value but event and the last three is a list of spans, copied from the sentence as they are.
event: "adverse_event" where a drug, or drugs together, led to harm or made a disorder worse;
  "potential_therapeutic_event" where a drug was given to help and a benefit is told or hoped for.
subject: the whole phrase about the patient or patients.
subject.age: a figure, a range, or a word such as elderly or infant.
subject.gender: also boy, girl, man, woman.
subject.population: how many patients.
subject.race: race or nationality.
subject.disorder: what the patient has that is not the reason for the drug.
treatment: the whole phrase about the therapy; every event has it.
treatment.drug: each drug or class of drugs that is blamed or credited.
treatment.combination_drugs: drugs that were given together.
treatment.dosage: an amount, or words such as high-dose and overdose.
treatment.freq: how often it was taken.
treatment.route: oral, intravenous, infusion, and the like.
treatment.duration: how long it was taken.
treatment.time_elapsed: the time from taking it to the effect.
treatment.disorder: what the drug was given for.
effect: the harm or the benefit as one span, joined effects included.
negated: true where the sentence denies the event. speculated: true where it only suspects it.
severity: High, Medium or Low, for words such as fatal, severe, mild.
The disease of a patient is not the effect. What the drug was given for goes to treatment.disorder.
Nearly every sentence has one event; write a second where another drug has an effect of its own,
or where one drug both helps and harms.
"""


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--data", type=Path, required=True, help="the folder of phee_events")
    options.add_argument("--inputs", type=int, default=400, help="so many unlabelled inputs")
    options.add_argument("--test", type=int, default=100, help="measure on so many")
    options.add_argument("--minutes", type=float, default=3.0, help="of each training")
    options.add_argument("--students", default="fine_tune,encoder")
    options.add_argument("--teachers", default="long-prompt,tuned")
    chosen = options.parse_args()
    place = where()
    train, test = (read(chosen.data / f"{name}.jsonl") for name in ("train", "test"))
    task = replace(
        make_task("phee_events", train), instructions=GUIDE, models=(MODEL,), max_output_tokens=200
    )
    chance = random.Random(0)
    train = chance.sample(train, len(train))
    taught, pool = train[: len(train) // 2], train[len(train) // 2 :][: chosen.inputs]
    test = chance.sample(test, min(chosen.test, len(test)))
    with tempfile.TemporaryDirectory() as scratch:
        provider = LocalProvider(Path(scratch))
        workshop = Workshop(provider.model, Path(scratch), lambda event, told: None)
        bench = _Bench(task, test, workshop, chosen.minutes)
        lines = bench.table(chosen.teachers.split(","), chosen.students.split(","), taught, pool)
        provider.close()
    result = {
        **place,
        "data": "phee_events",
        "examples": {"teacher": len(taught), "unlabelled": len(pool), "test": len(test)},
        "minutes": chosen.minutes,
        "metric": task.metric.name,
        "table": lines,
    }
    finish("distill_phee_events", result, write=chosen.write)


class _Bench:
    """Measures solvers on the same test and keeps their rows to compare in pairs."""

    def __init__(
        self, task: Task, test: Sequence[Example], workshop: Workshop, minutes: float
    ) -> None:
        self.task, self.test, self.workshop, self.minutes = task, test, workshop, minutes
        self._bench = Bench(task, load_metric(task), workshop, lambda usage: None)

    def table(
        self,
        teachers: Sequence[str],
        students: Sequence[str],
        taught: Sequence[Example],
        pool: Sequence[Example],
    ) -> list[dict[str, Json]]:
        """Each teacher, its students, and the students of the gold labels."""
        lines: list[dict[str, Json]] = []
        for name in teachers:
            teacher = self.teacher(name, taught)
            line, seen = self.measured(f"teacher: {name}", teacher)
            labelling = label_inputs(teacher.solver, pool, Rules(), self.task, self.workshop)
            lines.append({**line, "labelling": _told(labelling)})
            print(json.dumps(lines[-1]["labelling"]), flush=True)
            lines += self.students(students, labelling.examples, f"of {name}", seen)
        return lines + self.students(students, pool, "of gold labels", None)

    def teacher(self, name: str, taught: Sequence[Example]) -> Candidate:
        """The solver that answers what is unlabelled."""
        if name == "long-prompt":
            solver = long_prompt(self.task, taught, self.workshop)
            return Candidate("few_shot", name, solver)
        return self.tuned(taught, SHORT, self.minutes * 2)

    def students(
        self,
        names: Sequence[str],
        examples: Sequence[Example],
        of: str,
        teacher: Evaluation | None,
    ) -> list[dict[str, Json]]:
        """A student of each kind, measured; one that cannot learn from these says why."""
        found: list[dict[str, Json]] = []
        for name in names:
            try:
                if name == "fine_tune":
                    student = self.tuned(examples, SHORT, self.minutes)
                else:
                    step = Encoder(minutes=self.minutes)
                    [student] = step.propose(self.task, examples, None, self.workshop)
            except NotApplicable as reason:
                print(f"{name} {of}: {reason.message}", flush=True)
                found.append({"solver": f"student: {name} {of}", "why": reason.message})
                continue
            line, seen = self.measured(f"student: {name} {of}", student)
            found.append({**line, "learned_from": len(examples), **_against(seen, teacher)})
        return found

    def tuned(self, examples: Sequence[Example], words: str, minutes: float) -> Candidate:
        """The embedded model under LoRA, asked with a few words."""
        step = FineTune(minutes=minutes, instructions=words, model=MODEL)
        [found] = step.propose(self.task, examples, None, self.workshop)
        return found

    def measured(self, name: str, candidate: Candidate) -> tuple[dict[str, Json], Evaluation]:
        """One line of the table."""
        seen = evaluate(candidate.solver, self.test, self._bench, "test", lambda row: None)
        line: dict[str, Json] = {
            "solver": name,
            **rounded(seen),
            "input_tokens": seen.input_tokens,
            "output_tokens": seen.output_tokens,
            "p50_seconds": seen.p50_seconds,
            "p95_seconds": seen.p95_seconds,
            "compute_seconds": _mean(seen),
            "train_seconds": round(candidate.build_seconds, 1),
            "changed": candidate.changed,
            "cautions": list(candidate.cautions),
        }
        print(json.dumps({key: line[key] for key in ("solver", "score", "input_tokens")}))
        return line, seen


def long_prompt(task: Task, train: Sequence[Example], workshop: Workshop) -> PromptSolver:
    """The guide and as many train examples as come to LONG tokens."""
    solver = plain_prompt(task, MODEL)
    model: Any = workshop.model(MODEL)
    demos: list[tuple[Any, Json]] = []
    for example in train:
        longer = replace(solver, demos=(*demos, (example.input, example.expected)))
        if model.count_tokens(render(longer, train[-1].input)) > LONG:
            break
        demos.append((example.input, example.expected))
    return replace(solver, demos=tuple(demos))


def _told(labelling: Labelling) -> dict[str, Json]:
    known = [row.confidence for row in labelling.rows if row.confidence is not None]
    return {
        "asked": len(labelling.rows),
        "kept": len(labelling.examples),
        "left_out": labelling.reasons,
        "mean_confidence": round(sum(known) / len(known), 3) if known else None,
        "seconds": round(labelling.seconds, 1),
    }


def _against(seen: Evaluation, teacher: Evaluation | None) -> dict[str, Json]:
    """The difference to the teacher, in pairs."""
    if teacher is None:
        return {}
    gain = paired_gain(seen.rows, teacher.rows, "ratio", 0.05, against="teacher")
    return {"gain": {"difference": gain.difference, "low": gain.low, "high": gain.high}}


def _mean(seen: Evaluation) -> float | None:
    """Seconds of the machine for each answer, with others answered beside it."""
    known = [row.compute_seconds for row in seen.rows if row.compute_seconds is not None]
    return round(sum(known) / len(known), 4) if known else None


if __name__ == "__main__":
    main()
