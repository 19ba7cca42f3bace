"""A teacher's answers to unlabelled inputs, and which of them are good enough to learn from.

An answer is left out where it failed, could not be read or breaks the task's schema, where the
teacher does not stand by it (asked again with some chance, or beside another solver), and where it
was least sure. Every row is kept with its reason, in a file that a person can read.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..core import Example, Input, Metric, Output, Solver, Task, Usage, Workshop
from ..errors import NotApplicable
from ..metrics import load_metric
from ..solvers import model_of, plain
from ..solvers.prompt import PromptSolver, outcome, requests_for
from ..stats import aggregate

__all__ = ["ROWS", "Labelled", "Labelling", "Rules", "label_inputs", "labelled_lines"]

ROWS = "rows.jsonl"  # in its artefact's folder


@dataclass(frozen=True)
class Rules:
    """When an answer is learned from.

    The teacher is asked `samples` more times at `temperature`; where those answers, and those of
    other solvers, have less than `agreement` with the first, by the task's metric, it is left out.
    Of what remains, the share `drop` with the least confidence is left out, and all below
    `least_confidence`.
    """

    samples: int = 0
    temperature: float = 0.7
    agreement: float = 0.8
    drop: float = 0.1
    least_confidence: float | None = None


@dataclass(frozen=True)
class Labelled:
    """One input with the teacher's answer. `why` it is left out is empty where it is kept."""

    example: Example
    output: Output
    confidence: float | None = None
    agreement: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Labelling:
    """All rows, what answering took, and the examples to learn from."""

    rows: tuple[Labelled, ...]
    usage: tuple[Usage, ...]
    seconds: float
    left_out: Mapping[str, int] = field(default_factory=dict)  # before the teacher was asked

    @property
    def examples(self) -> tuple[Example, ...]:
        """What is kept, with the teacher's answers as what is expected."""
        return tuple(
            replace(row.example, expected=plain(row.output.value))
            for row in self.rows
            if not row.why
        )

    @property
    def reasons(self) -> dict[str, int]:
        """How many were left out, by reason: before the teacher was asked, and after."""
        after = Counter(row.why for row in self.rows if row.why)
        return {**self.left_out, **dict(after.most_common())}


def label_inputs(
    teacher: Solver,
    inputs: Sequence[Example],
    rules: Rules,
    task: Task,
    workshop: Workshop,
    others: Sequence[Solver] = (),
) -> Labelling:
    """The teacher's answers to the inputs, judged by the rules.

    Raises NotApplicable where samples are asked for of a teacher that has no chance in it.
    """
    started = time.perf_counter()
    texts = [one.input for one in inputs]
    teacher = _telling_confidence(teacher)
    first = dict(teacher.answer(texts, workshop))
    again = [
        *(_sampled(teacher, texts, rules, number, workshop) for number in range(rules.samples)),
        *(dict(other.answer(texts, workshop)) for other in others),
    ]
    metric, form = load_metric(task), _form(task)
    rows = []
    for place, example in enumerate(inputs):
        output = first.get(place, Output(None, error="no answer"))
        why = _unusable(output, form)
        agreed = None
        if not why and again:
            agreed = _agreement(example, output, [one.get(place) for one in again], metric)
            why = "the answers disagree" if agreed < rules.agreement else ""
        rows.append(Labelled(example, output, _confidence(output, teacher), agreed, why))
    rows = _without_unsure(rows, rules)
    spent = [
        usage for answers in (first, *again) for one in answers.values() for usage in one.usage
    ]
    return Labelling(tuple(rows), tuple(spent), time.perf_counter() - started)


def labelled_lines(labelling: Labelling) -> str:
    """The rows as JSON lines: input, answer, how sure, and why it was left out or null."""
    return "".join(
        json.dumps(
            {
                "id": row.example.id,
                "source": row.example.source,
                "input": plain(row.example.input),
                "expected": plain(row.output.value),
                "confidence": row.confidence,
                "agreement": row.agreement,
                "left_out": row.why or None,
                "error": row.output.error,
            },
            ensure_ascii=False,
        )
        + "\n"
        for row in labelling.rows
    )


def _telling_confidence(teacher: Solver) -> Solver:
    """The teacher asked how probable its answers are, where its engine is known to tell."""
    local = (model_of(teacher) or "").startswith("local:")
    if isinstance(teacher, PromptSolver) and teacher.scoring == "none" and local:
        return replace(teacher, with_confidence=True)
    return teacher


def _sampled(
    teacher: Solver, inputs: Sequence[Input], rules: Rules, number: int, workshop: Workshop
) -> dict[int, Output]:
    """Answers drawn with some chance, by a seed of their own."""
    if not isinstance(teacher, PromptSolver) or teacher.scoring != "none" or teacher.knowledge:
        raise NotApplicable(
            f"a solver of kind {teacher.kind!r} answers the same however often it is asked",
            hint="leave samples out, or compare it with a second solver",
        )
    requests = [
        replace(request, temperature=rules.temperature, seed=number + 1)
        for request in requests_for(teacher, inputs, workshop)
    ]
    found = workshop.model(teacher.model).generate(requests)
    return {index: outcome(teacher, response) for index, response in found}


def _form(task: Task) -> Any:
    """Says what is wrong with an answer's form, or nothing."""
    if task.kind == "classification":
        return lambda value: "" if value in task.labels else "no label of the task"
    if task.schema is None:
        return lambda value: ""
    from jsonschema.validators import validator_for

    validator = validator_for(task.schema)(task.schema)
    return lambda value: "" if validator.is_valid(plain(value)) else "not of the schema"


def _unusable(output: Output, form: Any) -> str:
    if output.error is not None:
        return "the teacher failed"
    if output.value is None or output.value == "":
        return "the answer could not be read"
    return str(form(output.value))


def _agreement(
    example: Example, output: Output, others: Sequence[Output | None], metric: Metric
) -> float:
    """How much the other answers are like the first by the task's metric, on average; 0 to 1."""
    asked = replace(example, expected=plain(output.value))
    found = []
    for other in others:
        if other is None or other.error is not None:
            found.append(0.0)
            continue
        counts = metric.score(asked, other)
        # nothing to find, and nothing found
        found.append(aggregate([counts]) if any(d for _, _, d in counts) else 1.0)
    return sum(found) / len(found)


def _confidence(output: Output, teacher: Solver) -> float | None:
    """How sure the teacher is; of what was generated, per token, so that long is not unsure."""
    if output.confidence is None or not isinstance(teacher, PromptSolver):
        return output.confidence
    if teacher.scoring != "none" or not output.usage or output.confidence <= 0:
        return output.confidence
    return math.exp(math.log(output.confidence) / max(1, output.usage[-1].output_tokens or 1))


def _without_unsure(rows: Sequence[Labelled], rules: Rules) -> list[Labelled]:
    """The rows, with a reason for those that the teacher is least sure of."""
    known = sorted(row.confidence for row in rows if not row.why and row.confidence is not None)
    bar = known[int(rules.drop * len(known))] if known else 0.0
    found = []
    for row in rows:
        why = row.why
        if not why and row.confidence is not None:
            if rules.least_confidence is not None and row.confidence < rules.least_confidence:
                why = "less sure than asked for"
            elif row.confidence < bar:  # of equals all stay
                why = "among the least sure"
        found.append(replace(row, why=why))
    return found
