"""Small tasks and flawed models that several step tests use."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from stepladder.core import DataSource, Example, MetricSpec, Request, Target, Task

WORDS = {"refund": "money back", "card_lost": "card is gone", "balance": "how much is left"}
LABELS = tuple(WORDS)
SORT = Task(
    name="sort",
    kind="classification",
    instructions="Sort the message. Say which of our topics it is about.",
    target=Target(0.9),
    metric=MetricSpec("accuracy"),
    data=DataSource(),
    labels=LABELS,
    label_descriptions={"refund": "wants money back"},
    models=("fake:model",),
    seed=3,
)
SCHEMA = {
    "type": "object",
    "properties": {"drug": {"type": "array", "items": {"type": "string"}}},
    "required": ["drug"],
}
EXTRACT = Task(
    name="drugs",
    kind="extraction",
    instructions="Extract every drug. Copy it as it stands.",
    target=Target(0.9),
    metric=MetricSpec("micro_f1"),
    data=DataSource(),
    schema=SCHEMA,
    models=("fake:model",),
    max_output_tokens=64,
)


def messages(n: int) -> tuple[Example, ...]:
    """`n` customer messages; what they are about is in their words."""
    draw = random.Random(5)
    labels = [draw.choice(LABELS) for _ in range(n)]
    return tuple(
        Example(f"m{i}", f"{WORDS[label]} please, number {i}", label)
        for i, label in enumerate(labels)
    )


def reports(n: int) -> tuple[Example, ...]:
    """`n` sentences with one drug each."""
    drugs = ("aspirin", "ibuprofen", "codeine")
    return tuple(
        Example(f"r{i}", f"case {i}: rash after {drugs[i % 3]}", {"drug": [drugs[i % 3]]})
        for i in range(n)
    )


def asked(request: Request) -> str:
    """The last turn."""
    return str(request.messages[-1].content)


def prompt_of(request: Request) -> str:
    """All turns."""
    return "\n".join(str(message.content) for message in request.messages)


def truth(text: str) -> str:
    """The label of a message."""
    return next(label for label, words in WORDS.items() if words in text)


def drug_of(text: str) -> str:
    """The right JSON for a report."""
    return json.dumps({"drug": [text.rsplit("rash after ", 1)[1].split()[0]]})


def right_when(good: Callable[[Request], float], wrong: str) -> Callable[[Request], str]:
    """A model that sorts right with the chance that `good` gives its request, else says `wrong`."""

    def reply(request: Request) -> str:
        lucky = random.Random(asked(request)).random() < good(request)
        return truth(asked(request)) if lucky else wrong

    return reply
