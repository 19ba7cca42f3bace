"""What makes a measurement false: wrong answers in the data, and test examples seen in training.

Each check looks at a `Judged` split and yields findings; all of them refuse the climb.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator

from ..core import Example
from .chat import as_text
from .findings import Finding
from .judged import Judged, place
from .near import NEAR

__all__ = ["LEAKS"]

DROP_ONE = "keep one of the two, or put both into one set (give them the same [data] group)"


def labels_outside(judged: Judged) -> Iterator[Finding]:
    """Answers of a classification that are not among the labels."""
    task = judged.task
    if task.kind != "classification":
        return
    known, folded = set(task.labels), {label.casefold().strip(): label for label in task.labels}
    for example in judged.examples:
        answer = example.expected
        if isinstance(answer, str) and answer in known:
            continue
        meant = folded.get(as_text(answer).casefold().strip())
        cure = f"did you mean {meant!r}?" if meant else "add it to labels, or correct the row"
        message = f"the label {answer!r} is not among the task's {len(known)} labels"
        yield Finding("label outside the set", message, place(example), cure)


def schema_violations(judged: Judged) -> Iterator[Finding]:
    """Expected answers that the task's JSON schema refuses."""
    if judged.task.schema is None:
        return
    from jsonschema.validators import validator_for  # here: it takes a while to import

    validator = validator_for(judged.task.schema)(judged.task.schema)
    for example in judged.examples:
        for error in validator.iter_errors(example.expected):
            where = "/".join(map(str, error.absolute_path)) or "the answer"
            message = f"{where}: {_short(error.message)}"
            yield Finding("schema violation", message, place(example), "correct the row or schema")
            break


def duplicate_ids(judged: Judged) -> Iterator[Finding]:
    """Two examples under one id: their results could not be told apart."""
    first: dict[str, Example] = {}
    for example in judged.examples:
        if (other := first.setdefault(example.id, example)) is not example:
            message = f"the id {example.id!r} is taken by {place(other)}"
            cure = "give each example an id of its own, or set [data] id to another column"
            yield Finding("duplicate id", message, place(example), cure)


def contradictions(judged: Judged) -> Iterator[Finding]:
    """The same input with different expected answers."""
    for indices in judged.same.values():
        if len(indices) < 2:
            continue
        first = judged.examples[indices[0]]
        for index in indices[1:]:
            other = judged.examples[index]
            if _canonical(other) != _canonical(first):
                message = (
                    f"the same input as {place(first)}, but {_short(as_text(other.expected))!r} is "
                    f"expected here and {_short(as_text(first.expected))!r} there"
                )
                cure = "decide which answer is right and remove the other row"
                yield Finding("contradiction", message, place(other), cure)


def same_across(judged: Judged) -> Iterator[Finding]:
    """One input in two sets."""
    for indices in judged.same.values():
        seen = {judged.sets[indices[0]]: indices[0]}
        for index in indices[1:]:
            name = judged.sets[index]
            if name not in seen:
                where, other = next(iter(seen.items()))
                message = f"{name} has the same input as {place(judged.examples[other])} in {where}"
                yield Finding(
                    "same input across sets", message, place(judged.examples[index]), DROP_ONE
                )
            seen.setdefault(name, index)


def near_across(judged: Judged) -> Iterator[Finding]:
    """Nearly one input in two sets."""
    for left, right, similarity in judged.near:
        if judged.sets[left] != judged.sets[right]:
            example, other = judged.examples[right], judged.examples[left]
            message = (
                f"{judged.sets[right]} has nearly the input of {place(other)} in "
                f"{judged.sets[left]} (similarity {similarity:.2f}, refused from {NEAR})"
            )
            yield Finding("near-duplicate across sets", message, place(example), DROP_ONE)


def groups_across(judged: Judged) -> Iterator[Finding]:
    """One group (document, patient, customer) in two sets."""
    members: dict[str, dict[str, list[Example]]] = defaultdict(lambda: defaultdict(list))
    for example, name in judged.numbered():
        if example.group is not None:
            members[example.group][name].append(example)
    for group, sides in members.items():
        if len(sides) > 1:
            counts = ", ".join(f"{len(of)} in {name}" for name, of in sides.items())
            *_, last = sides.values()
            cure = "move all of the group into one set, or give [data] examples and split here"
            message = f"the group {group!r} is on both sides: {counts}"
            yield Finding("group across sets", message, place(last[0]), cure)


def slices_missing(judged: Judged) -> Iterator[Finding]:
    """Slices that are to be reported, or have a floor, of which no example knows."""
    fields = {name: "slices" for name in judged.task.slices}
    floors = [floor for floor in judged.task.target.floors if "=" in floor]
    fields |= {floor.partition("=")[0]: "target.floors" for floor in floors}
    for name, key in fields.items():
        if not any(name in example.metadata for example in judged.examples):
            columns = sorted({column for e in judged.examples[:1000] for column in e.metadata})
            cure = f"columns there are: {', '.join(columns) or 'none'}"
            yield Finding("unknown slice", f"{key}: no example has {name!r}", "task.toml", cure)
    for floor in floors:
        name, _, value = floor.partition("=")
        if name in fields and not any(
            name in e.metadata and as_text(e.metadata[name]) == value for e in judged.split.test
        ):
            message = f"target.floors: no test example has {floor!r}, so it cannot be shown to hold"
            yield Finding("unknown slice", message, "task.toml", "correct it, or add examples")


LEAKS: tuple[Callable[[Judged], Iterator[Finding]], ...] = (
    labels_outside,
    schema_violations,
    duplicate_ids,
    contradictions,
    same_across,
    near_across,
    groups_across,
    slices_missing,
)


def _canonical(example: Example) -> str:
    return json.dumps(example.expected, sort_keys=True, ensure_ascii=False)


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
