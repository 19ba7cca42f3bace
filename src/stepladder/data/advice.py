"""What weakens a measurement or a candidate without making it false, and the facts of the data.

Each check looks at a `Judged` split and yields findings; none of them stops a climb.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..core import Example, Json, Message
from ..stats import alpha_for_opening, examples_needed, least_n
from .chat import as_text
from .findings import Finding
from .judged import Judged, place
from .near import NEAR
from .personal import personal_data
from .split import SETS, input_text

__all__ = ["ADVICE", "facts_of", "plausible_score"]

FEW_PER_LABEL = 10  # training examples below which a label is learnt by luck
FEW_IN_TRAIN = 100  # hosted tuning services advise at least 100 to 500 examples
LOPSIDED = 10  # times that the commonest label outnumbers the rarest
DOMINANT = 0.7  # share of one label above which always answering it looks good
LABELS_NAMED = 5
TOKENS_SAMPLED = 1000
GROUP_LIKE = re.compile(
    r"(^|[._ -])(group|doc|document|article|patient|pmid|customer|client|user|account|author|"
    r"session|conversation|dialogue|thread|ticket|context|sentence|source)([._ -]?(id|uid|key))?$",
    re.IGNORECASE,
)


def too_few_test(judged: Judged) -> Iterator[Finding]:
    """A test set on which even a good candidate is seldom confirmed."""
    numbers = power_facts(judged)
    n, needed, least = numbers["test_units"], numbers["test_needed"], numbers["test_least"]
    target = judged.task.target.score
    if least is None:
        message = f"no number of examples can confirm a score of {target:g}"
        yield Finding("too few test examples", message, "task.toml", "set a target below 1")
    elif n and n < least:
        message = (
            f"{n} test {numbers['test_unit']} cannot confirm a score of {target:g} even if every "
            f"answer is right: that takes {least}"
        )
        yield Finding("too few test examples", message, cure=f"label {least - n} more, or lower it")
    elif n and needed is not None and n < needed:
        message = (
            f"a solver that is truly right {numbers['test_true_score']:.1%} of the time needs "
            f"{needed} test {numbers['test_unit']} to be confirmed above {target:g} 8 times in 10; "
            f"there are {n}"
        )
        cure = f"label {needed - n} more test examples, or expect 'undecided'"
        yield Finding("too few test examples", message, cure=cure)


def imbalance(judged: Judged) -> Iterator[Finding]:
    """One label that outweighs the others."""
    if judged.task.kind != "classification" or not judged.examples:
        return
    counts = Counter(as_text(example.expected) for example in judged.examples)
    (most, many), (least, few) = counts.most_common()[0], counts.most_common()[-1]
    if many / len(judged.examples) >= DOMINANT:
        message = (
            f"{many / len(judged.examples):.0%} of the examples are {most!r}: always answering it "
            "would score as much"
        )
        cure = "consider metric = 'macro_f1', and set the target above that share"
        yield Finding("imbalance", message, cure=cure)
    elif many >= LOPSIDED * few:
        message = f"{many} examples are {most!r} and {few} are {least!r}"
        cure = "consider metric = 'macro_f1', or add examples of the rare labels"
        yield Finding("imbalance", message, cure=cure)


def absent_labels(judged: Judged) -> Iterator[Finding]:
    """Labels that a set does not show."""
    if judged.task.kind != "classification":
        return
    for name in ("train", "test"):
        seen = {as_text(example.expected) for example in getattr(judged.split, name)}
        absent = [label for label in judged.task.labels if label not in seen]
        if absent:
            message = f"{_named(absent)} without an example in {name}"
            consequence = "cannot be learnt" if name == "train" else "is not measured"
            yield Finding(
                "absent label", message, cure=f"add examples; as it is, it {consequence}",
                count=len(absent),
            )  # fmt: skip


def little_training(judged: Judged) -> Iterator[Finding]:
    """Less training data than tuning asks for."""
    train = judged.split.train
    if len(train) < FEW_IN_TRAIN:
        message = f"{len(train)} training examples; fine-tuning usually needs {FEW_IN_TRAIN} to 500"
        yield Finding("little training data", message, cure="label more, or expect prompts to win")
    if judged.task.kind == "classification":
        counts = Counter(as_text(example.expected) for example in train)
        rare = [label for label in judged.task.labels if 0 < counts[label] < FEW_PER_LABEL]
        if rare:
            message = f"{_named(rare)} with fewer than {FEW_PER_LABEL} training examples"
            yield Finding(
                "little training data", message, cure="label more of these", count=len(rare)
            )


def repeats(judged: Judged) -> Iterator[Finding]:
    """The same row more than once in one set."""
    for indices in judged.same.values():
        if len(indices) < 2:
            continue
        seen: dict[str, Example] = {}
        for index in indices:
            example = judged.examples[index]
            first = seen.setdefault(judged.sets[index], example)
            if first is not example and first.expected == example.expected:
                message = f"{judged.sets[index]} has the same example at {place(first)}"
                yield Finding("repeated example", message, place(example), "keep one of them")


def label_noise(judged: Judged) -> Iterator[Finding]:
    """Nearly the same input in train with different answers: one of them is likely wrong."""
    if judged.task.kind != "classification":
        return
    for left, right, similarity in judged.near:
        one, other = judged.examples[left], judged.examples[right]
        if judged.sets[left] == judged.sets[right] and one.expected != other.expected:
            message = (
                f"nearly the input of {place(one)} (similarity {similarity:.2f}), but "
                f"{other.expected!r} is expected here and {one.expected!r} there"
            )
            yield Finding("likely label noise", message, place(other), "look at both labels")


def unused_group(judged: Judged) -> Iterator[Finding]:
    """A column that looks like a document, patient or customer, shared by two sets."""
    if judged.task.data.group is not None:
        return
    names = {name for example in judged.examples[:1000] for name in example.metadata}
    for column in sorted(name for name in names if GROUP_LIKE.search(name)):
        sides: dict[str, set[str]] = defaultdict(set)
        for example, name in judged.numbered():
            value = example.metadata.get(column)
            if isinstance(value, str | int):
                sides[str(value)].add(name)
        shared = sum(len(sets) > 1 for sets in sides.values())
        if shared and len(sides) > len(SETS):
            message = f"{shared} values of {column!r} are in more than one set, which flatters"
            cure = f"if rows with one {column!r} belong together: [data] group = {column!r}"
            yield Finding("unused group", message, cure=cure, count=shared)


def long_inputs(judged: Judged) -> Iterator[Finding]:
    """Inputs that do not fit the model's context beside the instructions and the answer."""
    count, limit = judged.count_tokens, judged.context_limit
    if count is None or limit is None:
        return
    instructions = count([Message("user", judged.task.instructions)])
    room = limit - judged.task.max_output_tokens - instructions
    for example in judged.examples:
        text = input_text(example.input)
        if len(text) * 4 <= room:  # tokens never outnumber bytes, nor bytes 4 a character
            continue
        tokens = count(_messages(example))
        if tokens > room:
            message = (
                f"the input has {tokens:,} tokens and the model has room for {max(room, 0):,} "
                f"(of {limit:,}, less instructions and {judged.task.max_output_tokens} to answer)"
            )
            cure = "shorten it, lower max_output_tokens, or choose a model with a longer context"
            yield Finding("over-long input", message, place(example), cure)


