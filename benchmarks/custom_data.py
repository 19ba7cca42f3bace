"""The public data sets of the custom kinds: what each asks, its metric, and what others reached.

The published figures are those of the data's own descriptions; they are on the full official sets,
and so for orientation only.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stepladder.core import DataSource, Example, Json, Kind, MetricSpec, Target, Task

MODEL = "local:smollm2-135m-instruct"


@dataclass(frozen=True)
class Data:
    """What a data set asks, how it is scored, and what others reached on it."""

    kind: Kind
    metric: str
    asks: str  # what a prompt says; the labels are listed after it
    options: Mapping[str, Json] = field(default_factory=dict)
    also: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)  # micro-F1 read otherwise
    slices: tuple[str, ...] = ()
    published: Mapping[str, Json] = field(default_factory=dict)


EVENTS = {
    "list": "events", "type_key": "event", "ignore": ["negated", "speculated", "severity"],
}  # fmt: skip
PHEE = """List the drug events of the sentence as JSON: {"events": [...]}.
Each event has "event", adverse_event or potential_therapeutic_event, and lists of spans copied from
the sentence under the keys that it fills: subject, subject.age, subject.gender, subject.population,
subject.race, subject.disorder, treatment, treatment.drug, treatment.combination_drugs,
treatment.dosage, treatment.freq, treatment.route, treatment.duration, treatment.time_elapsed,
treatment.disorder, effect. Leave out absent keys.
"""
MAINTIE = """List what the work order names as JSON: {"entities": [...], "relations": [...]}.
An entity is {"text": ..., "type": ...}, its text copied from the work order; types: PhysicalObject,
Activity, State, Process, Property. A relation is {"head": ..., "relation": ..., "tail": ...}
between two texts; relations: hasPatient, hasPart, isA, hasAgent, contains, hasProperty.
"""
DATA: Mapping[str, Data] = {
    "banking77": Data(
        "classification",
        "accuracy",
        "Sort the customer's message to the bank by what the customer wants.",
        published={"USE+ConveRT, all": 0.934, "BERT, all": 0.937, "USE+ConveRT, 10 a label": 0.852},
    ),
    "clinc150": Data(
        "classification",
        "accuracy",
        "Sort what is said to the assistant by what is wanted; oos is what it cannot help with.",
        slices=("scope",),
        published={"BERT in scope / oos recall": [0.969, 0.403], "SVM": [0.910, 0.145]},
    ),
    "cuad_clauses": Data(
        "classification",
        "accuracy",
        "Say which type of clause this clause of a contract is.",
        published={"TF-IDF and logistic regression, same files": 0.774},
    ),
    "nusax_senti": Data(
        "classification",
        "macro_f1",
        "Say whether the writer of the text is positive, negative or neutral.",
        slices=("language",),
        published={"XLM-R large, about": [0.75, 0.80], "TF-IDF models, about": [0.70, 0.75]},
    ),
    "phee_events": Data(
        "extraction",
        "micro_f1",
        PHEE,
        EVENTS,
        published={
            "gpt-3.5 with 5 retrieved examples, all arguments": 0.6418,
            "tuned generative QA, main / sub-arguments": [0.6860, 0.7616],
        },
    ),
    "maintie": Data(
        "extraction",
        "micro_f1",
        MAINTIE,
        {"list": "entities", "unit": "record"},
        also={"relations": {"list": "relations", "unit": "record"}},
        published={"SpERT entities": 0.874, "SpERT relations, loose / strict": [0.683, 0.671]},
    ),
}


def read(path: Path) -> list[Example]:
    """The examples of a file; out-of-scope queries are a slice of their own."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [
        Example(
            row["id"],
            row["input"],
            row["output"],
            metadata={**row["meta"], "scope": "out" if row["output"] == "oos" else "in"},
        )
        for row in rows
    ]


def few(train: Sequence[Example], each: int) -> list[Example]:
    """At most so many examples of each label, drawn by a fixed seed."""
    by_label = defaultdict(list)
    for example in random.Random(0).sample(train, len(train)):
        by_label[example.expected].append(example)
    return [example for found in by_label.values() for example in found[:each]]


def make_task(name: str, examples: Sequence[Example]) -> Task:
    """The task as a task folder would give it."""
    data = DATA[name]
    labels = tuple(sorted({str(one.expected) for one in examples}))
    return Task(
        name,
        data.kind,
        data.asks,
        Target(0.5),
        MetricSpec(data.metric, data.options),
        DataSource(),
        labels=labels if data.kind == "classification" else (),
        slices=data.slices,
        models=(MODEL,),
        max_output_tokens=32 if data.kind == "classification" else 200,
    )
