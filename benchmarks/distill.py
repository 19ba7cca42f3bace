"""Prompt distillation on PHEE: a prompt of 2,000 tokens, and what small students learn of it.

The teacher is the embedded model (SmolLM2-135M-Instruct) behind a long prompt: what the annotators
did, a line a field, and train examples up to 2,000 tokens. It is weak, and its answers are what the
students of the first kind learn. So a second teacher is measured as well: the same model tuned
on half of train, asked with a few words. For each teacher students learn its answers to inputs of
the other half of train as if nobody had labelled it, and for the ceiling they learn the gold labels
of these. Everything is measured on the same test examples.

    python benchmarks/distill.py --data FOLDER --teachers long-prompt --write
    python benchmarks/distill.py --data FOLDER --teachers tuned --write
    python benchmarks/distill.py --data FOLDER --teachers gold --write

With --write, lines of other teachers stay in the result, and a student is compared with the teacher
of its own run. Each command takes two cores about ten minutes; --inputs and --minutes make it more.
Latency is that of one request alone, and dollars are the machine's at the price table's.
FOLDER holds PHEE's `train.jsonl` and `test.jsonl` with `id`, `input`, `output` and `meta`. What
annotators did is told in our own words in GUIDE below.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from custom_data import make_task, read
from custom_kinds import earlier, rounded
from environment import finish, parser, where

from stepladder.compare import paired_gain
from stepladder.core import Candidate, Evaluation, Example, Hardware, Json, Task, Workshop
from stepladder.cost import SECONDS_PER_HOUR, dollars_per_hour, load_prices
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
NAME = "distill_phee_events"
GOLD = "gold"
TEACHERS, STUDENTS = ("long-prompt", "tuned", GOLD), ("fine_tune", "encoder")
ALONE = 10  # requests that are timed one by one
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
    options.add_argument("--inputs", type=int, default=200, help="so many unlabelled inputs")
    options.add_argument("--test", type=int, default=60, help="measure on so many")
    options.add_argument("--minutes", type=float, default=2.0, help="of each training")
    options.add_argument("--students", default="fine_tune,encoder")
    options.add_argument("--teachers", default=",".join(TEACHERS))
    options.add_argument("--machine", default="aws-t3-large", help="whose price an hour costs")
    chosen = options.parse_args()
    for wanted, known in ((chosen.students, STUDENTS), (chosen.teachers, TEACHERS)):
        if unknown := set(wanted.split(",")) - {*known}:
            options.error(f"there is no {sorted(unknown)[0]!r}; known: {', '.join(known)}")
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
        hour = dollars_per_hour(Hardware(chosen.machine), load_prices(today=date.today())).dollars
        bench = _Bench(task, test, workshop, chosen.minutes, hour)
        lines = bench.table(chosen.teachers.split(","), chosen.students.split(","), taught, pool)
        provider.close()
    settings: dict[str, Json] = {
        "data": "phee_events",
        "examples": {"teacher": len(taught), "unlabelled": len(pool), "test": len(test)},
        "minutes": chosen.minutes,
        "metric": task.metric.name,
        "priced_as": chosen.machine,
    }
    kept = [
        line
        for line in earlier(NAME, settings, "table")
        if line["teacher"] not in chosen.teachers.split(",")
    ]
    lines = [{**line, "measured": place} for line in lines]
    finish(NAME, {**place, **settings, "table": [*kept, *lines]}, write=chosen.write)


class _Bench:
    """Measures solvers on the same test and keeps their rows to compare in pairs."""

    def __init__(
        self,
        task: Task,
        test: Sequence[Example],
        workshop: Workshop,
        minutes: float,
        dollars_per_hour: float | None,
    ) -> None:
        self.task, self.test, self.workshop, self.minutes = task, test, workshop, minutes
        self.dollars_per_hour = dollars_per_hour
        self._bench = Bench(task, load_metric(task), workshop, lambda usage: None)

    def table(
        self,
        teachers: Sequence[str],
        students: Sequence[str],
        taught: Sequence[Example],
        pool: Sequence[Example],
    ) -> list[dict[str, Json]]:
        """Each teacher and its students; those of "gold" learn what people said."""
        lines: list[dict[str, Json]] = []
        for name in teachers:
            if name == GOLD:
                lines += self.students(students, pool, name, None)
                continue
            teacher = self.teacher(name, taught)
            line, seen = self.measured(f"teacher: {name}", teacher)
            labelling = label_inputs(teacher.solver, pool, Rules(), self.task, self.workshop)
            lines.append({**line, "teacher": name, "labelling": _told(labelling)})
            print(json.dumps(lines[-1]["labelling"]), flush=True)
            lines += self.students(students, labelling.examples, name, seen)
        return lines

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
            line: dict[str, Json] = {"solver": f"student: {name} of {of}", "teacher": of}
            try:
                student = self.student(name, examples)
            except NotApplicable as reason:
                print(f"{line['solver']}: {reason.message}", flush=True)
                found.append({**line, "why": reason.message})
                continue
            measured, seen = self.measured(str(line["solver"]), student)
            against = _against(seen, teacher)
            found.append({**measured, **line, "learned_from": len(examples), **against})
        return found

    def student(self, name: str, examples: Sequence[Example]) -> Candidate:
        """What learns from the answers."""
        if not examples:
            raise NotApplicable("no answer of the teacher was good enough to learn from")
        if name == "fine_tune":
            return self.tuned(examples, SHORT, self.minutes)
        step = Encoder(minutes=self.minutes)
        [found] = step.propose(self.task, examples, None, self.workshop)
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
            "ms_alone": round(1000 * self.alone(candidate), 1),
            "compute_seconds": _mean(seen),
            "dollars_per_1000": self.dollars_per_1000(_mean(seen)),
            "train_seconds": round(candidate.build_seconds, 1),
            "changed": candidate.changed,
            "cautions": list(candidate.cautions),
        }
        shown = ("solver", "score", "input_tokens", "ms_alone")
        print(json.dumps({key: line[key] for key in shown}), flush=True)
        return line, seen

    def alone(self, candidate: Candidate) -> float:
        """Seconds of a request that nothing is beside, in the median; the prompt is known."""
        inputs = [example.input for example in self.test[: ALONE + 1]]
        seconds = []
        for one in inputs:
            began = time.perf_counter()
            list(candidate.solver.answer([one], self.workshop))
            seconds.append(time.perf_counter() - began)
        return sorted(seconds[1:])[len(seconds[1:]) // 2]

    def dollars_per_1000(self, seconds: float | None) -> float | None:
        """What the machine's time for a thousand requests costs."""
        if seconds is None or self.dollars_per_hour is None:
            return None
        return round(1000 * seconds / SECONDS_PER_HOUR * self.dollars_per_hour, 5)


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