def personal(judged: Judged) -> Iterator[Finding]:
    """Text that seems to hold personal data."""
    for example in judged.examples:
        text = f"{input_text(example.input)}\n{as_text(example.expected)}"
        for kind in personal_data(text):
            yield Finding(
                f"personal data: {kind}", f"the text seems to hold {kind}", place(example),
                "replace it, or make sure that every model you use may see it",
            )  # fmt: skip


ADVICE: tuple[Callable[[Judged], Iterator[Finding]], ...] = (
    too_few_test,
    little_training,
    absent_labels,
    imbalance,
    repeats,
    label_noise,
    unused_group,
    long_inputs,
    personal,
)


def facts_of(judged: Judged) -> dict[str, Json]:
    """The data card: sizes, labels, groups, lengths, and what the test set can show."""
    facts: dict[str, Json] = {name: len(getattr(judged.split, name)) for name in SETS}
    facts["near_duplicate_threshold"] = NEAR
    groups = {example.group for example in judged.examples if example.group is not None}
    facts["groups"] = len(groups) or None
    if judged.task.kind == "classification":
        counts = Counter(as_text(example.expected) for example in judged.examples)
        facts["labels"] = dict(counts.most_common())
    lengths = np.array([len(input_text(example.input)) for example in judged.examples] or [0])
    facts["input_characters"] = _spread(lengths)
    facts["input_tokens"] = _tokens(judged)
    return facts | power_facts(judged)


def power_facts(judged: Judged) -> dict[str, Any]:
    """How many test examples (or groups) there are, and how many the target takes.

    Counted for a right/wrong metric at the level of the first opening of the test set; for other
    metrics it is a guide.
    """
    target = judged.task.target
    alpha = alpha_for_opening(target.alpha, 1)
    true_score = plausible_score(target.score)
    test = judged.split.test
    units = {example.group or f" {example.id}" for example in test}
    return {
        "test_unit": "groups" if any(e.group is not None for e in test) else "examples",
        "test_units": len(units),
        "test_true_score": true_score,
        "test_needed": examples_needed(target.score, true_score, alpha),
        "test_least": least_n(target.score, alpha),
        "test_alpha": alpha,
    }


def plausible_score(target: float) -> float:
    """The true score for which sizes are told: 5 points above the target, or half the way to 1."""
    return target + min(0.05, (1 - target) / 2)


def _spread(values: Any) -> Mapping[str, int]:
    median, high = np.percentile(values, [50, 95])
    return {"median": int(median), "p95": int(high), "most": int(values.max())}


def _tokens(judged: Judged) -> Mapping[str, int] | None:
    """Token counts of an even sample of the examples (all of them when they are few)."""
    if judged.count_tokens is None or not judged.examples:
        return None
    step = max(1, len(judged.examples) // TOKENS_SAMPLED)
    sample = judged.examples[::step]
    return _spread(np.array([judged.count_tokens(_messages(example)) for example in sample]))


def _messages(example: Example) -> Sequence[Message]:
    if isinstance(example.input, tuple):
        return example.input
    return [Message("user", input_text(example.input))]


def _named(labels: Sequence[str]) -> str:
    named = ", ".join(map(repr, labels[:LABELS_NAMED]))
    more = f" and {len(labels) - LABELS_NAMED} more" if len(labels) > LABELS_NAMED else ""
    return f"{named}{more}" if len(labels) > 1 else f"the label {named}"
